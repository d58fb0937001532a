"""The limits of the direct listener for each connection. The settings have further ones."""

HEAD_BYTES_MAX = 65_536
"""Bytes of a request's line and headers. A longer head is answered 431."""
HEADERS_MAX = 100
"""Headers of a request. More are answered 431."""
TARGET_BYTES_MAX = 8_192
"""Bytes of a request's target. A longer one is answered 414."""
SLICE_BYTES = 4_096
"""The parser gets received bytes in slices of this size. The limits of a turn are checked between two slices."""
TURN_REQUESTS_MAX = 32
"""Requests of one connection that one turn of the event loop parses, and those of one more slice."""
PIPELINED_MAX = 64
"""Unanswered requests of a connection. Above this, the listener stops reading until a response is sent."""
BODY_BUFFER_BYTES = 262_144
"""Bytes of a body that wait for a handler. Above this, the listener stops reading until the handler takes them."""
UNSENT_BYTES_MAX = 65_536
"""Bytes that wait for a slow reader. Above this, the listener stops reading from the client."""
DISCARD_BYTES_MAX = 1_048_576
"""Bytes of a body that the listener discards after an early response. It closes connections with longer bodies."""

HEAD_SECONDS = 15.0
"""Time for a request's head, from its first byte."""
IDLE_SECONDS = 75.0
"""Time that a connection may have no request."""
SEND_SECONDS = 30.0
"""Time for a slow reader to take what waits for it."""
YOUNG_SECONDS = 1.0
"""A listener that stops waits this long for the first request of a new connection. A busy client pauses before it."""
LINGER_SECONDS = 2.0
"""Time to discard what a client still sends after the last response. Closing at once could destroy that response."""
SWEEP_SECONDS = 0.5
"""A missed deadline is noticed at most this late."""
ACCEPT_PAUSE_SECONDS = 1.0
"""Pause after an accept that failed, as when the process has no file descriptor left."""
BACKLOG = 4_096
"""Connections that wait to be accepted. The kernel's `net.core.somaxconn` may allow fewer."""
