"""The headers of a message: the trace context of its request, the name of its token, and the form of its client."""

from ingest.telemetry.labels import API as API_LABEL

TRACEPARENT, TRACESTATE, TOKEN = "traceparent", "tracestate", "token"
CLIENT = "client"
"""The form of the telephony server that posted the event. The service sets it if keys or filters need it."""
CONFIGURED = "configured"
"""The name of all tokens in INGEST_API_TOKENS. Their messages have no header with it."""
API = API_LABEL
"""The client form of events that were posted to the API itself. Their messages have no header with it."""

MessageHeaders = dict[str, str]
