"""RabbitMQ's reasons for closing a channel or a connection, and which of them are about a message. Pure."""

import re
import traceback
from collections.abc import Mapping

import aiormq.connection
import aiormq.exceptions
import msgspec
from pamqp import commands

from ingest.broker.supervisor import text_of
from ingest.errors import BrokerUnavailable

MESSAGE_CODES_OF_CHANNEL = frozenset((311, 406))
"""content-too-large, and precondition-failed by a publish: its size, or what the broker cannot read as a message."""
MESSAGE_CODES_OF_CONNECTION = frozenset((501, 502, 505, 541))
"""frame-error, syntax-error, unexpected-frame, and internal-error: a crash over one message looks like that.

All else is an outage: access-refused (403), not-found (404), resource-locked (405), connection-forced (320),
resource-error (506), not-allowed (530), and a connection that breaks without a word.
"""
PUBLISH = (60, 40)
"""Class and method of `basic.publish`, which the broker names as what failed."""

_SIZES = re.compile(r"message size (\d+) (?:is )?larger than (?:configured )?max size (\d+)")
_CODES = {kind: code for code, kind in aiormq.connection.EXCEPTION_MAPPING.items()}


class Closed(msgspec.Struct, frozen=True):
    """What the broker said as it closed a channel or connection."""

    code: int
    text: str
    by_a_message: bool
    """Whether a message in flight may be the reason, as opposed to an outage."""

    def __str__(self) -> str:
        return f"{self.code} {self.text}"

    @property
    def sizes(self) -> tuple[int, int] | None:
        """The message's bytes, and the most that the broker takes; None if it does not name them."""
        found = _SIZES.search(self.text)
        return (int(found[1]), int(found[2])) if found else None

    @property
    def bytes_told(self) -> Mapping[str, int]:
        """For the log, which takes long numbers in a text for phone numbers and masks them."""
        sizes = self.sizes
        return {"message_bytes": sizes[0], "broker_bytes_max": sizes[1]} if sizes else {}


class ClosedByBroker(BrokerUnavailable):
    """The broker closed what a batch was in flight on, perhaps for one of its messages."""

    def __init__(self, closed: Closed) -> None:
        super().__init__(f"RabbitMQ closed the channel: {closed}")
        self.closed = closed


def of_channel(frame: commands.Channel.Close) -> Closed:
    code = frame.reply_code or 0
    by_a_message = code in MESSAGE_CODES_OF_CHANNEL and (frame.class_id, frame.method_id) == PUBLISH
    return Closed(code, frame.reply_text, by_a_message)


def of_connection(exc: BaseException | None) -> Closed | None:
    """None if the connection was lost without a word of the broker's."""
    if not isinstance(exc, aiormq.exceptions.ConnectionClosed) or not exc.args:
        return None
    code, text = exc.args if len(exc.args) == 2 else (_CODES.get(type(exc)), exc.args[0])
    return Closed(code or 0, str(text), code in MESSAGE_CODES_OF_CONNECTION)


def words_of(exc: BaseException) -> str:
    """The error for people, with the broker's own words.

    aiormq drops them where the broker answers `connection.open` with `connection.close`, as for a limit of connections:
    it says which frame it got, by its class alone. The frame itself is among the variables of the traceback.
    """
    if closed := of_connection(exc):
        return str(closed)
    if isinstance(exc, aiormq.exceptions.InvalidFrameError):
        for place, _ in traceback.walk_tb(exc.__traceback__):
            frame = place.f_locals.get("frame")
            if isinstance(frame, commands.Connection.Close):
                return f"{frame.reply_code} {frame.reply_text}"
    return text_of(exc)
