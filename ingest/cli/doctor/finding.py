"""One result of `ingest doctor`."""

import asyncio
from collections.abc import Awaitable, Callable

import aiormq.exceptions
import msgspec

from ingest.errors import IngestError
from ingest.interrupts import run_main
from ingest.settings import Settings

SILENT = (
    "Check that the server is up, the firewall, host and port. A port that expects another protocol, such as TLS, "
    "may be silent."
)

Check = Callable[[Settings], Awaitable[str]]
"""Returns the result. Raises `IngestError`, or an error of its driver, if something is wrong."""


class Finding(msgspec.Struct, frozen=True):
    """`text` is the result, and how to repair it if `ok` is false."""

    name: str
    ok: bool
    text: str


def run(name: str, check: Check, settings: Settings) -> Finding:
    async def bounded() -> str:
        async with asyncio.timeout(settings.connect_timeout_seconds + settings.commit_timeout_seconds):
            return await check(settings)

    try:
        return Finding(name, True, run_main(bounded()))
    except IngestError as exc:
        return Finding(name, False, str(exc))
    except TimeoutError:
        return Finding(name, False, f"no answer in time. {SILENT}")
    except (OSError, aiormq.exceptions.AMQPError, RuntimeError) as exc:
        return Finding(name, False, f"{type(exc).__name__}: {exc}")
