"""Checks JSON against Grafana's schema of dashboards, from which Grafana's library makes its Python types."""

import json
import types
from collections.abc import Iterator
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.cog.runtime import UnknownDataquery, panelcfg_config
from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

register_default_plugins()

DEFAULT = {"placement"}
"""Attributes that the library sets itself if the JSON has none."""


def problems(board: Any) -> list[str]:
    """Return what Grafana's schema does not allow: unknown names, panels and queries, and values of another type."""
    return [*_problems(board, Dashboard, "board")]


def _problems(given: Any, kind: Any, place: str) -> Iterator[str]:
    read = kind.from_json(given)
    yield from _lost(given, json.loads(JSONEncoder().encode(read)), place)
    yield from _wrong(read, kind, place)


def _lost(given: Any, again: Any, place: str) -> Iterator[str]:
    """Yield the places that the types do not keep."""
    if isinstance(given, dict) and isinstance(again, dict):
        for name in given.keys() - again.keys():
            yield f"{place}.{name} is unknown"
        for name in given.keys() & again.keys():
            yield from _lost(given[name], again[name], f"{place}.{name}")
    elif isinstance(given, list) and isinstance(again, list) and len(given) == len(again):
        for number, (one, other) in enumerate(zip(given, again, strict=True)):
            yield from _lost(one, other, f"{place}[{number}]")
    elif given != again:
        yield f"{place} is {given!r}, and then {again!r}"


def _wrong(value: Any, kind: Any, place: str) -> Iterator[str]:
    """Yield the places whose values have another type than the attribute."""
    if isinstance(value, dict) and (unread := next((one for one in _kinds(kind) if hasattr(one, "from_json")), None)):
        yield from _problems(value, unread, place)  # the library leaves some objects as they are
        return
    if isinstance(value, UnknownDataquery):
        yield f"{place} is a query of an unknown source"
    elif isinstance(value, Panel) and panelcfg_config(value.type_val) is None:
        yield f"{place} is a panel of the unknown type {value.type_val!r}"
    if not _fits(value, kind):
        yield f"{place} is {value!r}, not {kind}"
    for name, inner, inner_kind in _parts(value, kind):
        yield from _wrong(inner, inner_kind, f"{place}{name}")


def _parts(value: Any, kind: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield the attributes or items of a value with their types."""
    if isinstance(value, list):
        inner = next((get_args(one)[0] for one in _kinds(kind) if get_origin(one) is list), object)
        yield from ((f"[{number}]", one, inner) for number, one in enumerate(value))
    elif type(value).__module__.startswith("grafana_foundation_sdk.models") and not isinstance(value, str):
        for name, hint in get_type_hints(type(value)).items():
            if name not in DEFAULT:
                yield f".{name}", getattr(value, name), hint


def _kinds(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _fits(value: Any, kind: Any) -> bool:
    return any(_is(value, one) for one in _kinds(kind))


def _is(value: Any, kind: Any) -> bool:
    origin = get_origin(kind)
    if kind in (Any, object):
        return True
    if origin is Literal:
        return value in get_args(kind)
    if origin is not None:
        return isinstance(value, origin)
    if issubclass(kind, Enum):
        return value in [member.value for member in kind]
    if kind in (int, float):
        return isinstance(value, (int, kind)) and not isinstance(value, bool)
    return isinstance(value, kind)
