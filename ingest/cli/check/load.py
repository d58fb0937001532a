"""Sends events at a fixed schedule over a bounded number of connections.

The loop is open: the schedule does not wait for answers. An event that is due while all connections wait for an answer
is sent late, and its latency still counts from the scheduled time. So a slow answer also shows in the events behind it.
"""

import time
from collections import Counter
from collections.abc import Callable
from threading import Barrier, BrokenBarrierError, Event, Lock, Thread

from ingest.cli.check.verdict import Measured
from ingest.cli.send.service import NoAnswer, Reply
from ingest.clock import Monotonic

LATE_SECONDS_MAX = 10.0
"""Time after the schedule's end in which overdue events are still sent."""

Send = Callable[[int], Reply]
"""Sends the event of this number, and returns the answer. Raises `NoAnswer`."""


class Load:
    """One run. Each of `senders` has a connection of its own, which one thread uses."""

    def __init__(self, senders: list[Send], rate: float, count: int, clock: Monotonic = time.monotonic) -> None:
        self._senders = senders
        self._rate = rate
        self._count = count
        self._clock = clock
        self._next = 0
        self._lock = Lock()
        self._stopped = Event()
        self._ready = Barrier(len(senders) + 1)
        self._began = 0.0
        self._latencies: list[float] = []
        self._lags: list[float] = []
        self._errors: Counter[str] = Counter()

    def run(self) -> Measured:
        """Return when each event was answered, failed, or is too late. Ctrl-C stops the threads."""
        threads = [Thread(target=self._work, args=(send,), daemon=True) for send in self._senders]
        for thread in threads:
            thread.start()
        cpu_began, self._began = time.process_time(), self._clock()
        try:
            self._ready.wait()
            for thread in threads:
                thread.join()
        finally:
            self._stopped.set()
            self._ready.abort()
        seconds = self._clock() - self._began
        share = (time.process_time() - cpu_began) / max(seconds, 1e-9)
        unsent = self._count - len(self._latencies) - sum(self._errors.values())
        return Measured(self._latencies, self._lags, self._errors, unsent, share)

    def _work(self, send: Send) -> None:
        try:
            self._ready.wait()
        except BrokenBarrierError:
            return
        while not self._stopped.is_set():
            free = self._clock()
            number = self._take()
            if number is None:
                return
            due = self._began + number / self._rate
            if free < due:
                self._stopped.wait(due - free)
            elif free - self._began > self._count / self._rate + LATE_SECONDS_MAX:
                return
            self._once(send, number, due, max(due, free))

    def _once(self, send: Send, number: int, due: float, ready: float) -> None:
        lag = self._clock() - ready
        try:
            reply = send(number)
        except NoAnswer as exc:
            self._note(str(exc))
            return
        latency = self._clock() - due
        if reply.status == 200:
            with self._lock:
                self._latencies.append(latency)
                self._lags.append(max(lag, 0.0))
        else:
            self._note(reply.reason)

    def _note(self, reason: str) -> None:
        with self._lock:
            self._errors[reason] += 1

    def _take(self) -> int | None:
        """Return the number of the next event, or None after the last one."""
        with self._lock:
            if self._next == self._count:
                return None
            self._next += 1
            return self._next - 1
