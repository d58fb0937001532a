"""Runs a command's event loop so that Ctrl-C (SIGINT) ends it cleanly.

Python raises KeyboardInterrupt between any two instructions. A loop that is half built or half closed answers with
tracebacks.
"""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run_main(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` in an event loop of its own.

    The kernel holds SIGINT back while the loop is built and closed. In between, SIGINT cancels `main`. This function
    raises KeyboardInterrupt when `main` has ended.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

    async def interruptible() -> T:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        try:
            return await main
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

    try:
        return asyncio.run(interruptible())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
