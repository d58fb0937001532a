"""For the engineer of the telephony servers: who sends, what is refused or changed, and how long clients wait."""

from observability.dashboards.panels import GREEN, ORANGE, RED, Board, chart, figure, text
from observability.dashboards.queries import increase, quantiles, rate, total

CODES = (
    *("unauthenticated", "unknown_client", "malformed", "invalid", "body_too_large", "body_timeout", "rate_limited"),
    *("method_not_allowed", "unsupported_encoding", "key_reused", "repeats"),
)
"""Refusals that a client causes."""
MISSING = """\
Events by type, answered and ended calls, their durations, and servers that fell silent have no metrics yet.

Until then: `ingest tail` shows events as they come, and the table `call_event_logs` counts them by `event_type`.
A token for each telephony server makes its events visible here: `ingest tokens create NAME`.
"""


def board() -> Board:
    made = Board("telephony", "telephony", "The service as telephony servers see it: who sends, and what is refused.")
    _first_row(made)
    _clients(made)
    _forms(made)
    _trouble(made)
    return made


def _first_row(made: Board) -> None:
    events = rate("ingest_events_accepted_total", "events")
    made.add(figure("Events now", "eps", events, ((None, GREEN),), "Events accepted each second, of all servers."), 6)
    taken = increase("ingest_events_accepted_total", "events")
    made.add(figure("Events in the time shown", "short", taken, ((None, GREEN),), "Accepted, and so durable."), 6)
    refused = increase("ingest_requests_total", "requests", 'outcome="refused"')
    description = "The server's configuration is wrong. Alert: CallEventsRefusedForClients."
    made.add(figure("Refused for the client", "short", refused, ((None, GREEN), (1, ORANGE)), description), 6)
    failed = increase("ingest_requests_total", "requests", 'outcome="unavailable"')
    description = "The service failed, and the server must send again. Alert: CallEventsRefusedByService."
    made.add(figure("Failed in the service", "short", failed, ((None, GREEN), (1, RED)), description), 6)


def _clients(made: Board) -> None:
    made.row("Who sends")
    tokens = rate("ingest_token_events_total", "{{token}}", by="token")
    description = "Accepted events by the name of the token. A server that stops sending falls to zero here."
    made.add(chart("Events by token", "eps", [tokens], description), 12)
    ways = rate("ingest_requests_total", "{{endpoint}}", 'outcome="queued"', by="endpoint")
    description = "single and batch: the service's own format. client: the format of a telephony server, below /in/."
    made.add(chart("Requests by endpoint", "reqps", [ways], description), 12)


def _forms(made: Board) -> None:
    made.row("Formats of telephony servers")
    forms = rate("ingest_events_adapted_total", "{{client}}", by="client")
    description = "Events with a field that was changed, by the format of the telephony server. None is lost."
    made.add(chart("Changed events by format", "eps", [forms], description), 12)
    reasons = rate("ingest_events_adapted_total", "{{reason}}", by="reason")
    description = "What was changed: docs/clients/forms.md explains each reason."
    made.add(chart("Changed events by reason", "eps", [reasons], description), 12)


def _trouble(made: Board) -> None:
    made.row("What goes wrong")
    codes = "|".join(CODES)
    refused = rate("ingest_requests_refused_total", "{{code}}", f'code=~"{codes}"', by="code")
    description = "Refusals that a client can repair. docs/errors.md says how. The status page lists the clients."
    made.add(chart("Refused requests by code", "reqps", [refused], description))
    again = [
        rate("ingest_events_repeated_total", "sent again"),
        rate("ingest_token_limited_total", "over the rate of {{token}}", by="token"),
    ]
    description = "Sent again: the server did not receive an answer in time, and the service recognized the event."
    made.add(chart("Repeated and limited", "eps", again, description))
    waits = quantiles("ingest_ack_seconds")
    description = "From the receipt of an event to its answer. Some telephony servers give up after 500 ms."
    made.add(chart("Wait for an answer", "s", waits, description, ((None, GREEN), (0.25, ORANGE), (0.5, RED))))
    open_now = total("ingest_http_connections", "{{instance}}", by="instance")
    description = "Open connections of telephony servers and balancers, without those that Granian serves."
    made.add(chart("Connections of clients", "short", [open_now], description), 12)
    made.add(text("Not here yet", MISSING), 12)
