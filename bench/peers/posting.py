"""Sends single POST requests, to check answers in full."""

from contextlib import closing
from http.client import HTTPConnection

from ingest.http.event_handler import PATH

TIMEOUT_SECONDS = 10


def post(port: int, body: bytes, token: str | None, seconds: float = TIMEOUT_SECONDS) -> tuple[int, bytes]:
    """Send the body on a new connection, and return the answer's status and body. Raises OSError or TimeoutError."""
    headers = {"Content-Type": "application/json"} | ({"X-API-TOKEN": token} if token is not None else {})
    with closing(HTTPConnection("127.0.0.1", port, timeout=seconds)) as connection:
        connection.request("POST", PATH, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
