"""The threads of executors as real ones, so that each has its own `threading.local`. Their work still runs one by one.

Objects of Zstandard belong to one thread. Threads that share one mix up their bytes, but only if they meet by chance.
So the world fails as soon as a second thread uses one.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

from zstandard import ZstdCompressor, ZstdDecompressor

from ingest.events import batch_codec
from tests.simulation.machine.loop import SimulatedLoop


class ThreadedLoop(SimulatedLoop):
    """Each executor has a thread. The loop waits for it, so nothing runs at the same time."""

    def __init__(self, chance: Any) -> None:
        super().__init__(chance)
        self._threads: dict[Any, ThreadPoolExecutor] = {}

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        thread = self._threads.setdefault(executor, ThreadPoolExecutor(1))

        def work() -> Any:
            return thread.submit(copy_context().run, func, *args).result()

        return super().run_in_executor(executor, work)

    def close(self) -> None:
        for thread in self._threads.values():
            thread.shutdown()
        super().close()


class _OfOneThread:
    """`use` is the method of an object that belongs to the thread that has made it."""

    def __init__(self, use: Callable[[bytes], bytes], broken: Callable[[str], None]) -> None:
        self._use = use
        self._broken = broken
        self._thread = threading.get_ident()

    def __call__(self, data: bytes) -> bytes:
        if threading.get_ident() != self._thread:
            self._broken("two threads share an object of Zstandard")
        return self._use(data)


@contextmanager
def watched(broken: Callable[[str], None]) -> Iterator[None]:
    """Call `broken` when a second thread uses an object of `ingest.events.batch_codec`."""

    class Compressor:
        def __init__(self, **options: Any) -> None:
            self.compress = _OfOneThread(ZstdCompressor(**options).compress, broken)

    class Decompressor:
        def __init__(self) -> None:
            self.decompress = _OfOneThread(ZstdDecompressor().decompress, broken)

    codec: Any = batch_codec
    real = codec.ZstdCompressor, codec.ZstdDecompressor, codec._zstandard
    codec.ZstdCompressor, codec.ZstdDecompressor = Compressor, Decompressor
    codec._zstandard = type(codec._zstandard)()
    try:
        yield
    finally:
        codec.ZstdCompressor, codec.ZstdDecompressor, codec._zstandard = real
