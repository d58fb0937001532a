"""The headers of a message: the trace context of its request, and the name of its token."""

TRACEPARENT, TRACESTATE, TOKEN = "traceparent", "tracestate", "token"

MessageHeaders = dict[str, str]
