"""Logs: one JSON object a line on standard error. Passwords and phone numbers are masked."""

import json
import logging
import re
from typing import Any, Literal

Level = Literal["debug", "info", "warning", "error"]
LEVEL_NAMES: dict[Level, str] = {"debug": "DEBUG", "info": "INFO", "warning": "WARNING", "error": "ERROR"}
TIME = "%Y-%m-%dT%H:%M:%S%z"
_OF_RECORDS = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}
"""Attributes that every record has. All others are fields, given as `extra`."""

_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""A request id that cannot be a phone number: a trace id or a UUID."""
_PASSWORD = re.compile(r"(://[^\s:/?#@]*):\S*@")
"""The password in a URL. It ends at the last @, because an unescaped password may contain any character."""
_JSON = re.compile(r"\{\s*\\?[\"'][^\n]*")
"""An event that a server's or a driver's message quotes, up to the end of the line."""
_NUMBER = re.compile(r"\+?\d{5,}(\d\d)|\+\d(?:[ ().-]{0,2}\d){4,}[ ().-]{0,2}(\d[ .-]?\d)")
"""Seven digits or more. Blanks between them are allowed only after a +, because dates and addresses have them, too."""


class MaskingFormatter(logging.Formatter):
    """Masks a record's texts in the formatter, because only the formatter makes the traceback's text.

    Values of a number type, such as ids, ports and durations, stay as they are.
    """

    def __init__(self) -> None:
        super().__init__(datefmt=TIME)

    def format(self, record: logging.LogRecord) -> str:
        own = {"time": self.formatTime(record, TIME), "level": record.levelname, "logger": record.name}
        texts: dict[str, Any] = {"message": record.getMessage()}
        if record.exc_info or record.exc_text:
            texts["exc_info"] = self.formatException(record.exc_info) if record.exc_info else record.exc_text
        if record.stack_info:
            texts["stack_info"] = self.formatStack(record.stack_info)
        given = {name: value for name, value in vars(record).items() if name not in _OF_RECORDS and name not in own}
        shown = {name: value if _is_id(name, value) else masked(value) for name, value in (texts | given).items()}
        return json.dumps(own | shown)


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
        "formatters": {"json": {"()": "ingest.telemetry.logs.MaskingFormatter"}},
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
