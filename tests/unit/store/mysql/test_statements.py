import pytest

from ingest.events.event import Event
from ingest.store.mysql.statements.commit import commit, insert_events, own_rows
from ingest.store.mysql.statements.literals import created_literal, quoted
from tests.unit.making import batch, events

LEASE_SECONDS = 30.0


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        (b"plain", b"'plain'"),
        (b"it's", b"'it\\'s'"),
        (b'a"b`c', b"'a\"b`c'"),
        (b"\\", b"'\\\\'"),
        (b"\\'", b"'\\\\\\''"),
        (b"%s;--\n\x00", b"'%s;--\n\x00'"),
    ],
)
def test_quotes_and_backslashes_are_escaped(value: bytes, literal: bytes) -> None:
    assert quoted(value) == literal


def test_every_value_of_a_row_is_escaped() -> None:
    made = batch([Event("c'\\", "t'\\", b"p'\\")])

    assert insert_events(made).endswith(
        b"VALUES (%d,'c\\'\\\\','t\\'\\\\','p\\'\\\\','2025-01-31 13:45:00.123456')" % made.first_id
    )


@pytest.mark.parametrize(
    ("us", "literal"),
    [
        (0, b"'1970-01-01 00:00:00.000000'"),
        (1_738_331_100_000_007, b"'2025-01-31 13:45:00.000007'"),
        (1_709_251_199_999_999, b"'2024-02-29 23:59:59.999999'"),
    ],
)
def test_created_time_is_utc_to_the_microsecond(us: int, literal: bytes) -> None:
    assert created_literal(us) == literal


def test_commit_is_rows_entry_and_commit() -> None:
    assert verbs(commit(batch(3), LEASE_SECONDS, [])) == [
        b"INSERT INTO call_event_logs",
        b"INSERT INTO ingest_outbox",
        b"COMMIT",
    ]


def test_commit_settles_before_it_commits() -> None:
    statement = commit(batch(1), LEASE_SECONDS, [5, 7])

    assert statement.endswith(b";DELETE FROM ingest_outbox WHERE first_id IN (5,7);COMMIT")


def test_lease_is_in_microseconds() -> None:
    assert b"INTERVAL 1500000 MICROSECOND" in commit(batch(1), 1.5, [])


def test_own_rows_are_known_by_all_but_the_payload() -> None:
    made = batch(events(2))

    assert own_rows(made) == [
        (made.ids[0], "call-0", "call_started", "2025-01-31 13:45:00.123456"),
        (made.ids[1], "call-1", "call_started", "2025-01-31 13:45:00.123456"),
    ]


def verbs(statement: bytes) -> list[bytes]:
    return [b" ".join(part.split()[:3]) for part in statement.split(b";")]
