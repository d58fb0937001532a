"""`ingest top`: the figures of a running service's `/status.json`, in a terminal, again and again."""

import shutil
import time
from collections.abc import Callable, Iterator
from http.client import HTTPException
from typing import TextIO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

import msgspec

from ingest.errors import IngestError, SettingsError
from ingest.status.snapshot import Latency, Status

ANSWER_SECONDS = 5.0
BARS = "▁▂▃▄▅▆▇█"
ERRORS_SHOWN = 8
PRINTED_WIDTH = 110
STEPS = {"answer": "answer", "commit": "commit", "publish": "publish", "end_to_end": "end to end"}

HOME_AND_HIDE, SHOW = "\x1b[H\x1b[?25l", "\x1b[?25h"
ENTER, LEAVE = "\x1b[?1049h", "\x1b[?1049l"
"""The alternate screen: what was in the terminal before is there again afterwards."""
END_OF_LINE, END_OF_SCREEN = "\x1b[K", "\x1b[J"
COLOURS = {"good": "\x1b[32m", "warn": "\x1b[33m", "bad": "\x1b[31m", "bold": "\x1b[1m", "quiet": "\x1b[2m"}
RESET = "\x1b[0m"
KINDS = {"ready": "good", "degraded": "warn", "starting": "warn", "draining": "warn", "unavailable": "bad"}

Paint = Callable[[str, str], str]
"""Kind and text → text in its colour."""


class StatusUnavailable(IngestError):
    """The service does not tell its status."""

    code = "status"


class Service:
    """Where the pages of a service are: its admin address, if it has one."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError(f"--url {url!r} is not of the form http://host:port.")
        self._url = url.rstrip("/") + "/status.json"
        self._open = build_opener(ProxyHandler({})).open  # as `ingest send`: no proxy stands between

    def ask(self) -> bytes:
        """The JSON as it came. Raises `StatusUnavailable`."""
        try:
            with self._open(self._url, timeout=ANSWER_SECONDS) as answer:
                body: bytes = answer.read()
                return body
        except (URLError, HTTPException, OSError) as exc:
            reason = exc if isinstance(exc, HTTPError) else getattr(exc, "reason", exc)
            raise StatusUnavailable(
                f"{self._url}: {reason}. Does the service run there? With INGEST_ADMIN_PORT its pages are on that port."
            ) from exc

    def status(self) -> Status:
        try:
            return msgspec.json.decode(self.ask(), type=Status)
        except msgspec.MsgspecError as exc:
            raise StatusUnavailable(f"{self._url} is not the status of this version: {exc}.") from exc


def plain(kind: str, text: str) -> str:
    return text


def coloured(kind: str, text: str) -> str:
    return f"{COLOURS[kind]}{text}{RESET}"


def watch(service: Service, interval_seconds: float, output: TextIO, sleep: Callable[[float], None]) -> None:
    """Draw until interrupted. Only the first answer must come: later on it waits for the service."""
    frame = list(screen(service.status(), coloured, _width()))
    try:
        output.write(ENTER)
        while True:
            lines = (line + END_OF_LINE for line in frame[: _height()])
            output.write(HOME_AND_HIDE + "\r\n".join(lines) + END_OF_SCREEN)
            output.flush()
            sleep(interval_seconds)
            try:
                frame = list(screen(service.status(), coloured, _width()))
            except StatusUnavailable as exc:
                frame = [coloured("bad", cut(str(exc), _width())), *frame[1:]]
    except KeyboardInterrupt:
        pass
    finally:
        output.write(SHOW + LEAVE)
        output.flush()


def screen(status: Status, paint: Paint, width: int) -> Iterator[str]:
    """The lines of one picture, none longer than `width`."""
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
    yield from _troubles(status, paint, width)


def _figures(status: Status, paint: Paint, width: int) -> Iterator[str]:
    room = min(max(width - 46, 0), 60)
    waiting, age_seconds = status.backlog.events, status.backlog.age_seconds
    shown = [float(point.backlog or 0) for point in status.history]
    answer = status.latency_seconds.get("answer")
    rows = [
        ("accepted", f"{status.rates.accepted:,.0f} /s", [point.accepted for point in status.history]),
        ("answered", f"{lasting(answer.p99)} p99" if answer else "-", [point.p99 or 0.0 for point in status.history]),
        ("backlog", f"{waiting:,} events" if waiting is not None else "unknown", shown),
    ]
    for name, figure, values in rows:
        yield f"{name:<10}" + paint("bold", f"{figure:>18}") + "  " + paint("quiet", sparkline(values, room))
    age = f"oldest {lasting(age_seconds)}, " if waiting and age_seconds is not None else ""
    hand = status.in_hand
    yield cut(
        f"{age}{hand.queued:,} wait for a commit, {hand.unconfirmed:,} for a confirm; "
        f"published {status.rates.published:,.0f} /s, refused {status.rates.refused:,.1f} /s",
        width,
    )


def _health(status: Status) -> dict[str, str]:
    workers = status.workers
    as_wanted = workers.alive >= workers.wanted and not workers.restarts
    text = f"{workers.alive} of {workers.wanted}, {workers.restarts} restarts"
    return {**status.checks, "workers": "ok" if as_wanted else text}


def _latency_line(step: str, latency: Latency) -> str:
    return f"{step:<12}" + "".join(f"{lasting(seconds):>10}" for seconds in (latency.p50, latency.p95, latency.p99))


def _troubles(status: Status, paint: Paint, width: int) -> Iterator[str]:
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


def lasting(seconds: float) -> str:
    """`12.3 ms`, `1.2 s` or `5 min`."""
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def sparkline(values: list[float], width: int) -> str:
    """One character a value, against the largest of those shown."""
    shown = values[-width:] if width else []
    most = max(shown, default=0.0)
    return "".join(BARS[min(int(value / most * len(BARS)), len(BARS) - 1) if most else 0] for value in shown)


def cut(text: str, width: int) -> str:
    """On one line, with neither escapes nor more than `width` characters."""
    line = "".join(char if char.isprintable() else " " for char in text)
    return line if len(line) <= width else line[: max(width - 1, 0)] + "…"


def _width() -> int:
    return shutil.get_terminal_size().columns


def _height() -> int:
    return shutil.get_terminal_size().lines
