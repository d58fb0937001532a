"""An event's way in depth: received, queued, committed, published, confirmed, settled."""

from observability.dashboards.panels import GREEN, RED, Board, chart, heat
from observability.dashboards.queries import buckets, increase, mean, most, quantiles, rate, total


def board() -> Board:
    made = Board(
        "pipeline", "pipeline", "An event's way, step by step: where time goes, what fails and what is tried again."
    )
    _receive(made)
    _commit(made)
    _publish(made)
    _outages(made)
    _clients(made)
    return made


def _receive(made: Board) -> None:
    made.row("Receive")
    ways = rate("ingest_requests_total", "{{endpoint}}, {{outcome}}", by="endpoint, outcome")
    made.add(chart("Requests", "reqps", [ways], "By endpoint and outcome: queued 2xx, refused 4xx, unavailable 5xx."))
    told = "Of every event, from its receipt until it is durable. Two bands: two kinds of disk, or lock waits."
    made.add(heat("Until answered", buckets("ingest_ack_seconds"), told))
    waiting = quantiles("ingest_queue_seconds")
    told = "Of each batch's oldest event. Grows while the commit does not: more load than workers."
    made.add(chart("Wait for a commit", "s", waiting, told))


def _commit(made: Board) -> None:
    made.row("Commit")
    told = "One batch's transaction. Alert: CallEventsCommitSlow. Look at MySQL's disk, locks and buffer pool."
    made.add(chart("Commit", "s", quantiles("ingest_commit_seconds"), told, ((None, GREEN), (0.25, RED))))
    made.add(heat("Commits by time", buckets("ingest_commit_seconds"), "Where they lie, and how many."))
    sizes = [mean("ingest_batch_events", "mean"), *quantiles("ingest_batch_events", 0.95)]
    made.add(chart("Batch size", "short", sizes, "Events in a commit. It grows with the load: that makes it fast."))
    made.add(
        chart(
            "Commits",
            "ops",
            [
                rate("ingest_commit_seconds_count", "{{instance}}", by="instance"),
                rate("ingest_commit_retries_total", "tried again"),
            ],
            "Transactions, each a flush of the database's log; tried again after a loss, a deadlock, a bad row.",
        )
    )
    stored = [
        rate("ingest_events_stored_total", "stored"),
        rate("ingest_events_accepted_total", "accepted"),
        rate("ingest_events_repeated_total", "repeats"),
    ]
    made.add(chart("Events", "eps", stored, "Rows that were made; accepted is answered 200; repeats make no row."))
    links = [
        rate("ingest_database_connects_total", "database"),
        rate("ingest_broker_connects_total", "RabbitMQ"),
    ]
    told = "Made anew, a second. Above zero for long: connections break; look at proxies, time-outs, the servers' logs."
    made.add(chart("Connections", "cps", links, told))


def _publish(made: Board) -> None:
    made.row("Publish")
    told = "From the write to RabbitMQ to a batch's last confirm; no client waits for it."
    made.add(chart("Publish to confirm", "s", quantiles("ingest_publish_seconds"), told))
    made.add(heat("Until published", buckets("ingest_end_to_end_seconds"), "Of every event, on all routes."))
    late = quantiles("ingest_end_to_end_seconds", 0.5, 0.99, by="route")
    told = "By route: memory is the usual one; relay and spool tell of outages that are over."
    made.add(chart("Until published, by route", "s", late, told))
    failing = [
        rate("ingest_events_publish_failed_total", "failed, {{route}}", by="route"),
        rate("ingest_publish_retries_total", "tried again"),
        rate("ingest_events_released_total", "left to the relay"),
    ]
    told = "Not confirmed, refused or returned; all stay in the outbox. Alert: CallEventsPublishFailing."
    made.add(chart("Publishing fails", "eps", failing, told))
    hand = [
        total("ingest_queued_events", "waiting for a commit"),
        total("ingest_publish_inflight_events", "at RabbitMQ"),
    ]
    made.add(
        chart(
            "In hand", "short", hand, "Events in memory. At their limits the service refuses, or leaves to the relay."
        )
    )
    outbox = [most("ingest_backlog_events", "events"), most("ingest_outbox_entries", "batches")]
    told = "Committed and not known to be published, those just being published included. Alert: CallEventsBacklogOld."
    made.add(chart("Outbox", "short", outbox, told))


def _outages(made: Board) -> None:
    made.row("Outages")
    up = [most("ingest_broker_blocked", "blocked by RabbitMQ"), most("ingest_backlog_age_seconds", "oldest, s")]
    told = "1 while RabbitMQ's alarm stops publishers (CallEventsBrokerBlocked), and what waits for it."
    made.add(chart("RabbitMQ blocks", "short", up, told))
    apart = [most("ingest_clock_apart_seconds", "from the database's")]
    told = "How far a host's clock is from the database's. Above a second /readyz says so: set both by NTP."
    made.add(chart("Clocks apart", "s", apart, told))
    moved = [
        rate("ingest_events_spooled_total", "spooled"),
        rate("ingest_events_drained_total", "drained"),
        rate("ingest_events_published_total", "published from it", 'route="spool"'),
    ]
    made.add(chart("Spooled and drained", "eps", moved, "To the spool while the database is away, and back to it."))
    aside = [increase("ingest_events_set_aside_total", "set aside"), total("ingest_spool_bytes", "bytes of the spool")]
    told = "What the database refuses at last (CallEventsSetAside): `ingest spool ls`. And the spool's size."
    made.add(chart("Set aside", "short", aside, told))
    refused = [
        increase("ingest_commits_refused_total", "{{code}}", by="code"),
        most("ingest_commits_failing", "none is taken"),
    ]
    told = "Commits that the database did not take, by the error's code. Alert: CallEventsCommitsRefused."
    made.add(chart("Commits refused", "short", refused, told))
    dead = [increase("ingest_events_dead_total", "given up"), most("ingest_dead_letters", "kept")]
    told = "What RabbitMQ never takes (CallEventsDeadLetters): `ingest dead ls`."
    made.add(chart("Dead letters", "short", dead, told))
    days = [
        increase("ingest_partitions_dropped_total", "days dropped"),
        increase("ingest_retention_failures_total", "checks that failed"),
    ]
    told = "Of call_event_logs, with INGEST_RETENTION_DAYS: one a day. After a failure every day is still there."
    made.add(chart("Retention", "short", days, told))
    failed = increase("ingest_background_failures_total", "{{task}}", by="task")
    told = "Background tasks that failed and started again, in the time shown. Alert: CallEventsBackgroundFailing."
    made.add(chart("Background failures", "short", [failed], told))


def _clients(made: Board) -> None:
    made.row("Clients")
    tokens = rate("ingest_token_events_total", "{{token}}", by="token")
    made.add(chart("Events by token", "eps", [tokens], "Accepted, by the token's name."), 12)
    limited = rate("ingest_token_limited_total", "{{token}}", by="token")
    made.add(
        chart("Refused for their rate", "reqps", [limited], "By the token's name: talk to it, or raise its rate."), 12
    )
