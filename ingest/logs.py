"""Logs: one JSON object a line on standard error."""

from typing import Any

LEVEL_NAMES = {"debug": "DEBUG", "info": "INFO", "warning": "WARNING", "error": "ERROR"}


def log_config(level: str) -> dict[str, Any]:
    """`logging.config.dictConfig`'s argument; Granian hands it to every worker."""
    quiet = {"level": "CRITICAL", "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {
                "()": "pythonjsonlogger.json.JsonFormatter",
                "fmt": "{asctime}{levelname}{name}{message}",
                "style": "{",
                "rename_fields": {"asctime": "time", "levelname": "level", "name": "logger"},
                "datefmt": "%Y-%m-%dT%H:%M:%S%z",
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}},
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
