"""Prints a message of a queue or a stream as one line of JSON."""

import json

from ingest.cli.shell.output import json_line, say


class Printer:
    """Prints a message as one line: its body, with `properties` inside an object that has the message's properties."""

    def __init__(self, properties: bool) -> None:
        self._properties = properties

    def line(self, message_id: str, kind: str, timestamp: int, body: bytes) -> None:
        text = json_line(body.decode(errors="replace"))
        if self._properties:
            head = json.dumps({"message_id": message_id, "type": kind, "timestamp": timestamp})
            text = f'{head[:-1]}, "body": {text}}}'
        say(text)
