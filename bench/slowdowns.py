"""Known slowdowns and defects, each of which must break the budget that guards against it."""

from pathlib import Path

import msgspec


class Slowdown(msgspec.Struct, frozen=True):
    """A change of one line of `file`, the part of the budgets that must see it, and the one it must break."""

    name: str
    file: str
    line: str
    instead: str
    part: str
    budget: str


SLOWDOWNS = (
    Slowdown(
        name="each body is decoded three times",
        file="ingest/events/event.py",
        line="        event = _decode_event(body)\n",
        instead="        event = [_decode_event(body) for _ in range(3)][0]\n",
        part="micro",
        budget="micro.decode",
    ),
    Slowdown(
        name="each batch's rows are assembled three times",
        file="ingest/store/mysql/statements/commit.py",
        line="    statements = [*insert_keys(batch), insert_events(batch), ",
        instead="    statements = [*insert_keys(batch), [insert_events(batch) for _ in range(3)][0], ",
        part="micro",
        budget="micro.statement",
    ),
    Slowdown(
        name="what all messages of a type have in common is encoded for each",
        file="ingest/broker/stream/message.py",
        line="    before, after = _around_id(",
        instead="    before, after = _around_id.__wrapped__(",
        part="micro",
        budget="micro.stream_messages",
    ),
    Slowdown(
        name="a batch is copied for each event that joins it",
        file="ingest/pipeline/event_queue.py",
        line="        group.events.append(event)\n",
        instead="        group.events = [*group.events, event]\n",
        part="micro",
        budget="micro.assembly",
    ),
    Slowdown(
        name="events are counted one by one",
        file="ingest/pipeline/target_committer.py",
        line="        self._metrics.batch_events.observe(len(batch))\n",
        instead="        [self._metrics.batch_events.observe(1) for _ in batch.events]\n",
        part="micro",
        budget="micro.metrics",
    ),
    Slowdown(
        name="the head of each request is looked at ten times",
        file="ingest/http/event_handler.py",
        line="            headers, client = admission.admit(scope)\n",
        instead="            headers, client = [admission.admit(scope) for _ in range(10)][0]\n",
        part="micro",
        budget="micro.endpoint",
    ),
    Slowdown(
        name="an event's way through the endpoint costs twice as much",
        file="ingest/http/event_handler.py",
        line="            headers, client = admission.admit(scope)\n",
        instead="            headers, client = [admission.admit(scope) for _ in range(40)][0]\n",
        part="saturation",
        budget="saturation.cpu_ratio",
    ),
    Slowdown(
        name="an event's way through the direct listener costs twice as much",
        file="ingest/http/direct/reader.py",
        line="        found = self._shared.known_heads.find(data)\n",
        instead="        found = [self._shared.known_heads.find(data) for _ in range(60)][0]\n",
        part="saturation",
        budget="saturation.direct_ratio",
    ),
    Slowdown(
        name="the id of a refused request is made 60 times",
        file="ingest/http/admission.py",
        line="        request_id = request_id_of(scope.headers)\n",
        instead="        request_id = [request_id_of(scope.headers) for _ in range(60)][0]\n",
        part="refusals",
        budget="refusals.401",
    ),
    Slowdown(
        name="the queue before the database is short",
        file="ingest/settings/model.py",
        line="    queue_events_max: Count = 20_000\n",
        instead="    queue_events_max: Count = 50\n",
        part="saturation",
        budget="saturation.failures",
    ),
    Slowdown(
        name="a wrong token is answered as if the service were stopping",
        file="ingest/http/admission.py",
        line="            raise Unauthenticated\n",
        instead="            raise Draining\n",
        part="scenario.tokens",
        budget="scenario.tokens.failures",
    ),
    Slowdown(
        name="one commit in ten begins a second late",
        file="ingest/pipeline/event_queue.py",
        line="            await asyncio.sleep(0)  # requests",
        instead="            await asyncio.sleep(int(self._monotonic() * 1e6) % 10 == 0)  # requests",
        part="scenario.steady",
        budget="scenario.steady.wait_ratio",
    ),
)


def apply(slowdown: Slowdown, root: Path) -> None:
    """Raises ValueError if the line is not there just once: the code has changed, the slowdown must too."""
    file = root / slowdown.file
    before, line, after = file.read_text().partition(slowdown.line)
    if not line or slowdown.line in after:
        raise ValueError(f"{slowdown.file} does not have this just once: {slowdown.line!r}")
    file.write_text(before + slowdown.instead + after)
