"""Stand-ins for clock, store, publisher and HTTP client, through the protocols of `ingest`."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence, Set
from typing import Any, Literal

import msgspec

from ingest.audit.trail import AuditEntry
from ingest.auth.tokens import Token
from ingest.broker.base import Priority, Refused
from ingest.errors import (
    BatchRefused,
    BrokerUnavailable,
    NotConfirmed,
    PublishError,
    RowRefused,
    StoreError,
    StoreUnavailable,
)
from ingest.events.batch import Batch
from ingest.events.event import Event
from ingest.events.ids import IdGenerator
from ingest.http.rsgi import ProtocolClosed
from ingest.outbox.base import Backlog
from ingest.outbox.dead_letters import DeadLetter
from ingest.outbox.relay import Relay
from ingest.outbox.settler import Settler
from ingest.pipeline.commit_target import CommitTarget
from ingest.pipeline.dispatcher import Dispatcher
from ingest.reading.base import SCAN_ROWS_MAX, EventPage, EventQuery, EventRow, WaitingEntry
from ingest.store.base import SlotLease
from ingest.store.event_query import EventFilter
from tests.unit.making import NOW_US

WAIT_SECONDS = 60


async def until(condition: Callable[[], Any]) -> None:
    """Let the loop run until `condition` holds; fails when it does not for `WAIT_SECONDS`."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not condition():  # noqa: ASYNC110 - whatever a test waits for
            await asyncio.sleep(0)


class FakeClock:
    """All clocks; they stand still but for `advance`."""

    def __init__(self) -> None:
        self.us = NOW_US
        self.seconds = 1000.0

    def now_us(self) -> int:
        return self.us

    def unix_seconds(self) -> float:
        return self.us / 1e6

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.us += int(seconds * 1_000_000)
        self.seconds += seconds


class Commit(msgspec.Struct, frozen=True):
    batch: Batch
    lease_seconds: float
    settled: Sequence[int]


class FakeTokens:
    """The database's tokens; it is away while they are None."""

    def __init__(self, *held: Token) -> None:
        self.held: Sequence[Token] | None = held
        self.us = NOW_US

    async def clock_us(self) -> int:
        return self.us

    async def tokens(self) -> list[Token]:
        if self.held is None:
            raise StoreUnavailable
        return list(self.held)

    async def add_token(self, token: Token) -> None:
        self.held = [*(self.held or ()), token]

    async def expire_tokens(self, digests: Sequence[bytes], expires_us: int) -> None:
        raise NotImplementedError

    async def remove_tokens(self, digests: Sequence[bytes]) -> None:
        raise NotImplementedError


