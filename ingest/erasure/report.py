"""The result of an erasure, for people and as JSON."""

from collections.abc import Iterator

import msgspec

PLACES = {
    "table": "call_event_logs",
    "outbox": "batches in the outbox",
    "dead_letters": "dead letters",
    "spool": "the spool of this host",
    "embedded_queue": "the embedded queue",
    "archives": "archives",
}
BEYOND = (
    "Messages that the broker has: a queue keeps them until they are consumed, a stream until its own retention ends. "
    "Consumers get a tombstone with the ids.",
    "Spools of other hosts: run the same command on each host of the service.",
    "Backups, and the binary log of the database: they keep the rows until they expire.",
)
"""Places that this command cannot reach."""


class Report(msgspec.Struct):
    """`found` counts events by place. `days` counts those of the table by day. `problems` are places left over."""

    erasure: str
    acted: bool
    numbers: int = 0
    calls: int = 0
    found: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(PLACES, 0))
    searched: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(PLACES, 0))
    days: dict[str, int] = {}
    archives: list[str] = []
    tombstones: list[str] = []
    """The ids of the messages that name the erased events."""
    problems: list[str] = []
    beyond: tuple[str, ...] = BEYOND

    @property
    def complete(self) -> bool:
        return not self.problems

    def add(self, place: str, searched: int, found: int) -> None:
        self.searched[place] += searched
        self.found[place] += found

    def add_problem(self, text: str) -> None:
        if text not in self.problems:
            self.problems.append(text)

    def add_day(self, day: str, found: int) -> None:
        self.days[day] = self.days.get(day, 0) + found


def report_lines(report: Report) -> Iterator[str]:
    done = "erased from" if report.acted else "would be erased from"
    for place, name in PLACES.items():
        if report.searched[place] or report.found[place]:
            yield f"{report.found[place]} events {done} {name}, of {report.searched[place]}"
            if place == "table":
                yield from (f"  {day}: {count}" for day, count in sorted(report.days.items()))
            if place == "archives":
                yield from (f"  {name}" for name in report.archives)
    if report.tombstones:
        yield f"{len(report.tombstones)} tombstones wait in the outbox: the service publishes them."
    for problem in report.problems:
        yield f"NOT ERASED: {problem}"
    yield from (f"Not reached: {text}" for text in report.beyond)
    if not report.acted:
        yield "Nothing was changed: this was a dry run. Add --yes to erase these events."
    elif report.complete:
        yield f"Erasure {report.erasure} is complete."
