"""Logs: one JSON object a line on standard error. Passwords and phone numbers are masked."""

import re
from typing import Any, Literal

from pythonjsonlogger.core import LogData
from pythonjsonlogger.json import JsonFormatter

Level = Literal["debug", "info", "warning", "error"]
LEVEL_NAMES: dict[Level, str] = {"debug": "DEBUG", "info": "INFO", "warning": "WARNING", "error": "ERROR"}
OURS = ("time", "level", "logger")
"""Fields that the formatter makes itself."""

_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""A request id that cannot be a phone number: a trace id or a UUID."""
_PASSWORD = re.compile(r"(://[^\s:/?#@]*):\S*@")
"""The password in a URL. It ends at the last @, because an unescaped password may contain any character."""
_JSON = re.compile(r"\{\s*\\?[\"'][^\n]*")
"""An event that a server's or a driver's message quotes, up to the end of the line."""
_NUMBER = re.compile(r"\+?\d{5,}(\d\d)|\+\d(?:[ ().-]{0,2}\d){4,}[ ().-]{0,2}(\d[ .-]?\d)")
"""Seven digits or more. Blanks between them are allowed only after a +, because dates and addresses have them, too."""


class MaskingFormatter(JsonFormatter):
    """Masks a record's texts in the formatter, because only the formatter makes the traceback's text.

    Values of a number type, such as ids, ports and durations, stay as they are.
    """

    def process_log_record(self, log_data: LogData) -> LogData:
        return {
            name: value if name in OURS or _is_id(name, value) else masked(value) for name, value in log_data.items()
        }


def _is_id(name: str, value: Any) -> bool:
    return name == "request_id" and isinstance(value, str) and _ID.fullmatch(value) is not None


def masked(value: Any) -> Any:
    """Return `value` with every text in it masked."""
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, dict):
        return {masked(name): masked(one) for name, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [masked(one) for one in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return mask_text(str(value))


def mask_text(text: str) -> str:
    """Remove passwords of URLs and JSON objects, and all digits of a phone number but the last two."""
    text = _PASSWORD.sub(r"\1:***@", text)
    text = _JSON.sub("{…}", text)
    return _NUMBER.sub(lambda number: f"***{number[1] or number[2]}", text)


def log_config(level: Level) -> dict[str, Any]:
    """Return the argument of `logging.config.dictConfig`, which Granian passes to every worker."""
    quiet = {"level": "CRITICAL", "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {
                "()": "ingest.telemetry.logs.MaskingFormatter",
                "fmt": "{asctime}{levelname}{name}{message}",
                "style": "{",
                "rename_fields": {"asctime": "time", "levelname": "level", "name": "logger"},
                "datefmt": "%Y-%m-%dT%H:%M:%S%z",
            }
        },
        "filters": {"repeats": {"()": "ingest.telemetry.log_rate_limit.RepeatFilter"}},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "json",
                "filters": ["repeats"],
                "stream": "ext://sys.stderr",
            }
        },
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {
            "ingest": {"level": LEVEL_NAMES[level]},
            "ingest.audit": {"level": "INFO"},  # whatever the level: who asked for what must not be lost
            "_granian": {"level": "INFO"},
            # These log a line or a traceback for every broken connection. Our loggers log it once.
            "asyncmy": quiet,  # it logs the server's remarks, such as "table exists" in a repeated migration
            "aiormq": quiet,
            "aio_pika": quiet,
            "rstream": quiet,
        },
    }
