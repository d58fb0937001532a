"""Reads the messages of the broker's model: their ids, their payloads, and which of them are safe."""

from collections.abc import Sequence

from ingest.broker.stream.message import message_id_of
from tests.simulation.rabbitmq.broker import Broker
from tests.simulation.rabbitmq.queues import Message, Queue
from tests.simulation.rabbitmq.streams.log import Chunk, Entry, Stream

DATA, DATA_HEAD_BYTES = b"\x00\x53\x75", 8
"""The section of a message that holds the payload, and the size of its head."""


def read(message: Entry | Message) -> tuple[int, bytes]:
    """The id and the payload of a message in a stream or a queue."""
    if isinstance(message, Message):
        return int(message.message_id), message.body
    data = message.data
    return message_id_of(data) or 0, data[data.rindex(DATA) + DATA_HEAD_BYTES :]


class SafeMessages(dict[int, bytes]):
    """Id → payload of the messages that outlive a crash. None of them goes away while its queue or stream is there."""

    def __init__(self) -> None:
        super().__init__()
        self._looked_at: object = None
        self._first = 0
        """All before this place are in it already."""

    def look(self, broker: Broker, name: str) -> None:
        """Add what has become safe in the queue or stream of this name."""
        log: Stream | Queue | None = broker.streams.get(name) or broker.queues.get(name)
        if log is None:
            return
        parts: Sequence[Chunk | Message] = log.chunks if isinstance(log, Stream) else log.messages
        if log is not self._looked_at or self._first > len(parts):
            self._looked_at, self._first = log, 0
            self.clear()
        at = self._first
        while self._first < len(parts) and _is_safe(parts[self._first]):
            self._first += 1
        for part in parts[at:]:
            if _is_safe(part):
                self.update(map(read, part.entries) if isinstance(part, Chunk) else (read(part),))


def _is_safe(part: Chunk | Message) -> bool:
    return part.is_safe and (isinstance(part, Chunk) or part.is_persistent)
