"""Posts an event to an installed service."""

from http.client import HTTPConnection, HTTPException

import msgspec

from ingest.http.openapi_schemas import EXAMPLE
from ingest.settings import WELL_KNOWN_TOKEN

ANSWER_SECONDS = 10


def post(port: int, token: str = WELL_KNOWN_TOKEN, call: str = "call-1") -> int:
    """Return the status of the answer, or 0 if nothing answers yet."""
    connection = HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    body = msgspec.json.encode(EXAMPLE | {"call_id": call})
    try:
        connection.request("POST", "/api/call-events", body, {"X-API-TOKEN": token})
        return connection.getresponse().status
    except (OSError, HTTPException):
        return 0
    finally:
        connection.close()
