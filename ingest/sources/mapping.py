"""Translates a posted request into a call by the form of its source."""

from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo
from typing import Any
from urllib.parse import unquote

from ingest.events.call_event import CALL_ENDED
from ingest.events.local_times import zone_named
from ingest.sources.base import Call, Posted, Translated
from ingest.sources.bodies import query_value, read
from ingest.sources.form import Form, Paths
from ingest.sources.values import Adapter, now

Find = Callable[[Mapping[str, Any], Posted], Any]

_PER_SECOND = {"s": 1, "ms": 1000}


class Mapper:
    """Stateless. Each source has its own."""

    def __init__(self, name: str, form: Form, zone: tzinfo | None) -> None:
        """Raises ValueError if the form's zone is unknown. `zone` is that of forms without one."""
        fields = form.fields
        self._name = name
        self._body = form.body
        self._event_types = form.event_types
        self._formats = form.time.formats
        self._zone = zone_named(form.time.zone) or zone
        self._per_second = _PER_SECOND[form.body.duration_unit]
        find = [_finder(paths, form.body.percent_encoded) for paths in _astuple(fields)]
        self._call_id, self._from, self._to, self._event_type, self._timestamp, self._duration = find

    def translate(self, posted: Posted) -> Translated:
        """Raises `Malformed`."""
        adapter = Adapter()
        record = read(posted.body, self._body.field, adapter)
        fields = record.fields
        call_id = adapter.text("call_id", self._call_id(fields, posted))
        status = adapter.text("event_type", self._event_type(fields, posted))
        event_type = self._event_types.get(status or "", status)
        timestamp = adapter.moment(self._timestamp(fields, posted), self._formats, self._zone)
        duration = self._duration(fields, posted)
        call = Call(
            call_id=call_id.removeprefix(self._body.call_id_prefix) if call_id else None,
            from_number=adapter.number("from_number", self._from(fields, posted)),
            to_number=adapter.number("to_number", self._to(fields, posted)),
            event_type=event_type,
            timestamp=timestamp or now(),
            duration=adapter.seconds(duration, self._per_second, required=event_type == CALL_ENDED),
            source=self._name,
            adapted=adapter.told(),
            original=record.original,
        )
        return Translated(call, adapter.reasons(), timestamp is not None)


def _astuple(fields: Any) -> tuple[Paths, ...]:
    return tuple(getattr(fields, name) for name in fields.__struct_fields__)


def _finder(paths: Paths, percent_encoded: bool) -> Find:
    finders = [_at(path) for path in ([paths] if isinstance(paths, str) else paths) if path]
    if not finders:
        return lambda fields, posted: None

    def find(fields: Mapping[str, Any], posted: Posted) -> Any:
        for at in finders:
            found = at(fields, posted)
            if type(found) is str:
                if found:
                    return unquote(found) if percent_encoded and "%" in found else found
            elif found is not None and not isinstance(found, dict | list):
                return found
        return None

    return find


def _at(path: str) -> Find:
    if path.startswith("="):
        return lambda fields, posted: path[1:]
    if path.startswith("?"):
        return lambda fields, posted: query_value(posted.query, path[1:])
    if "." not in path:
        return lambda fields, posted: fields.get(path)
    names = path.split(".")
    return lambda fields, posted: _inside(fields, names)


def _inside(value: Any, names: Sequence[str]) -> Any:
    """Return the value at a path. `0` also means an object that stands where others send a list."""
    for name in names:
        if isinstance(value, dict):
            if name != "0" or name in value:
                value = value.get(name)
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value
