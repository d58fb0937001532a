"""Draws the figures of `/status.json` as lines of text."""

import time
from collections.abc import Callable, Iterator, Sequence

from ingest.cli.shell.output import visible
from ingest.status.snapshot import Latency, Status

BARS = "▁▂▃▄▅▆▇█"
ERRORS_SHOWN = 8
STEPS = {"answer": "answer", "commit": "commit", "publish": "publish", "end_to_end": "end to end"}
COLORS = {"good": "\x1b[32m", "warn": "\x1b[33m", "bad": "\x1b[31m", "bold": "\x1b[1m", "quiet": "\x1b[2m"}
RESET = "\x1b[0m"
KINDS = {"ready": "good", "degraded": "warn", "starting": "warn", "draining": "warn", "unavailable": "bad"}

Paint = Callable[[str, str], str]
"""Kind and text → text in the color of the kind."""


def plain(kind: str, text: str) -> str:
    return text


def colored(kind: str, text: str) -> str:
    return f"{COLORS[kind]}{text}{RESET}"


def screen(status: Status, paint: Paint, width: int) -> Iterator[str]:
    """Yield the lines of one screen, none longer than `width`."""
    clock = time.strftime("%H:%M:%S", time.localtime(status.time))
    title = cut(f"Call Events Service {status.version}  {clock}  ", width - 12)
    yield title + paint(KINDS[status.status], status.status)
    yield ""
    yield from _figures(status, paint, width)
    yield ""
    for name, text in _health(status).items():
        good = text == "ok"
        yield f"{name:<10}" + paint("good" if good else "warn", cut(text, width - 10))
    yield ""
    yield paint("bold", f"{'latency':<12}{'p50':>10}{'p95':>10}{'p99':>10}")
    for step, latency in status.latency_seconds.items():
        yield _latency_line(STEPS.get(step, step), latency)
    yield from _problems(status, paint, width)


def _figures(status: Status, paint: Paint, width: int) -> Iterator[str]:
    room = min(max(width - 46, 0), 60)
    waiting, age_seconds = status.backlog.events, status.backlog.age_seconds
    backlogs = [None if point.backlog is None else float(point.backlog) for point in status.history]
    answer = status.latency_seconds.get("answer")
    rows: list[tuple[str, str, Sequence[float | None]]] = [
        ("accepted", f"{status.rates.accepted:,.0f} /s", [point.accepted for point in status.history]),
        ("answered", f"{duration(answer.p99)} p99" if answer else "-", [point.p99 for point in status.history]),
        ("backlog", f"{waiting:,} events" if waiting is not None else "unknown", backlogs),
    ]
    for name, figure, values in rows:
        yield f"{name:<10}" + paint("bold", f"{figure:>18}") + "  " + paint("quiet", sparkline(values, room))
    age = f"oldest {duration(age_seconds)}, " if waiting and age_seconds is not None else ""
    in_hand = status.in_hand
    yield cut(
        f"{age}{in_hand.queued:,} wait for a commit, {in_hand.unconfirmed:,} for a confirm; "
        f"published {status.rates.published:,.0f} /s, refused {status.rates.refused:,.1f} /s",
        width,
    )


def _health(status: Status) -> dict[str, str]:
    workers = status.workers
    complete = workers.alive >= workers.wanted and not workers.died_lately
    text = f"{workers.alive} of {workers.wanted}"
    if workers.died_lately:
        text += f", {workers.died_lately} {'death' if workers.died_lately == 1 else 'deaths'} in the last ten minutes"
    return {**status.checks, "workers": "ok" if complete else text}


def _latency_line(step: str, latency: Latency) -> str:
    return f"{step:<12}" + "".join(f"{duration(seconds):>10}" for seconds in (latency.p50, latency.p95, latency.p99))


def _problems(status: Status, paint: Paint, width: int) -> Iterator[str]:
    if status.refusals:
        yield ""
        refused = ", ".join(f"{refusal.code} {refusal.count:,}" for refusal in status.refusals)
        yield cut(f"refused in ten minutes: {refused}", width)
    if status.errors:
        yield ""
    for error in status.errors[:ERRORS_SHOWN]:
        clock = time.strftime("%H:%M:%S", time.localtime(error.time))
        kind = "warn" if error.level == "warning" else "bad"
        yield f"{clock} " + paint(kind, cut(f"{error.level} {error.text}", width - 9))


def duration(seconds: float) -> str:
    """`12.3 ms`, `1.2 s` or `5 min`."""
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def sparkline(values: Sequence[float | None], width: int) -> str:
    """Draw one character for each value, relative to the largest one shown. An unknown value is a space."""
    shown = values[-width:] if width else []
    most = max((value for value in shown if value is not None), default=0.0)
    return "".join(" " if value is None else _bar(value / most if most else 0.0) for value in shown)


def _bar(share: float) -> str:
    return BARS[min(int(share * len(BARS)), len(BARS) - 1)]


def cut(text: str, width: int) -> str:
    """Shorten to one line of at most `width` characters, with control characters made visible."""
    line = visible(" ".join(text.split()))
    return line if len(line) <= width else line[: max(width - 1, 0)] + "…"
