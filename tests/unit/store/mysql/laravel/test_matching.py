"""Each queued job finds the row of its event, also among rows that are equal."""

from ingest.events.event import Event
from ingest.store.mysql.laravel.job import PendingEvent
from ingest.store.mysql.laravel.matching import Job, Row, calls_of, match

BODY = b'{"call_id":"c","event_type":"t","n":1}'


def row(old_id: int, payload: bytes = BODY) -> Row:
    return Row(old_id, 1000 + old_id, Event("c", "t", payload))


def job(number: int, body: bytes | None = BODY, row_id: int | None = None) -> Job:
    return Job(number, 0, "", PendingEvent(body, row_id))


def ids(jobs: list[Job], rows: list[Row], sent: tuple[int, ...] = ()) -> list[int | None]:
    return [message.event_id for message in match(jobs, rows, sent)[0]]


def test_job_gets_the_row_of_its_id_with_the_rows_payload() -> None:
    (message,), unsendable = match([job(1, None, 5)], [row(5)], ())

    assert (message.event_id, message.event.payload, unsendable) == (1005, BODY, {})


def test_equal_jobs_get_different_rows_and_the_newest_ones() -> None:
    assert set(ids([job(1), job(2)], [row(1), row(2), row(3)])) == {1002, 1003}


def test_spacing_and_order_of_keys_do_not_matter() -> None:
    assert ids([job(1)], [row(1, b'{"n": 1, "event_type": "t", "call_id": "c"}')]) == [1001]


def test_equal_row_is_preferred_to_one_with_more_fields() -> None:
    assert ids([job(1)], [row(1), row(2, BODY[:-1] + b',"more":2}')]) == [1001]
    assert ids([job(1)], [row(2, BODY[:-1] + b',"more":2}')]) == [1002]


def test_row_of_another_event_is_not_taken() -> None:
    assert ids([job(1)], [row(1, b'{"call_id":"c","event_type":"t","n":2}')]) == [None]


def test_row_that_was_sent_is_not_sent_again_under_its_id() -> None:
    assert ids([job(1)], [row(1)], sent=(1001,)) == [None]
    assert ids([job(1, None, 1), job(2, None, 1)], [row(1)]) == [1001, None]


def test_job_whose_row_is_gone_cannot_be_sent_without_an_event() -> None:
    messages, unsendable = match([job(1, None, 5), job(2, BODY, 6)], [], ())

    assert [message.job.id for message in messages] == [2]
    assert "its row 5 is not" in unsendable[1]


def test_only_calls_of_jobs_without_a_row_are_looked_up() -> None:
    assert calls_of([job(1), job(2, None, 5), job(3, BODY, 5)]) == {"c"}
