"""SQL's functions."""

import hashlib
import re
from collections.abc import Callable
from decimal import Decimal
from functools import reduce
from operator import xor
from typing import Any

from tests.simulation.mysql.sql.values import (
    LEVELS_OF_MARIADB,
    LEVELS_OF_MYSQL,
    Moment,
    as_moment,
    as_text,
    json_valid,
    text_of_moment,
)

UNIT_US = {"MICROSECOND": 1, "SECOND": 1_000_000, "MINUTE": 60_000_000, "HOUR": 3_600_000_000, "DAY": 86_400_000_000}

AGGREGATES: dict[str, Callable[[list[Any]], Any]] = {
    "COUNT": len,
    "MIN": lambda values: min(values, default=None),
    "MAX": lambda values: max(values, default=None),
    "SUM": lambda values: Decimal(sum(values)) if values else None,
    "BIT_XOR": lambda values: reduce(xor, values, 0),
}


def coalesce(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def concat(*values: Any) -> str | None:
    return None if None in values else "".join(map(as_text, values))


def length(value: Any) -> int | None:
    if value is None:
        return None
    return len(value) if isinstance(value, bytes) else len(str(as_text(value)).encode())


def _comparable(values: tuple[Any, ...]) -> list[Any]:
    if any(isinstance(value, Moment) for value in values) or all(
        isinstance(value, str) and as_moment(value) for value in values
    ):
        return [as_moment(value) for value in values]
    return list(values)


def greatest(*values: Any) -> Any:
    return None if None in values else max(_comparable(values))


def least(*values: Any) -> Any:
    return None if None in values else min(_comparable(values))


def date_format(value: Any, form: str) -> str | None:
    return None if value is None else text_of_moment(as_moment(value), form)


def like(text: str, pattern: str) -> bool:
    expression = "".join({"%": ".*", "_": "."}.get(sign, re.escape(sign)) for sign in pattern)
    return re.fullmatch(expression, text, re.DOTALL | re.IGNORECASE) is not None


SIMPLE: dict[str, Callable[..., Any]] = {
    "COALESCE": coalesce,
    "CONCAT": concat,
    "LENGTH": length,
    "GREATEST": greatest,
    "LEAST": least,
    "IF": lambda condition, yes, no: yes if condition else no,
    "LEFT": lambda text, count: None if text is None else text[:count],
    "SHA2": lambda text, bits: hashlib.new(f"sha{bits}", text.encode()).hexdigest(),
    "DATE_FORMAT": date_format,
    "CAST AS CHAR": as_text,
}


def _json_valid(server: Any, text: str | None) -> int | None:
    levels_max = LEVELS_OF_MARIADB if server.mariadb else LEVELS_OF_MYSQL
    return None if text is None else int(json_valid(text.encode(), levels_max))


OF_SERVER: dict[str, Callable[..., Any]] = {
    "DATABASE": lambda server: server.database,
    "VERSION": lambda server: "10.11.14-MariaDB" if server.mariadb else "9.7.0",
    "CONNECTION_ID": lambda server: server.connection_id,
    "UTC_TIMESTAMP": lambda server, digits=0: server.now,
    "IS_USED_LOCK": lambda server, name: server.lock_owner(name),
    "JSON_VALID": _json_valid,
}
"""Functions of the session or its server, with it as the first argument."""
