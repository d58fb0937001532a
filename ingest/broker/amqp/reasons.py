"""RabbitMQ's reasons for closing a channel or a connection, and whether a message may be the cause. Pure."""

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
"""content-too-large, and precondition-failed by a publish: the message is too large or malformed."""
MESSAGE_CODES_OF_CONNECTION = frozenset((501, 502, 505, 541))
"""frame-error, syntax-error, unexpected-frame, and internal-error: a crash over one message has such a code.

All other codes mean an outage: access-refused (403), not-found (404), resource-locked (405), connection-forced (320),
resource-error (506), not-allowed (530). A connection that breaks without a reason is also an outage.
"""
PUBLISH = (60, 40)
"""Class and method of `basic.publish`, which the broker names as the failed method."""

_SIZES = re.compile(r"message size (\d+) (?:is )?larger than (?:configured )?max size (\d+)")
_CODES = {kind: code for code, kind in aiormq.connection.EXCEPTION_MAPPING.items()}


class Closed(msgspec.Struct, frozen=True):
    """The broker's reason for closing a channel or connection."""

    code: int
    text: str
    by_a_message: bool
    """True if a message in flight may be the cause; False for an outage."""

    def __str__(self) -> str:
        return f"{self.code} {self.text}"

    @property
    def sizes(self) -> tuple[int, int] | None:
        """The message's size and the broker's limit in bytes; None if the broker does not name them."""
        found = _SIZES.search(self.text)
        return (int(found[1]), int(found[2])) if found else None

    @property
    def sizes_to_log(self) -> Mapping[str, int]:
        """The sizes as numbers for the log, which masks long numbers in texts as phone numbers."""
        sizes = self.sizes
        return {"message_bytes": sizes[0], "broker_bytes_max": sizes[1]} if sizes else {}


class ClosedByBroker(BrokerUnavailable):
    """The broker closed the channel or connection of a batch in flight, perhaps because of one of its messages."""

    def __init__(self, closed: Closed) -> None:
        super().__init__(f"RabbitMQ closed the channel: {closed}")
        self.closed = closed


def of_channel(frame: commands.Channel.Close) -> Closed:
    code = frame.reply_code or 0
    by_a_message = code in MESSAGE_CODES_OF_CHANNEL and (frame.class_id, frame.method_id) == PUBLISH
    return Closed(code, frame.reply_text, by_a_message)


def of_connection(exc: BaseException | None) -> Closed | None:
    """Return None if the connection was lost without a reason from the broker."""
    if not isinstance(exc, aiormq.exceptions.ConnectionClosed) or not exc.args:
        return None
    code, text = exc.args if len(exc.args) == 2 else (_CODES.get(type(exc)), exc.args[0])
    return Closed(code or 0, str(text), code in MESSAGE_CODES_OF_CONNECTION)


def words_of(exc: BaseException) -> str:
    """Return the error for people, with the broker's own words.

    aiormq loses them if the broker answers `connection.open` with `connection.close`, as for a limit of connections.
    Its error names only the frame's class. But the traceback's variables still contain the frame.
    """
    if closed := of_connection(exc):
        return str(closed)
    if isinstance(exc, aiormq.exceptions.InvalidFrameError):
        for place, _ in traceback.walk_tb(exc.__traceback__):
            frame = place.f_locals.get("frame")
            if isinstance(frame, commands.Connection.Close):
                return f"{frame.reply_code} {frame.reply_text}"
    return text_of(exc)
