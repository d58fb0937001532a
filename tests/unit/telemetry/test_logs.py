import io
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from ingest.telemetry.logs import MaskingFormatter, log_config, mask_text

Write = Callable[[logging.Logger], None]

EVENT = '{"call_id": "a84b4c76", "from_number": "sip:alice@pbx.example.com"}'


def logged(write: Write) -> dict[str, Any]:
    """Return the line that the service's formatter writes."""
    options = log_config("info")["formatters"]["json"]
    assert options.pop("()") == f"{MaskingFormatter.__module__}.{MaskingFormatter.__name__}"
    output = io.StringIO()
    handler = logging.StreamHandler(output)
    handler.setFormatter(MaskingFormatter(**options))
    logger = logging.Logger("ingest.tests")
    logger.addHandler(handler)
    write(logger)
    line: dict[str, Any] = json.loads(output.getvalue())
    return line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no such host: mysql://ingest:secret@db:3306/calls", "no such host: mysql://ingest:***@db:3306/calls"),
        ("amqp://u:se@cr/et#1@host/, then", "amqp://u:***@host/, then"),
        ("rabbitmq-stream+tls://:secret@host", "rabbitmq-stream+tls://:***@host"),
        ("http://127.0.0.1:8000/readyz", "http://127.0.0.1:8000/readyz"),
        ("from +15551230001 to 15551230002", "from ***01 to ***02"),
        ("Duplicate entry '5551234' for key", "Duplicate entry '***34' for key"),
        ("call of sip:+15551230001@pbx.example.com", "call of sip:***01@pbx.example.com"),
        ("+1 (555) 123-0001", "***01"),
        ("+44 20 7946 0958.", "***58."),
        ("٠١٢٣٤٥٦٧", "***٦٧"),
        (f"near '{EVENT}' at line 1", "near '{…}"),
        (r"near '{\"call_id\":\"x\"'", "near '{…}"),
        ("{'call_id': 'x'}", "{…}"),
        ('one\n  {"a": 1}\ntwo', "one\n  {…}\ntwo"),
    ],
)
def test_secrets_and_phone_numbers_are_masked(text: str, shown: str) -> None:
    assert mask_text(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "MySQL error 2003: Can't connect to MySQL server on '192.168.100.200' (111).",
        "2025-01-31T13:45:00.123456+00:00",
        "Connect call failed ('127.0.0.1', 5672)",
        "took 123456 ms of port 65535",
        'File "/srv/ingest/app.py", line 1234, in create',
    ],
)
def test_texts_without_secrets_stay(text: str) -> None:
    assert mask_text(text) == text


def test_message_and_its_arguments_are_masked() -> None:
    line = logged(lambda log: log.warning("call of %s failed", "+15551230001"))

    assert line["message"] == "call of ***01 failed"
    assert (line["level"], line["logger"]) == ("WARNING", "ingest.tests")


def test_extras_are_masked_at_any_depth() -> None:
    extra = {"checks": {"database": "mysql://u:secret@db/ is away"}, "calls": ["+15551230001", ("15551230002",)]}

    line = logged(lambda log: log.error("no", extra=extra))

    assert line["checks"] == {"database": "mysql://u:***@db/ is away"}
    assert line["calls"] == ["***01", ["***02"]]


def test_values_of_a_number_type_stay() -> None:
    line = logged(lambda log: log.error("no", extra={"first_id": 7_290_000_000_000_000_001, "seconds": 1234567.5}))

    assert (line["first_id"], line["seconds"]) == (7_290_000_000_000_000_001, 1234567.5)


def test_exceptions_and_their_causes_are_masked() -> None:
    def write(log: logging.Logger) -> None:
        try:
            try:
                raise ValueError("row ('+15551230001')")
            except ValueError as exc:
                raise RuntimeError("amqp://guest:secret@rabbit/ closed") from exc
        except RuntimeError:
            log.exception("failed")

    trace = logged(write)["exc_info"]

    assert "row ('***01')" in trace
    assert "amqp://guest:***@rabbit/ closed" in trace
    assert "ValueError" in trace


def test_object_of_any_kind_is_shown_as_masked_text() -> None:
    line = logged(lambda log: log.error("no", extra={"reason": OSError("to 15551230001"), "body": b"15551230001"}))

    assert (line["reason"], line["body"]) == ("to ***01", "b'***01'")


def test_extra_takes_the_place_of_no_field_of_the_formatter() -> None:
    extra = {"time": "15551230001", "level": "15551230001", "logger": "15551230001"}

    line = logged(lambda log: log.error("no", extra=extra))

    assert (line["level"], line["logger"]) == ("ERROR", "ingest.tests")
    assert "15551230001" not in json.dumps(line)


def test_stack_is_a_field_of_its_own() -> None:
    line = logged(lambda log: log.error("no", stack_info=True))

    assert line["stack_info"].startswith("Stack (most recent call last):\n")
    assert list(line) == ["time", "level", "logger", "message", "stack_info"]


def test_line_has_no_character_that_a_terminal_obeys() -> None:
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(MaskingFormatter())
    record = logging.makeLogRecord({"msg": "a\nb\x1b[31m\x85\u2028\ud800"})

    line = handler.format(record)

    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["message"] == "a\nb\x1b[31m\x85\u2028\ud800"
