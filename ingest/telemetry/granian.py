"""Granian's own metrics: its supervisor exports them on a loopback port, and `/metrics` adds them to ours."""

import logging
import re
from http.client import HTTPConnection, HTTPException

log = logging.getLogger("ingest.server")

HOST = "127.0.0.1"
COLLECT_SECONDS = 1
"""How often a worker reports its figures to the supervisor."""
ANSWER_SECONDS = 0.2
"""`/metrics` leaves them out when the supervisor has not answered after this time."""

_UNUSED = re.compile(rb"^(?:# TYPE )?granian_static_.*\n", re.MULTILINE)
"""Metrics of static files, which this service does not serve."""


def read(port: int) -> bytes:
    """Return them in Prometheus's text format; nothing if the supervisor does not answer in time."""
    connection = HTTPConnection(HOST, port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read()
    except (OSError, HTTPException) as exc:
        log.debug("Granian's metrics are missing", extra={"reason": str(exc)})
        return b""
    finally:
        connection.close()
    return _UNUSED.sub(b"", text.rstrip(b"\n") + b"\n")
