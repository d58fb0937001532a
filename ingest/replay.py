"""`ingest replay`: publish events of the table once more, at a rate, and go on after an interruption where it was."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from ingest.atomic_file import replace_file
from ingest.batches import Batch
from ingest.errors import IngestError, PublishError, SettingsError
from ingest.events import Event
from ingest.events_table import EventTable, Selection
from ingest.ids import first_id_of
from ingest.publisher.base import Publisher

PAGE = 500
"""Events read and published at a time; with a rate, a tenth of a second's, if that is fewer."""
HEADERS = {"replay": "1"}
READY_SECONDS = 30.0
TRIES_MAX = 20
TRY_PAUSE_SECONDS = 0.5


class ReplayFailed(IngestError):
    """The events could not be published."""

    code = "replay"


class Progress(msgspec.Struct):
    """What is kept in the file of `--resume`: for which selection, and how far it came."""

    selection: Selection
    last_id: int
    published: int = 0


def id_at(text: str) -> int:
    """The first id that may be made at that time: RFC 3339; a time without an offset is UTC. Raises `SettingsError`."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"{text!r} is no time: write it as 2026-11-25, or 2026-11-25T13:45:00Z.") from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return first_id_of(int(at.timestamp() * 1000))


class Replay:
    """One run. `advance` is told of each batch's number of events."""

    def __init__(
        self,
        table: EventTable,
        publisher: Publisher,
        selection: Selection,
        per_second: float | None,
        state: Path | None,
        advance: Callable[[int], object],
    ) -> None:
        self._table = table
        self._publisher = publisher
        self._per_second = per_second
        self._state = state
        self._advance = advance
        self._page = min(PAGE, max(1, int(per_second / 10))) if per_second else PAGE
        self.progress = self._resumed(selection)

    @property
    def left(self) -> Selection:
        """What is not published yet."""
        selection = self.progress.selection
        return msgspec.structs.replace(selection, first_id=max(selection.first_id, self.progress.last_id + 1))

    async def run(self) -> int:
        """How many were published now. Raises `ReplayFailed`, or a `StoreError`: what was published is remembered."""
        began, published = time.monotonic(), 0
        while events := await self._table.read_events(self.left, self._page):
            await self._publish(events)
            published += len(events)
            self.progress.last_id = events[-1][0]
            self.progress.published += len(events)
            self._remember()
            self._advance(len(events))
            if self._per_second:
                await asyncio.sleep(max(0.0, began + published / self._per_second - time.monotonic()))
        return published

    async def _publish(self, events: Sequence[tuple[int, Event]]) -> None:
        """Without a writer: a stream would discard them as repeats."""
        made = Batch([event_id for event_id, _ in events], [_marked(event) for _, event in events], 0)
        for attempt in range(TRIES_MAX):
            await self._until_ready()
            try:
                await self._publisher.publish(made, "relay")
                return
            except PublishError as exc:
                reason = str(exc)
            await asyncio.sleep(TRY_PAUSE_SECONDS * min(attempt + 1, 10))
        raise ReplayFailed(f"{reason} Tried {TRIES_MAX} times; with --resume the same command goes on from here.")

    async def _until_ready(self) -> None:
        try:
            async with asyncio.timeout(READY_SECONDS):
                while not self._publisher.ready:  # noqa: ASYNC110 - the publisher has no event to wait for
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise ReplayFailed(self._publisher.problem or "RabbitMQ is not reachable.") from None

    def _resumed(self, selection: Selection) -> Progress:
        if self._state is None or not self._state.exists():
            return Progress(selection, selection.first_id - 1)
        try:
            progress = msgspec.json.decode(self._state.read_bytes(), type=Progress)
        except msgspec.MsgspecError as exc:
            raise SettingsError(f"{self._state} is no file of `ingest replay --resume`: {exc}.") from exc
        if progress.selection != selection:
            raise SettingsError(f"{self._state} belongs to another selection: give it a file of its own, or delete it.")
        return progress

    def _remember(self) -> None:
        if self._state:
            replace_file(self._state, msgspec.json.encode(self.progress))


def _marked(event: Event) -> Event:
    return msgspec.structs.replace(event, headers={**(event.headers or {}), **HEADERS})
