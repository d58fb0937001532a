"""Queues and exchanges, which outlive the connections, and partly the broker's crash."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.simulation.rabbitmq.frames import properties_of


class Message:
    """`is_safe` once the broker has it on disk, which its confirm says."""

    __slots__ = ("_properties", "body", "header", "is_safe", "routing_key")

    def __init__(self, routing_key: str, header: bytes, body: bytes) -> None:
        self.routing_key = routing_key
        self.header = header
        self.body = body
        self.is_safe = False
        self._properties: tuple[bool, str] | None = None

    @property
    def message_id(self) -> str:
        return self._read()[1]

    @property
    def is_persistent(self) -> bool:
        return self._read()[0]

    def _read(self) -> tuple[bool, str]:
        if self._properties is None:
            self._properties = properties_of(self.header)
        return self._properties


class Queue:
    def __init__(self, name: str, arguments: Mapping[str, Any], durable: bool) -> None:
        self.name = name
        self.arguments = dict(arguments)
        self.durable = durable
        self.messages: list[Message] = []
        self.refuses = False
        """It nacks every message, as a quorum queue without its majority may."""

    @property
    def kind(self) -> str:
        return str(self.arguments.get("x-queue-type", "classic"))

    def take(self, message: Message) -> bool:
        """Return False if the queue refuses it."""
        if self.refuses:
            return False
        limit = self.arguments.get("x-max-length")
        if limit is not None and len(self.messages) >= int(limit):
            if str(self.arguments.get("x-overflow", "")).startswith("reject-publish"):
                return False
            del self.messages[0]
        self.messages.append(message)
        return True


class Exchange:
    def __init__(self, name: str, kind: str, durable: bool) -> None:
        self.name = name
        self.kind = kind
        self.durable = durable
        self.bindings: dict[tuple[str, str], None] = {}
        """Routing key (or pattern) and name of the queue."""

    def queues_of(self, routing_key: str) -> Iterator[str]:
        seen = set()
        for key, queue in self.bindings:
            if queue not in seen and self._matches(key, routing_key):
                seen.add(queue)
                yield queue

    def _matches(self, key: str, routing_key: str) -> bool:
        if self.kind == "fanout":
            return True
        return _pattern(key).fullmatch(routing_key) is not None if self.kind == "topic" else key == routing_key


_patterns: dict[str, "re.Pattern[str]"] = {}


def _pattern(key: str) -> "re.Pattern[str]":
    """`*` is one word of a key, and `#` any number of words."""
    if key not in _patterns:
        words = [{"*": r"[^.]*", "#": r".*"}.get(word, re.escape(word)) for word in key.split(".")]
        text = r"\.".join(words).replace(r".*\.", r"(?:.*\.)?").replace(r"\..*", r"(?:\..*)?")
        _patterns[key] = re.compile(text)
    return _patterns[key]
