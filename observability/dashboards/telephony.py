"""For the engineer of the telephony servers: who sends, what is refused or changed, and how long clients wait."""

from observability.dashboards.panels import GREEN, ORANGE, RED, Board, chart, figure
from observability.dashboards.queries import Query, increase, of, quantiles, rate, ratio, total

CODES = (
    *("unauthenticated", "unknown_client", "malformed", "invalid", "body_too_large", "body_timeout", "rate_limited"),
    *("method_not_allowed", "unsupported_encoding", "key_reused", "repeats"),
)
"""Refusals that a client causes."""
BY_TYPE = "ingest_events_by_type_total"
CALLS = ("call_started", "call_answered", "call_ended")
SILENT = 'ALERTS{alertname="CallEventsSourceSilent", alertstate="firing", job=~"$job"}'


def board() -> Board:
    made = Board("telephony", "telephony", "The service as telephony servers see it: who sends, and what is refused.")
    _first_row(made)
    _calls(made)
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


def _calls(made: Board) -> None:
    made.row("Calls")
    types = rate(BY_TYPE, "{{event_type}}", by="event_type")
    description = "Stored events by type. `other` has all types beyond the usual ones and 50 more."
    made.add(chart("Events by type", "eps", [types], description))
    calls = rate(BY_TYPE, "{{event_type}}", f'event_type=~"{"|".join(CALLS)}"', by="event_type")
    description = "Calls a second. Ended calls follow the started ones; answered calls are fewer."
    made.add(chart("Started, answered and ended calls", "cps", [calls], description))
    answered = ratio(BY_TYPE, 'event_type="call_answered"', 'event_type="call_ended"', "answered of ended")
    description = "The share of calls that somebody answered, if the telephony servers send both events."
    made.add(chart("Answered of ended calls", "percentunit", [answered], description))
    durations = quantiles("ingest_call_duration_seconds", 0.5, 0.9, 0.99)
    description = "As the telephony servers sent them. Events without a duration are left out."
    made.add(chart("Duration of ended calls", "s", durations, description), 12)
    forms = rate("ingest_events_by_client_total", "{{client}}", by="client")
    description = "Accepted events by the form of the telephony server, below /in/. `api` is the service's own format."
    made.add(chart("Events by client form", "eps", [forms], description), 12)


def _clients(made: Board) -> None:
    made.row("Who sends")
    since = Query(f"time() - max by (token) ({of('ingest_token_last_event_seconds')} > 0)", "{{token}}")
    description = "A source that fell silent rises here. Alert: CallEventsSourceSilent."
    made.add(chart("Time since the last event by token", "s", [since], description))
    silent = Query(f"count({SILENT}) or vector(0)")
    description = "Tokens that are silent longer than their rhythm explains. Alert: CallEventsSourceSilent."
    made.add(figure("Silent sources", "short", silent, ((None, GREEN), (1, ORANGE)), description))
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
