"""Stand-ins for the service, for waits and for the clock of `ingest send`."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ingest.cli.send.service import NoAnswer, Reply, Service

URL = "http://fake"


class Killed(BaseException):
    """The process ends here, as after kill -9: nothing else runs."""


def nothing() -> None: ...


class FakeTime:
    """The clock and the waiting. `step` runs in each pause; the clock moves only in pauses."""

    def __init__(self, step: Callable[[], None] = nothing) -> None:
        self.seconds = 1000.0
        self.pauses: list[float] = []
        self.is_stopped = False
        self.step = step

    def monotonic(self) -> float:
        return self.seconds

    def pause(self, seconds: float) -> None:
        self.seconds += seconds
        self.pauses.append(seconds)
        self.step()


class FakeService(Service):
    """Stores the items of batches and finds duplicates as the service does: by key and position."""

    def __init__(self) -> None:
        self.url = URL
        self.is_away = False
        self.answers: list[Reply] = []
        """Answers in place of the service's own, which store nothing."""
        self.before: Callable[[], None] = nothing
        """Runs before an event is stored."""
        self.after: Callable[[], None] = nothing
        """Runs after the events are stored, before the client has the answer."""
        self.stored: list[bytes] = []
        self.batches: list[tuple[str, Sequence[bytes]]] = []
        self._keys: dict[tuple[str, int], bytes] = {}

    def post(self, target: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        self.before()
        if self.is_away:
            raise NoAnswer("no answer: it is away")
        if self.answers:
            return self.answers.pop(0)
        items = body.split(b"\n")
        self.batches.append((headers["Idempotency-Key"], items))
        rejected = [
            {"index": index, "errors": error}
            for index, item in enumerate(items)
            if (error := self._store(headers["Idempotency-Key"], index, item))
        ]
        self.after()
        return reply(200, {"accepted": len(items) - len(rejected), "rejected": rejected})

    def _store(self, key: str, index: int, item: bytes) -> Any:
        try:
            if not isinstance(json.loads(item), dict):
                return {"event": ["no object"]}
        except ValueError:
            return {"event": ["no JSON"]}
        if (key, index) in self._keys:
            return None if self._keys[key, index] == item else {"event": ["key reused"]}
        self._keys[key, index] = item
        self.stored.append(item)
        return None


def reply(status: int, answer: dict[str, Any] | None = None, wait_seconds: float = 0.0, is_page: bool = False) -> Reply:
    return Reply(status, wait_seconds, answer or {"message": "no"}, is_page)
