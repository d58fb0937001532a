"""The types between a source's handler and its form: the request as posted, and the call that it reports."""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from ingest.telemetry.labels import Adaptation


class HeaderValues(Protocol):
    """The values of headers by name, in lower case."""

    def get(self, name: str, default: Any = None, /) -> Any: ...


class Posted(msgspec.Struct, frozen=True):
    """A request as it came. `url` is the URL that the source called; `query` is not decoded."""

    url: str
    query: str
    headers: HeaderValues
    body: bytes


class Call(msgspec.Struct, omit_defaults=True):
    """The fields of an event. The service refuses an event without `call_id` or `event_type`, as of other clients.

    `adapted` says what was changed in which field. `original` is the whole record that the source sent.
    """

    call_id: str | None
    from_number: str
    to_number: str
    event_type: str | None
    timestamp: str
    duration: int | None = None
    source: str = msgspec.field(default="", name="client")
    adapted: Mapping[str, str] = {}
    original: Any = None


class Translated(msgspec.Struct, frozen=True):
    """A call with the reasons of its changes. `has_time` is False if its timestamp is the time of the request."""

    call: Call
    reasons: frozenset[Adaptation]
    has_time: bool
