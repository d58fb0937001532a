"""Each act on stored events needs its own scope, and the answers are those of the OpenAPI document."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from ingest.audit.trail import AuditTrail
from ingest.auth.authenticator import Authenticator
from ingest.auth.readers import Readers
from ingest.auth.tokens import Token, digest_of
from ingest.errors import StoreError, StoreUnavailable
from ingest.events.batch import Batch
from ingest.http.reading.api import Answer, ApiRequest, ReadingApi
from ingest.outbox.dead_letters import DeadLetter
from ingest.reading.base import SCAN_ROWS_MAX, EventPage, EventQuery, EventRow, WaitingEntry
from ingest.status.snapshot import RefusedClient
from tests.unit.fakes import FakeClock, FakeStore
from tests.unit.making import FIELDS, NOW_US, batch, body

STORED, DEAD = batch(2).ids
PAYLOAD = body()
REFUSED = RefusedClient(1.0, "192.0.2.7", "/api/call-events", "invalid", 2, "pbx-1", {"call_id": "is required"})
POST, READ, NUMBERS, OPERATE = "posts", "reads", "reads numbers", "operates"
ROUTES = [
    ("GET", "/api/events", READ),
    ("GET", f"/api/events/{STORED}", READ),
    ("GET", "/api/refusals", READ),
    ("POST", f"/api/events/{STORED}/resend", OPERATE),
    ("GET", "/api/dead-letters", OPERATE),
    ("POST", f"/api/dead-letters/{DEAD}/retry", OPERATE),
    ("POST", f"/api/dead-letters/{DEAD}/drop", OPERATE),
]


class FakeTable(FakeStore):
    """A published event and a dead letter."""

    def __init__(self) -> None:
        super().__init__()
        self.acts: list[tuple[str, list[int]]] = []
        self.failure: StoreError | None = None
        self.asked: list[EventQuery] = []

    async def find_events(self, query: EventQuery, limit: int, scan_rows_max: int = SCAN_ROWS_MAX) -> EventPage:
        if self.failure:
            raise self.failure
        self.asked.append(query)
        return EventPage([EventRow(STORED, "call-0", "call_started", NOW_US, PAYLOAD)], STORED)

    async def event_row(self, event_id: int) -> EventRow | None:
        return EventRow(event_id, "call-0", "call_started", NOW_US, PAYLOAD) if event_id == STORED else None

    async def outbox_entry_of(self, event_id: int) -> WaitingEntry | None:
        return None

    async def dead_letters(self, after_id: int, limit: int) -> list[DeadLetter]:
        letter = DeadLetter(DEAD, "no route for +15551230001", NOW_US, batch(2).part(1, 2))
        return [letter] if after_id < DEAD else []

    async def count_dead(self) -> int:
        return 1

    async def requeue_dead(self, event_ids: Sequence[int]) -> int:
        self.acts.append(("retry", list(event_ids)))
        return 1

    async def drop_dead(self, event_ids: Sequence[int]) -> int:
        self.acts.append(("drop", list(event_ids)))
        return 1

    async def add_entries(self, batches: Sequence[Batch]) -> None:
        self.acts.append(("resend", [one.first_id for one in batches]))


@pytest.fixture
def table() -> FakeTable:
    return FakeTable()


@pytest.fixture
def api(table: FakeTable) -> ReadingApi:
    readers, clock = Readers(), FakeClock()
    scopes = {READ: "read", NUMBERS: "read-numbers", OPERATE: "operate"}
    readers.use([Token(digest_of(secret), f"n-{scope}", 0, scope=scope) for secret, scope in scopes.items()])
    trail = AuditTrail(table, clock.now_us)
    return ReadingApi(readers, Authenticator([POST], clock.monotonic), table, trail, lambda hours: [REFUSED])


async def ask(api: ReadingApi, path: str, token: str | None, method: str = "GET", query: str = "") -> Answer:
    assert api.serves(path)
    return await api.answer(ApiRequest(method, path, query, token, "192.0.2.1"))


def content(answer: Answer) -> Any:
    return json.loads(msgspec.json.encode(answer.content))


@pytest.mark.parametrize(("method", "path", "token"), ROUTES)
async def test_each_act_needs_its_own_scope(
    api: ReadingApi, table: FakeTable, method: str, path: str, token: str
) -> None:
    for other in {POST, READ, NUMBERS, OPERATE} - {token, *([NUMBERS] if token == READ else [])}:
        assert (await ask(api, path, other, method)).status == 403
    for unknown in "", None, "unknown":
        refused = await ask(api, path, unknown, method)
        assert (refused.status, list(refused.headers)) == (401, ["www-authenticate"])
    assert (table.acts, table.audited) == ([], [])

    assert (await ask(api, path, token, method)).status == 200
    wrong = await ask(api, path, token, "PUT")
    assert (wrong.status, wrong.headers) == (405, {"allow": method})


async def test_numbers_are_masked_unless_the_scope_shows_them(api: ReadingApi) -> None:
    for path in "/api/events", f"/api/events/{STORED}":
        masked, whole = [msgspec.json.encode((await ask(api, path, token)).content) for token in (READ, NUMBERS)]
        assert b"15551230" not in masked
        assert FIELDS["from_number"].encode() in whole


async def test_events_are_listed_with_ids_as_text_and_a_cursor(api: ReadingApi, table: FakeTable) -> None:
    listed = content(await ask(api, "/api/events", NUMBERS, query="call=a&limit=1"))

    assert table.asked == [EventQuery("a")]
    assert listed["next"] == str(STORED)
    assert listed["events"] == [
        {
            "id": str(STORED),
            "call_id": "call-0",
            "event_type": "call_started",
            "accepted_time": "2025-01-31T13:45:00.123456Z",
            "payload": FIELDS,
        }
    ]


async def test_event_is_shown_with_its_place(api: ReadingApi) -> None:
    published = content(await ask(api, f"/api/events/{STORED}", READ))
    dead = content(await ask(api, f"/api/events/{DEAD}", READ))

    assert (published["place"], published["stored"]) == ("published", True)
    assert (dead["place"], dead["stored"], dead["reason"]) == ("dead letter", False, "no route for ***01")
    assert (await ask(api, "/api/events/1", READ)).status == 404


async def test_acts_are_done_and_recorded(api: ReadingApi, table: FakeTable) -> None:
    resent = await ask(api, f"/api/events/{STORED}/resend", OPERATE, "POST")
    for act in "retry", "drop":
        assert content(await ask(api, f"/api/dead-letters/{DEAD}/{act}", OPERATE, "POST")) == {
            "id": str(DEAD),
            "done": True,
        }

    assert content(resent) == {"id": str(STORED), "outcome": "resent"}
    assert table.acts == [("resend", [STORED]), ("retry", [DEAD]), ("drop", [DEAD])]
    assert [(one.actor, one.origin, one.action) for one in table.audited] == [
        ("token:n-operate", "192.0.2.1", action) for action in ("events.resend", "dead.retry", "dead.drop")
    ]


async def test_what_is_not_there_is_not_changed(api: ReadingApi, table: FakeTable) -> None:
    paths = [
        *("/api/events/1/resend", "/api/dead-letters/1/retry", "/api/dead-letters/1/drop"),
        *("/api/events/x", "/api/events/", f"/api/events/{STORED}/drop", f"/api/dead-letters/{DEAD}"),
        f"/api/events/{STORED}/resend/x",
    ]
    assert {(await ask(api, path, OPERATE, "POST")).status for path in paths} == {404}
    assert (table.acts, table.audited) == ([], [])


async def test_failure_of_the_database_is_told_without_numbers(api: ReadingApi, table: FakeTable) -> None:
    table.failure = StoreUnavailable("MySQL error 3024: too long for '+15551230001'")

    answer = await ask(api, "/api/events", READ)

    assert (answer.status, content(answer)) == (503, {"message": "MySQL error 3024: too long for '***01'"})


async def test_wrong_query_is_refused(api: ReadingApi) -> None:
    for path, token in ("/api/events", READ), (f"/api/events/{STORED}", READ), ("/api/dead-letters", OPERATE):
        assert (await ask(api, path, token, query="none=1")).status == 400


async def test_refused_requests_are_listed(api: ReadingApi) -> None:
    assert content(await ask(api, "/api/refusals", READ)) == {"refused": [msgspec.to_builtins(REFUSED)], "hours": 6}


def test_other_paths_are_not_served(api: ReadingApi) -> None:
    assert not any(map(api.serves, ("/api/eventsx", "/api/call-events", "/api", "/")))
