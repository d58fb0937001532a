"""Twilio: status callbacks as forms. Twilio signs the URL and the form's fields, and prefers status 204."""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence

from ingest.sources.base import (
    CALL_ANSWERED,
    CALL_ENDED,
    CALL_RINGING,
    CALL_STARTED,
    UNKNOWN,
    Call,
    Posted,
    now,
    of_rfc2822,
    whole,
)
from ingest.sources.forms import form

SIGNATURE = "x-twilio-signature"

EVENTS: Mapping[str, str] = {
    **dict.fromkeys(("queued", "initiated"), CALL_STARTED),
    "ringing": CALL_RINGING,
    "in-progress": CALL_ANSWERED,
    "answered": CALL_ANSWERED,
    **dict.fromkeys(("completed", "busy", "failed", "no-answer", "canceled"), CALL_ENDED),
}


class Twilio:
    name = "twilio"
    status = 204

    def calls(self, posted: Posted) -> Sequence[Call]:
        fields = form(posted.body)
        status = fields.get("CallStatus") or None
        event_type = EVENTS.get(status or "", status)
        return [
            Call(
                call_id=fields.get("CallSid"),
                from_number=fields.get("From") or UNKNOWN,
                to_number=fields.get("To") or UNKNOWN,
                event_type=event_type,
                timestamp=of_rfc2822(fields.get("Timestamp")) or now(),
                duration=whole(fields.get("CallDuration")) or (0 if event_type == CALL_ENDED else None),
                source=self.name,
                original=fields,
            )
        ]

    def is_signed(self, posted: Posted, secret: bytes) -> bool:
        """The header is the Base64 of an HMAC-SHA1. It covers the URL, then name and value of each field by name."""
        fields = form(posted.body)
        signed = posted.url + "".join(name + fields[name] for name in sorted(fields))
        expected = base64.b64encode(hmac.new(secret, signed.encode(), hashlib.sha1).digest())
        return hmac.compare_digest(posted.headers.get(SIGNATURE, "").encode(), expected)
