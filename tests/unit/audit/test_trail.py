"""An entry is written before its act, without secrets and phone numbers."""

import logging
import os

import pytest

from ingest.audit.operator import operator
from ingest.audit.trail import IDS_LOGGED_MAX, IDS_MAX, TOKEN_IDS, Actor, AuditTrail, entry_of, first_entry_id
from ingest.errors import StoreError
from ingest.telemetry.log_rate_limit import LINES_MAX, RepeatFilter
from tests.unit.fakes import FakeClock, FakeStore
from tests.unit.making import NOW_US

ALICE = Actor("user:alice", "pbx.example.com")


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def trail(store: FakeStore) -> AuditTrail:
    return AuditTrail(store, FakeClock().now_us)


async def test_entry_says_who_asked_for_what_and_when(store: FakeStore, trail: AuditTrail) -> None:
    await trail.record_ids(ALICE, "events.resend", [7, 8])

    (entry,) = store.audited
    assert (entry.time_us, entry.actor, entry.origin, entry.action) == (NOW_US, *ALICE_TEXTS, "events.resend")
    assert entry.details == {"count": 2, "event_ids": [7, 8]}
    assert first_entry_id(NOW_US) <= entry.id < first_entry_id(NOW_US + 1)


ALICE_TEXTS = (ALICE.name, ALICE.origin)


async def test_many_ids_make_several_entries(store: FakeStore, trail: AuditTrail) -> None:
    await trail.record_ids(ALICE, "dead.drop", range(1, 2 * IDS_MAX + 2))

    assert [entry.details["count"] for entry in store.audited] == [IDS_MAX, IDS_MAX, 1]


async def test_act_whose_entry_fails_is_stopped(store: FakeStore, trail: AuditTrail) -> None:
    store.audit_errors.append(StoreError("away"))

    with pytest.raises(StoreError):
        await trail.record(ALICE, "dead.drop", {})


async def test_log_line_has_the_first_ids(trail: AuditTrail, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "ingest.audit"):
        await trail.record_ids(ALICE, "events.resend", range(1, IDS_MAX))

    (line,) = caplog.records
    assert (line.__dict__["actor"], line.__dict__["action"]) == ("user:alice", "events.resend")
    assert len(line.__dict__["details"]["event_ids"]) == IDS_LOGGED_MAX
    assert line.__dict__["details"]["count"] == IDS_MAX - 1


def test_phone_numbers_are_masked_and_ids_of_tokens_are_not() -> None:
    entry = entry_of(NOW_US, ALICE, "events.erase", {"number": "+15551230001", TOKEN_IDS: ["12345678"]})

    assert entry.details == {"number": "***01", TOKEN_IDS: ["12345678"]}


def test_audit_lines_are_never_suppressed(clock: FakeClock) -> None:
    repeats = RepeatFilter(clock.monotonic)
    line = logging.LogRecord("ingest.audit", logging.INFO, "", 0, "audit", (), None)

    assert all(repeats.filter(line) for _ in range(LINES_MAX + 1))


def test_operator_is_the_user_of_the_process() -> None:
    found = operator({"SUDO_USER": "alice", "LOGNAME": "mallory"})

    assert found.name.startswith("user:")
    assert "mallory" not in found.name
    assert found.name.endswith(" (sudo by alice)") == (os.getuid() == 0)
    assert found.origin
