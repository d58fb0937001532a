"""Prints a message of a queue or a stream as one line of JSON."""

import json

from ingest.cli.shell.output import json_line, say


class Printer:
    """Prints a message as one line: its body, with `properties` inside an object that has the message's properties."""

    def __init__(self, properties: bool) -> None:
        self._properties = properties

    def line(self, message_id: str, kind: str, timestamp: int, body: bytes, routing_key: str | None = None) -> None:
        """`routing_key` is None if no exchange routes the messages."""
        text = json_line(body.decode(errors="replace"))
        if self._properties:
            properties = {"message_id": message_id, "type": kind, "timestamp": timestamp}
            properties |= {} if routing_key is None else {"routing_key": routing_key}
            head = json.dumps(properties)
            text = f'{head[:-1]}, "body": {text}}}'
        say(text)
