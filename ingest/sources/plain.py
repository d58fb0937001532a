"""Sources whose configuration writes the event's fields, as JSON or as a form.

Kamailio and OpenSIPS send JSON with the Content-Type of a form by default. Asterisk's CURL() sends forms.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ingest.sources.base import Call, Posted, Unsigned, json_object, now, text, whole
from ingest.sources.forms import form, is_json


class Plain(Unsigned):
    """`original` keeps further fields."""

    status = 200

    def __init__(self, name: str) -> None:
        self.name = name

    def calls(self, posted: Posted) -> Sequence[Call]:
        fields: Mapping[str, Any] = json_object(posted.body) if is_json(posted.body) else form(posted.body)
        return [
            Call(
                call_id=text(fields.get("call_id")),
                from_number=text(fields.get("from_number")),
                to_number=text(fields.get("to_number")),
                event_type=text(fields.get("event_type")),
                timestamp=text(fields.get("timestamp")) or now(),
                duration=whole(fields.get("duration")),
                source=self.name,
                original=msgspec.Raw(posted.body) if is_json(posted.body) else fields,
            )
        ]
