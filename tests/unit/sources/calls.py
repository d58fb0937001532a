"""Calls as a form makes them of a posted body."""

from datetime import tzinfo

from ingest.sources.base import Call, Posted, Translated
from ingest.sources.form import built_in_forms
from ingest.sources.mapping import Mapper

FORMS = built_in_forms()


def posted(body: bytes, query: str = "", url: str = "http://localhost/", **headers: str) -> Posted:
    return Posted(url, query, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def translated(source: str, body: bytes, query: str = "", zone: tzinfo | None = None) -> Translated:
    return Mapper(source, FORMS[source], zone).translate(posted(body, query))


def call_of(source: str, body: bytes, query: str = "") -> Call:
    return translated(source, body, query).call
