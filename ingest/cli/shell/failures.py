"""Turns an expected error into one line for the user. An error that is a fault of the program keeps its traceback."""

import sqlite3

from ingest.errors import IngestError

DRIVERS = {"aio_pika", "aiormq", "asyncmy", "pamqp", "rstream"}
"""Libraries whose errors come from a server or from the connection to it."""
FAILED = 1


def reason_of(exc: BaseException) -> str | None:
    """Return why the command failed. None means a fault of the program."""
    if isinstance(exc, BaseExceptionGroup):
        reasons = [reason_of(one) for one in exc.exceptions]
        return None if None in reasons else reasons[0]
    if isinstance(exc, IngestError | sqlite3.Error):
        return str(exc)
    if isinstance(exc, OSError):
        return _of_system(exc)
    if isinstance(exc, UnicodeError):
        return f"The text is not {exc.encoding.upper()}." if hasattr(exc, "encoding") else str(exc)
    if type(exc).__module__.partition(".")[0] in DRIVERS:
        return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
    return None


def _of_system(exc: OSError) -> str:
    if exc.filename is not None and exc.strerror:
        return f"{exc.filename}: {exc.strerror}"
    return str(exc) or ("no answer in time" if isinstance(exc, TimeoutError) else type(exc).__name__)
