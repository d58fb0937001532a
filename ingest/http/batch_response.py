"""The response to a batch: how many items are durable, and the error of each other item."""

from collections.abc import Sequence
from typing import Any

from ingest.errors import IngestError, Invalid, KeyReused, Rejected, RowRefused, StoreError
from ingest.http.responses import Response

REFUSED = RowRefused | KeyReused
"""The store errors that the event itself causes."""


def response_of(outcomes: Sequence[IngestError | None]) -> Response:
    """Make the response to a batch from the outcomes of its items. A durable item has the outcome None.

    Raises the first error of the service itself if no item is durable. The client then sends the whole batch again.
    """
    accepted = outcomes.count(None)
    if not accepted:
        for error in outcomes:
            if error is not None and is_service_error(error):
                raise error
    rejected = [_rejected(index, error) for index, error in enumerate(outcomes) if error is not None]
    if not accepted:
        return Response.make(422, {"message": str(Invalid({})), "accepted": 0, "rejected": rejected})
    return Response.make(200, {"status": "queued", "accepted": accepted, "rejected": rejected})


def is_service_error(error: IngestError) -> bool:
    """True if the client did not cause the error."""
    return not isinstance(error, Rejected | REFUSED)


def _rejected(index: int, error: IngestError) -> dict[str, Any]:
    """`retry` marks an item that the service may accept when the client sends it again."""
    item: dict[str, Any] = {"index": index, "errors": _errors(error)}
    return item | {"retry": True} if is_service_error(error) else item


def _errors(error: IngestError) -> Any:
    if isinstance(error, Invalid):
        return error.errors
    if isinstance(error, StoreError) and not isinstance(error, REFUSED):
        return {"event": [str(StoreError())]}
    return {"event": [str(error)]}
