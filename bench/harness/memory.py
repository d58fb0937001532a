"""Memory of processes, sampled by a thread."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Self

import msgspec

from bench.harness.targets import BenchFailed

SAMPLE_SECONDS = 1.0
KIB_A_MIB = 1024


class Sample(msgspec.Struct, frozen=True):
    """The memory of the largest process. `pss_mib` counts a page that n processes share as 1/n."""

    seconds: float
    rss_mib: float
    pss_mib: float


class Watch:
    """Samples `pids` every second in its `with` block. The block's end raises `BenchFailed` if a process was gone."""

    def __init__(self, pids: Sequence[int]) -> None:
        self.samples: list[Sample] = []
        self._pids = pids
        self._started = time.monotonic()
        self._over = threading.Event()
        self._gone: OSError | None = None
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if self._gone:
            raise BenchFailed(f"a worker was gone: {self._gone}")

    @property
    def seconds(self) -> float:
        """Seconds since the start, as in the samples."""
        return time.monotonic() - self._started

    def _watch(self) -> None:
        try:
            while True:
                self.samples.append(sample(self._pids, self.seconds))
                if self._over.wait(SAMPLE_SECONDS):
                    return
        except OSError as exc:
            self._gone = exc


def sample(pids: Sequence[int], seconds: float = 0.0) -> Sample:
    """Take one sample. Raises OSError if one of the processes is gone."""
    return Sample(
        seconds=round(seconds, 1),
        rss_mib=max(_mib(f"/proc/{pid}/status", "VmRSS") for pid in pids),
        pss_mib=max(_mib(f"/proc/{pid}/smaps_rollup", "Pss") for pid in pids),
    )


def _mib(file: str, field: str) -> float:
    """Return N of the file's line `field: N kB`, in MiB. Raises OSError if the process is gone, or is a zombie."""
    for line in Path(file).read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return round(int(value.split()[0]) / KIB_A_MIB, 2)
    raise ProcessLookupError(f"{file} has no {field}")


def thinned(samples: Sequence[Sample], points_max: int) -> list[Sample]:
    """Return at most `points_max` samples: of each group of neighbors the one with the largest RSS, to keep peaks."""
    group = -(-len(samples) // points_max)
    starts = range(0, len(samples), group or 1)
    return [max(samples[start : start + group], key=lambda sample: sample.rss_mib) for start in starts]


def tenth(samples: Sequence[Sample], number: int) -> float:
    """Return the median RSS in MiB of one tenth of the samples, from 0 (the first) to 9 (the last)."""
    count = len(samples)
    part = samples[count * number // 10 : max(count * (number + 1) // 10, count * number // 10 + 1)]
    return median(sample.rss_mib for sample in part)
