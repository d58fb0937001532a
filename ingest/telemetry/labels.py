"""Values of the metrics' labels, and bounds of the histograms' buckets."""

from typing import Literal, get_args

Route = Literal["memory", "relay", "spool"]
ROUTES: tuple[Route, ...] = get_args(Route)
Way = Literal["single", "batch", "client"]
"""The endpoint that received a request. All paths below `/in/` are `client`."""
WAYS: tuple[Way, ...] = get_args(Way)
Outcome = Literal["queued", "refused", "unavailable"]
"""The response was 2xx, 4xx or 5xx."""
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
Adaptation = Literal["unknown", "cut", "clamped", "rounded", "replaced"]
"""Why a field of a telephony server's call differs from what the server sent (`ingest.sources.values`)."""
ADAPTATIONS: tuple[Adaptation, ...] = get_args(Adaptation)
API = "api"
"""The client form of events that were posted to the API itself, in its own format."""
EVENT_TYPES = ("call_started", "call_ringing", "call_answered", "call_updated", "call_ended")
"""The usual event types: those of the documents and of the built-in forms."""
REFUSAL_CODES = (
    "unauthenticated",
    "unknown_client",
    "malformed",
    "invalid",
    "batch_refused",
    "row_refused",
    "key_reused",
    "body_too_large",
    "body_timeout",
    "unsupported_encoding",
    "method_not_allowed",
    "rate_limited",
    "overloaded",
    "draining",
    "store",
    "store_unavailable",
    "schema",
    "ids_taken",
    "spool_full",
    "unforeseen",
)
"""The codes of all errors that refuse a request (`ingest.errors`)."""
REFUSED_COMMIT_CODES = ("row_refused", "batch_refused", "schema", "store_unavailable", "ids_taken", "store")
"""The codes of the errors that end a commit (`ingest.errors`)."""

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
END_TO_END_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0)
CALL_SECONDS = (0.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0)
"""From a call that nobody answered to a conference."""
BATCH_EVENTS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000)
