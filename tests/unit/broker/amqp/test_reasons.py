"""The broker's reasons are about a message, or mean an outage."""

import aiormq.exceptions
import pytest
from pamqp import commands

from ingest.broker.amqp.reasons import PUBLISH, of_channel, of_connection, words_of

SIZE = "PRECONDITION_FAILED - message size 200000 is larger than configured max size 100000"
OLD_SIZE = "PRECONDITION_FAILED - message size 200000 larger than max size 100000"


@pytest.mark.parametrize(
    ("code", "method", "by_a_message"),
    [
        (406, PUBLISH, True),
        (311, PUBLISH, True),
        (406, (50, 10), False),  # queue.declare
        (403, PUBLISH, False),
        (404, PUBLISH, False),
        (405, PUBLISH, False),
    ],
)
def test_channel_is_closed_for_a_message_or_for_all(code: int, method: tuple[int, int], by_a_message: bool) -> None:
    closed = of_channel(commands.Channel.Close(code, "words", *method))
    assert (closed.by_a_message, str(closed)) == (by_a_message, f"{code} words")


@pytest.mark.parametrize(
    ("exc", "code", "by_a_message"),
    [
        (aiormq.exceptions.ConnectionInternalError("words"), 541, True),
        (aiormq.exceptions.ConnectionFrameError("words"), 501, True),
        (aiormq.exceptions.ConnectionUnexpectedFrame("words"), 505, True),
        (aiormq.exceptions.ConnectionResourceError("words"), 506, False),
        (aiormq.exceptions.ConnectionNotAllowed("words"), 530, False),
        (aiormq.exceptions.ConnectionClosed(320, "words"), 320, False),
    ],
)
def test_connection_is_closed_for_a_message_or_for_all(exc: Exception, code: int, by_a_message: bool) -> None:
    closed = of_connection(exc)
    assert closed
    assert (closed.by_a_message, str(closed)) == (by_a_message, f"{code} words")
    assert words_of(exc) == f"{code} words"


@pytest.mark.parametrize("exc", [ConnectionResetError("reset"), aiormq.exceptions.AMQPConnectionError("reset"), None])
def test_connection_that_breaks_without_a_reason_is_an_outage(exc: BaseException | None) -> None:
    assert of_connection(exc) is None


@pytest.mark.parametrize("text", [SIZE, OLD_SIZE])
def test_sizes_are_read_where_the_broker_names_them(text: str) -> None:
    assert of_channel(commands.Channel.Close(406, text, *PUBLISH)).sizes == (200000, 100000)
    assert of_channel(commands.Channel.Close(406, "something else", *PUBLISH)).sizes is None