class FakeStore(FakeTokens):
    """A store in memory.

    Commits wait while `gate` (or the one of `gates` for their first call_id) is closed. Then they fail with the next of
    `errors`, with `RowRefused` if they hold an event of `poison`, or with `BatchRefused` for one of `riddles`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gate = opened()
        self.gates: dict[str, asyncio.Event] = {}
        self.errors: deque[Exception] = deque()
        self.poison: set[str] = set()
        self.riddles: set[str] = set()
        self.tried: list[Batch] = []
        self.commits: list[Commit] = []
        self.restored: list[Batch] = []
        self.restores = 0
        self.dead_lettered: list[tuple[Batch, str]] = []
        self.dead_letter_errors: deque[StoreError] = deque()
        self.audited: list[AuditEntry] = []
        self.audit_errors: deque[StoreError] = deque()
        self.forgotten: list[tuple[int, int]] = []
        self.settled: list[int] = []
        self.settle_errors: deque[StoreError] = deque()
        self.claims: deque[list[int] | Exception] = deque()
        self.entries: dict[int, Batch] = {}
        self.leases: deque[SlotLease | StoreError] = deque()
        self.renewed: list[SlotLease] = []
        self.slot_lost = False
        self.slot_errors: deque[StoreError] = deque()
        self.released: list[tuple[SlotLease, float]] = []

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    unfinished = None

    async def ping(self) -> None: ...

    async def probe(self) -> None:
        await self.ping()

    async def commit(self, batch: Batch, *, lease_seconds: float, settled: Sequence[int]) -> bool:
        self.tried.append(batch)
        await self.gates.get(batch.events[0].call_id, self.gate).wait()
        self._raise_for([batch])
        self.commits.append(Commit(batch, lease_seconds, list(settled)))
        return False

    async def insert_published(self, batches: Sequence[Batch]) -> None:
        self._raise_for(batches)
        self.restored += batches
        self.restores += 1

    def _raise_for(self, batches: Sequence[Batch]) -> None:
        if self.errors:
            raise self.errors.popleft()
        call_ids = {event.call_id for batch in batches for event in batch.events}
        if call_ids & self.poison:
            raise RowRefused
        if call_ids & self.riddles:
            raise BatchRefused

    async def add_dead(self, batch: Batch, reason: str) -> None:
        if self.dead_letter_errors:
            raise self.dead_letter_errors.popleft()
        self.dead_lettered.append((batch, reason))

    async def dead_letters(self, after_id: int, limit: int) -> list[DeadLetter]:
        raise NotImplementedError

    async def count_dead(self) -> int:
        return len(self.dead_lettered)

    async def requeue_dead(self, event_ids: Sequence[int]) -> int:
        raise NotImplementedError

    async def drop_dead(self, event_ids: Sequence[int]) -> int:
        raise NotImplementedError

    async def newest_id(self) -> int:
        raise NotImplementedError

    async def count_events(self, selection: EventFilter) -> int:
        raise NotImplementedError

    async def read_events(self, selection: EventFilter, limit: int) -> list[tuple[int, Event]]:
        raise NotImplementedError

    async def find_events(self, query: EventQuery, limit: int, scan_rows_max: int = SCAN_ROWS_MAX) -> EventPage:
        raise NotImplementedError

    async def event_row(self, event_id: int) -> EventRow | None:
        raise NotImplementedError

    async def outbox_entry_of(self, event_id: int) -> WaitingEntry | None:
        raise NotImplementedError

    async def add_entries(self, batches: Sequence[Batch]) -> None:
        raise NotImplementedError

    async def add_audit(self, entry: AuditEntry) -> None:
        if self.audit_errors:
            raise self.audit_errors.popleft()
        self.audited.append(entry)

    async def audit_entries(self, before_id: int, limit: int) -> list[AuditEntry]:
        return [entry for entry in reversed(self.audited) if entry.id < before_id][:limit]

    async def forget_audit(self, before_us: int, limit: int) -> int:
        self.forgotten.append((before_us, limit))
        return 0

    async def settle(self, first_ids: Sequence[int]) -> None:
        if self.settle_errors:
            raise self.settle_errors.popleft()
        self.settled += first_ids

    async def count_rows(self, first_id: int, last_id: int) -> int:
        return sum(first_id <= one <= last_id for commit in self.commits for one in commit.batch.ids)

    async def forget_keys(self, before_ms: int, limit: int) -> int:
        self.forgotten.append((before_ms, limit))
        return 0

    async def claim(self, limit: int, lease_seconds: float) -> list[int]:
        """The next of `claims`, then nothing."""
        claim = self.claims.popleft() if self.claims else []
        if isinstance(claim, Exception):
            raise claim
        return claim[:limit]

    async def read(self, first_ids: Sequence[int]) -> list[Batch]:
        return [self.entries[first_id] for first_id in first_ids if first_id in self.entries]

    async def backlog(self) -> Backlog:
        return Backlog()

    async def lease_slot(self, node: str, life: str, lease_seconds: float) -> SlotLease:
        """The next of `leases`, as leased to `node`."""
        lease = self.leases.popleft()
        if isinstance(lease, StoreError):
            raise lease
        return msgspec.structs.replace(lease, node=node, life=life)

    async def renew_slot(self, lease: SlotLease, life: str, lease_seconds: float) -> SlotLease | None:
        if self.slot_errors:
            raise self.slot_errors.popleft()
        self.renewed.append(lease)
        return None if self.slot_lost else msgspec.structs.replace(lease, life=life)

    async def release_slot(self, lease: SlotLease, keep_seconds: float) -> None:
        if self.slot_errors:
            raise self.slot_errors.popleft()
        self.released.append((lease, keep_seconds))


class FakeOrderedStore(FakeStore):
    """The `relay_mode` that workers share. The calls that change it fail with the next of `order_errors`.

    While it is `away`, all calls about the order fail.
    """

    def __init__(self) -> None:
        super().__init__()
        self.relay_mode = False
        self.order_gate = opened()
        self.order_errors: deque[StoreError] = deque()
        self.away: StoreError | None = None
        self.free: list[int] = []
        self.kept: list[int] = []
        self.older: set[int] = set()
        self.waiting: set[int] = set()
        """Ids of events that are in the outbox. Each is an entry."""
        self.last: list[Batch] = []
        """Batches that are published as relay mode is left."""
        self.caught_up = 0

    async def commit(self, batch: Batch, *, lease_seconds: float, settled: Sequence[int]) -> bool:
        await super().commit(batch, lease_seconds=lease_seconds, settled=settled)
        return self.relay_mode

    async def enter_relay_mode(self, now: Sequence[int], later: Sequence[int], lease_seconds: float) -> None:
        await self._answered()
        self.relay_mode = True
        self.free += now
        self.kept += later

    async def leave_to_relays(self, now: Sequence[int], later: Sequence[int], lease_seconds: float) -> bool:
        await self._answered()
        if self.relay_mode:
            self.free += now
            self.kept += later
        return self.relay_mode

    async def unpublished(self, event_ids: Set[int]) -> Sequence[int]:
        await self._answered()
        return [] if self.relay_mode else sorted(event_ids & self.waiting)

    async def has_older(self, event_id: int) -> bool:
        if self.away:
            raise self.away
        return event_id in self.older

    async def leave_relay_mode(self, publish: Callable[[Sequence[Batch]], Awaitable[None]]) -> bool:
        self.caught_up += 1
        await publish(self.last)
        return True

    async def _answered(self) -> None:
        await self.order_gate.wait()
        if self.away:
            raise self.away
        if self.order_errors:
            raise self.order_errors.popleft()


class FakePublisher:
    """A broker in memory: publishes wait while `gate` is closed, then fail as `errors` says of their first id."""

    def __init__(self) -> None:
        self.gate = opened()
        self.problem: str | None = None
        self.errors: dict[int, PublishError] = {}
        self.tried: list[Batch] = []
        self.published: list[tuple[Batch, Priority]] = []

    @property
    def ready(self) -> bool:
        return self.problem is None

    async def blocked(self) -> bool:
        return False

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def publish(self, batch: Batch, priority: Priority = "live") -> None:
        if self.problem:
            raise BrokerUnavailable(self.problem)
        self.tried.append(batch)
        await self.gate.wait()
        if batch.first_id in self.errors:
            raise self.errors[batch.first_id]
        self.published.append((batch, priority))


class FakeOrderedPublisher(FakePublisher):
    """Keeps the first ids of the batches that were published `once`. The next of `once_errors` fails instead."""

    def __init__(self) -> None:
        super().__init__()
        self.once: list[int] = []
        self.once_errors: deque[PublishError] = deque()

    async def publish_once(self, batches: Sequence[Batch]) -> Sequence[Refused]:
        problem = self.once_errors.popleft() if self.once_errors else None
        if isinstance(problem, NotConfirmed):
            return [(batches[0], problem)]
        if problem:
            raise problem
        refused: list[Refused] = []
        for one in batches:
            try:
                await self.publish(one)
            except NotConfirmed as exc:
                refused.append((one, exc))
            self.once.append(one.first_id)
        return refused


class FakeNamer:
    """Gives events ids of a slot of its own, unless the next of `errors` is in the way."""

    SLOT = 9

    def __init__(self) -> None:
        self.errors: deque[StoreError] = deque()
        self._ids = IdGenerator(self.SLOT, lambda: NOW_US)

    async def renew_ids(self, batch: Batch) -> Batch:
        if self.errors:
            raise self.errors.popleft()
        return batch.renamed(self._ids)


class FakeRelay(Relay):
    """Keeps what it is to publish: first id → positions."""

    def __init__(self) -> None:
        self.taken: dict[int, list[int]] = {}

    def retry(self, batch: Batch, positions: Sequence[int]) -> None:
        self.taken[batch.first_id] = list(positions)


class FakeDispatcher(Dispatcher):
    """Keeps the batches that it gets. The next of `errors` fails instead."""

    def __init__(self) -> None:
        self.dispatched: list[Batch] = []
        self.targets: list[CommitTarget] = []
        self.errors: deque[Exception] = deque()

    def dispatch(self, batch: Batch, lease_seconds: float, target: CommitTarget, *, relay_mode: bool = False) -> None:
        if self.errors:
            raise self.errors.popleft()
        self.dispatched.append(batch)
        self.targets.append(target)

    def lease_seconds(self, target: CommitTarget) -> float:
        return 30.0


class FakeSettler(Settler):
    """Has entries `settled` for the next commit."""

    def __init__(self) -> None:
        self.settled: list[int] = []
        self.given_back: list[int] = []

    def take(self) -> Sequence[int]:
        taken, self.settled = self.settled, []
        return taken

    def add(self, first_ids: Iterable[int]) -> None:
        self.given_back += first_ids


class Answered(msgspec.Struct, frozen=True):
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class FakeHeaders:
    """A request's headers. A header with the value None cannot be read."""

    def __init__(self, values: Mapping[str, str | None]) -> None:
        self._values = values

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def get(self, name: str, default: Any = None) -> Any:
        value = self._values.get(name)
        return default if value is None else value

    def items(self) -> list[tuple[str, str]]:
        return [(name, value) for name, value in self._values.items() if value is not None]


