"""The first dashboard for the person on call: is the service healthy, and if not, which part fails?"""

from observability.dashboards.panels import GREEN, ORANGE, RED, Board, chart, figure
from observability.dashboards.queries import (
    RATE,
    Query,
    increase,
    least,
    most,
    of,
    quantiles,
    rate,
    recorded,
    share,
    total,
)

UP = ((None, RED), (1, GREEN))
FAILED, WRONG = 'outcome="unavailable"', 'outcome="refused"'
UNAVAILABLE = f"sum(rate({of('ingest_requests_total', FAILED)}[{RATE}]))"
REFUSED = f"sum(rate({of('ingest_requests_total', WRONG)}[{RATE}]))"
REQUESTS = f"sum(rate({of('ingest_requests_total')}[{RATE}]))"
BUDGETS = {"availability": ("unavailable", 0.0005), "latency": ("slow", 0.01), "freshness": ("stale", 0.005)}
"""Objective → its recorded series in slo.yml, and the share of requests or events that may fail."""


def budget_left(series: str, allowed: float) -> str:
    return f"1 - max({recorded(f'instance:call_events_{series}:ratio_rate3d')}) / {allowed}"


def board() -> Board:
    made = Board("overview", "overview", "The state of the service: traffic, failures, durations, backlog.")
    _first_row(made)
    _requests(made)
    _waiting(made)
    _budgets(made)
    return made


def _first_row(made: Board) -> None:
    up = least("up", "service")
    made.add(figure("Service", "bool_on_off", up, UP, "On while /metrics answers. Alert: CallEventsDown."), 3)
    database = "Off while any worker cannot use it; events go to the spool. Alert: CallEventsDatabaseAway."
    made.add(figure("Database", "bool_on_off", least("ingest_database_up", "database"), UP, database), 3)
    broker = "Off while any worker is not connected; events wait in the outbox. Alert: CallEventsBrokerAway."
    made.add(figure("RabbitMQ", "bool_on_off", least("ingest_broker_up", "RabbitMQ"), UP, broker), 3)
    alive = share("ingest_workers", "ingest_workers_wanted", "workers")
    description = "Share of INGEST_WORKERS that is alive. Alert: CallEventsWorkersMissing."
    made.add(figure("Workers", "percentunit", alive, UP, description), 3)
    restarts = "Workers that died in the time shown. Alert: CallEventsWorkerRestarted."
    died = ((None, GREEN), (1, ORANGE))
    made.add(figure("Restarts", "none", increase("ingest_worker_restarts_total", "restarts"), died, restarts), 3)
    failing = Query(f"{UNAVAILABLE} / {REQUESTS}", "5xx")
    steps = ((None, GREEN), (0.0005, ORANGE), (0.01, RED))
    made.add(
        figure("5xx", "percentunit", failing, steps, "Share of all requests. Alert: CallEventsRefusedByService."), 3
    )
    age = "Age of the oldest unpublished event. Alert: CallEventsBacklogOld."
    aged = ((None, GREEN), (30, ORANGE), (120, RED))
    made.add(figure("Backlog's age", "s", most("ingest_backlog_age_seconds", "age"), aged, age), 3)
    spool = "Events that the database does not have yet. Alerts: CallEventsSpoolUsed, CallEventsSpoolFilling."
    kept = ((None, GREEN), (1, ORANGE))
    made.add(figure("In the spool", "short", total("ingest_spool_events", "events"), kept, spool), 3)


def _requests(made: Board) -> None:
    made.row("Rate, errors, duration")
    accepted = rate("ingest_events_accepted_total", "{{instance}}", by="instance")
    made.add(chart("Events accepted", "eps", [accepted], "Answered 200: durable in the database or the spool."))
    codes = rate("ingest_requests_refused_total", "{{code}}", by="code")
    description = "All answers except 200, and items of batches. docs/errors.md says what to do for each code."
    made.add(chart("Refused, by code", "reqps", [codes], description))
    adapted = rate("ingest_events_adapted_total", "{{client}}: {{reason}}", by="client, reason")
    description = "Events of telephony servers with a field that was cut, replaced or limited. None is lost."
    made.add(chart("Adapted, by client and reason", "eps", [adapted], description))
    shares = [Query(f"{UNAVAILABLE} / {REQUESTS}", "5xx"), Query(f"{REFUSED} / {REQUESTS}", "4xx")]
    description = (
        "5xx: the service failed (CallEventsRefusedByService). 4xx: a client is wrong (CallEventsRefusedForClients)."
    )
    made.add(chart("Share of requests refused", "percentunit", shares, description, ((None, GREEN), (0.01, RED))))
    ack = quantiles("ingest_ack_seconds")
    description = "Clients wait from the receipt of an event until it is durable. Objective: 99 % within 250 ms."
    made.add(chart("Until answered", "s", ack, description, ((None, GREEN), (0.25, RED))))
    late = quantiles("ingest_end_to_end_seconds", 0.99, by="route")
    description = "Consumers wait from acceptance until RabbitMQ confirms the event. Objective: 99.5 % within 2 s."
    made.add(chart("Until published", "s", late, description, ((None, GREEN), (2, RED))))
    published = rate("ingest_events_published_total", "{{route}}", by="route")
    description = "memory: just after the commit. relay: from the outbox. spool: while the database is away."
    made.add(chart("Events published", "eps", [published], description))


def _waiting(made: Board) -> None:
    made.row("Saturation and backlog")
    made.add(chart("Backlog", "short", [most("ingest_backlog_events", "events")], "Events in the outbox."))
    kept = [total("ingest_spool_events", "events"), most("ingest_spool_age_seconds", "age of the oldest, s")]
    made.add(chart("Spool", "short", kept, "Events on local disk that wait for the database."))
    used = [
        share("ingest_queued_events", "ingest_queued_events_max", "waiting for a commit"),
        share("ingest_publish_inflight_events", "ingest_publish_inflight_events_max", "at the broker"),
        share("ingest_spool_bytes", "ingest_spool_bytes_max", "spool"),
        Query(
            f"sum(rate({of('ingest_worker_cpu_seconds_total')}[{RATE}])) / sum({of('ingest_workers_wanted')})",
            "CPU of the workers",
        ),
    ]
    description = "Share of each limit; one core a worker. Alerts: CallEventsQueueFilling, CallEventsSpoolFilling."
    made.add(chart("Used", "percentunit", used, description, ((None, GREEN), (0.8, RED))))


def _budgets(made: Board) -> None:
    made.row("Objectives")
    for name, (series, allowed) in BUDGETS.items():
        left = Query(budget_left(series, allowed), "left")
        description = (
            f"Rest of three days' budget: {allowed:.2%} may fail. Alerts: CallEvents{series.title()}Fast and others."
        )
        steps = ((None, RED), (0.25, ORANGE), (0.5, GREEN))
        made.add(figure(f"Budget left, {name}", "percentunit", left, steps, description), 8)
    burning = [
        Query(f"max({recorded(f'instance:call_events_{series}:ratio_rate1h')}) / {allowed}", name)
        for name, (series, allowed) in BUDGETS.items()
    ]
    description = (
        "Speed at which each error budget is used up, over an hour. 1 is the allowed speed, and 14.4 wakes somebody."
    )
    made.add(chart("Burn rate", "none", burning, description, ((None, GREEN), (14.4, RED))), 24)
