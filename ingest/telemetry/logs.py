"""Logs: one JSON object a line on standard error, in which neither passwords nor whole phone numbers stand."""

import re
from typing import Any, Literal

from pythonjsonlogger.core import LogData
from pythonjsonlogger.json import JsonFormatter

Level = Literal["debug", "info", "warning", "error"]
LEVEL_NAMES: dict[Level, str] = {"debug": "DEBUG", "info": "INFO", "warning": "WARNING", "error": "ERROR"}
OURS = ("time", "level", "logger")
"""What the formatter makes itself."""

_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""A request's id that is one for certain, of a trace or a UUID, and no phone number."""
_PASSWORD = re.compile(r"(://[^\s:/?#@]*):\S*@")
"""Of a URL, up to the last @, as one that is not escaped may hold any character."""
_JSON = re.compile(r"\{\s*\\?[\"'][^\n]*")
"""From where an event begins, which a server's or a driver's message may quote, to the end of the line."""
_NUMBER = re.compile(r"\+?\d{5,}(\d\d)|\+\d(?:[ ().-]{0,2}\d){4,}[ ().-]{0,2}(\d[ .-]?\d)")
"""Seven digits or more; with blanks between them only after a +, as dates and addresses look so, too."""


class MaskingFormatter(JsonFormatter):
    """Masks the texts of a record at the last moment: message, extras, and the trace, which is made here.

    Numbers that are given as numbers, such as ids, ports and durations, are left.
    """

    def process_log_record(self, log_data: LogData) -> LogData:
        return {
            name: value if name in OURS or _is_id(name, value) else masked(value) for name, value in log_data.items()
        }


def _is_id(name: str, value: Any) -> bool:
    return name == "request_id" and isinstance(value, str) and _ID.fullmatch(value) is not None


def masked(value: Any) -> Any:
    """`value` with every text in it fit to be logged."""
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
    """Without passwords of URLs and JSON objects; of a phone number only the last two digits."""
    text = _PASSWORD.sub(r"\1:***@", text)
    text = _JSON.sub("{…}", text)
    return _NUMBER.sub(lambda number: f"***{number[1] or number[2]}", text)


def log_config(level: Level) -> dict[str, Any]:
    """`logging.config.dictConfig`'s argument; Granian hands it to every worker."""
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
            "_granian": {"level": "INFO"},
            # These log a line or a trace for every broken connection; ours say it once.
            "asyncmy": quiet,  # notes of the server, such as "table exists" of a repeated migration
            "aiormq": quiet,
            "aio_pika": quiet,
            "rstream": quiet,
        },
    }
