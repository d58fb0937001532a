"""jambonz: the webhook of call statuses. jambonz accepts only 200, 202 and 204 as success, and signs its requests."""

import hashlib
import hmac
import re
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from ingest.sources.base import (
    CALL_ANSWERED,
    CALL_ENDED,
    CALL_RINGING,
    CALL_STARTED,
    UNKNOWN,
    Call,
    Posted,
    json_object,
    now,
    text,
    whole,
)

SIGNATURE = "jambonz-signature"
AGE_SECONDS_MAX = 300
"""A signature that is older, or further in the future, counts as a replay."""

EVENTS: Mapping[str, str] = {
    "trying": CALL_STARTED,
    "ringing": CALL_RINGING,
    "early-media": CALL_RINGING,
    "in-progress": CALL_ANSWERED,
    **dict.fromkeys(("completed", "failed", "busy", "no-answer", "queued-timeout"), CALL_ENDED),
}
_PARTS = re.compile(r"t=(\d{1,12}),\s*v1=([0-9a-f]{64})")


class Jambonz:
    name = "jambonz"
    status = 200

    def __init__(self, unix_seconds: Callable[[], float] = time.time) -> None:
        self._unix_seconds = unix_seconds

    def calls(self, posted: Posted) -> Sequence[Call]:
        fields = json_object(posted.body)
        status = text(fields.get("call_status"))
        event_type = EVENTS.get(status or "", status)
        return [
            Call(
                call_id=text(fields.get("call_sid")),
                from_number=text(fields.get("from")) or UNKNOWN,
                to_number=text(fields.get("to")) or UNKNOWN,
                event_type=event_type,
                timestamp=now(),
                duration=whole(fields.get("duration")) or (0 if event_type == CALL_ENDED else None),
                source=self.name,
                original=msgspec.Raw(posted.body),
            )
        ]

    def is_signed(self, posted: Posted, secret: bytes) -> bool:
        """The header is `t=<Unix seconds>,v1=<HMAC-SHA256 of "t.body" in hexadecimal digits>`."""
        parts = _PARTS.fullmatch(posted.headers.get(SIGNATURE, ""))
        if not parts or abs(self._unix_seconds() - int(parts[1])) > AGE_SECONDS_MAX:
            return False
        expected = hmac.new(secret, parts[1].encode() + b"." + posted.body, hashlib.sha256).hexdigest()
        return hmac.compare_digest(parts[2], expected)