class FakeScope(msgspec.Struct):
    """A request's head."""

    headers: FakeHeaders
    method: str = "POST"
    path: str = "/"
    query_string: str = ""
    authority: str | None = None
    http_version: str = "1.1"
    scheme: str = "http"
    proto: str = "http"
    server: str = "127.0.0.1:8000"
    client: str = "[::1]:50000"


class FakeProtocol:
    """A client that sends `parts` and then `end`s: as it should, early, or never. It keeps its answer.

    As Granian does, it gives an empty part at the end, and two when the body ended early.
    """

    def __init__(self, parts: Iterable[bytes] = (), end: Literal["whole", "cut off", "never"] = "whole") -> None:
        self._parts = list(parts)
        self._end = end
        self.waits = False
        self.answered: Answered | None = None
        self.streamed: list[bytes] = []

    async def __call__(self) -> bytes:
        await self._wait()
        if self._end == "cut off":
            raise ProtocolClosed
        return b"".join(self._parts)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            yield part
        await self._wait()
        for _ in range(2 if self._end == "cut off" else 1):
            yield b""

    async def _wait(self) -> None:
        if self._end == "never":
            self.waits = True
            await asyncio.Future()

    async def client_disconnect(self) -> None:
        """It is gone at once."""

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        assert self.answered is None, "one request has one answer"
        self.answered = Answered(status, dict(headers), body)

    def response_stream(self, status: int, headers: list[tuple[str, str]]) -> "FakeProtocol":
        self.response_bytes(status, headers, b"")
        return self

    async def send_bytes(self, data: bytes) -> None:
        self.streamed.append(data)


async def request(
    priority: Callable[[FakeScope, FakeProtocol], Awaitable[None]],
    body: bytes = b"",
    method: str = "POST",
    path: str = "/",
    **headers: str | None,
) -> Answered:
    """Call a handler as Granian does. `_` in names is `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    protocol = FakeProtocol([body])
    await priority(FakeScope(FakeHeaders({"content-length": str(len(body)), **named}), method, path), protocol)
    assert protocol.answered
    return protocol.answered


def opened() -> asyncio.Event:
    gate = asyncio.Event()
    gate.set()
    return gate
