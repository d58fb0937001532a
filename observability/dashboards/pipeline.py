"""The path of an event in detail: received, queued, committed, published, confirmed, settled."""

from observability.dashboards.panels import GREEN, RED, Board, chart, heat
from observability.dashboards.queries import buckets, increase, mean, most, quantiles, rate, total


def board() -> Board:
    made = Board(
        "pipeline", "pipeline", "The path of an event, step by step: time in each stage, failures and retries."
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
    description = (
        "Time of every event from its receipt until it is durable. Two bands mean two kinds of disk, or lock waits."
    )
    made.add(heat("Until answered", buckets("ingest_ack_seconds"), description))
    waiting = quantiles("ingest_queue_seconds")
    description = (
        "Wait of each batch's oldest event. If it grows and the commit does not, the load is too high for the workers."
    )
    made.add(chart("Wait for a commit", "s", waiting, description))


def _commit(made: Board) -> None:
    made.row("Commit")
    description = "One batch's transaction. Alert: CallEventsCommitSlow. Look at MySQL's disk, locks and buffer pool."
    made.add(chart("Commit", "s", quantiles("ingest_commit_seconds"), description, ((None, GREEN), (0.25, RED))))
    made.add(heat("Commits by time", buckets("ingest_commit_seconds"), "Number of commits by duration."))
    sizes = [mean("ingest_batch_events", "mean"), *quantiles("ingest_batch_events", 0.95)]
    made.add(
        chart(
            "Batch size",
            "short",
            sizes,
            "Events in a commit. Batches grow with the load, so the cost of an event falls.",
        )
    )
    made.add(
        chart(
            "Commits",
            "ops",
            [
                rate("ingest_commit_seconds_count", "{{instance}}", by="instance"),
                rate("ingest_commit_retries_total", "tried again"),
            ],
            "Each transaction flushes the database's log. Tried again: after a lost connection, a deadlock, a bad row.",
        )
    )
    stored = [
        rate("ingest_events_stored_total", "stored"),
        rate("ingest_events_accepted_total", "accepted"),
        rate("ingest_events_repeated_total", "duplicates"),
    ]
    made.add(
        chart(
            "Events",
            "eps",
            stored,
            "stored: rows made. accepted: answered 200. duplicates: accepted, but they make no row.",
        )
    )
    links = [
        rate("ingest_database_connects_total", "database"),
        rate("ingest_broker_connects_total", "RabbitMQ"),
    ]
    description = (
        "New connections a second. Above zero for long: connections break. See proxies, time-outs, the servers' logs."
    )
    made.add(chart("Connections", "cps", links, description))


def _publish(made: Board) -> None:
    made.row("Publish")
    description = "Time from the write to RabbitMQ to a batch's last confirm. No client waits for it."
    made.add(chart("Publish to confirm", "s", quantiles("ingest_publish_seconds"), description))
    made.add(heat("Until published", buckets("ingest_end_to_end_seconds"), "Time of every event, on all routes."))
    late = quantiles("ingest_end_to_end_seconds", 0.5, 0.99, by="route")
    description = "memory is the usual route. relay and spool show outages that are over."
    made.add(chart("Until published, by route", "s", late, description))
    failing = [
        rate("ingest_events_publish_failed_total", "failed, {{route}}", by="route"),
        rate("ingest_publish_retries_total", "tried again"),
        rate("ingest_events_released_total", "deferred to the relay"),
    ]
    description = "Events not confirmed, refused or returned. All stay in the outbox. Alert: CallEventsPublishFailing."
    made.add(chart("Publishing fails", "eps", failing, description))
    hand = [
        total("ingest_queued_events", "waiting for a commit"),
        total("ingest_publish_inflight_events", "at RabbitMQ"),
    ]
    made.add(
        chart(
            "In hand",
            "short",
            hand,
            "Events in memory. At the limits the service refuses events, or defers them to the relay.",
        )
    )
    outbox = [most("ingest_backlog_events", "events"), most("ingest_outbox_entries", "batches")]
    description = "Events that are committed and not yet confirmed by RabbitMQ. Alert: CallEventsBacklogOld."
    made.add(chart("Outbox", "short", outbox, description))


def _outages(made: Board) -> None:
    made.row("Outages")
    up = [most("ingest_broker_blocked", "blocked by RabbitMQ"), most("ingest_backlog_age_seconds", "oldest, s")]
    description = (
        "1 while RabbitMQ's alarm stops publishers (CallEventsBrokerBlocked), and the age of the oldest waiting event."
    )
    made.add(chart("RabbitMQ blocks", "short", up, description))
    apart = [most("ingest_clock_apart_seconds", "from the database's")]
    description = (
        "Difference between a host's clock and the database's. Above a second /readyz reports it: set both by NTP."
    )
    made.add(chart("Clocks apart", "s", apart, description))
    moved = [
        rate("ingest_events_spooled_total", "spooled"),
        rate("ingest_events_drained_total", "drained"),
        rate("ingest_events_published_total", "published from it", 'route="spool"'),
    ]
    made.add(
        chart(
            "Spooled and drained",
            "eps",
            moved,
            "Events go to the spool while the database is away, and back to the database later.",
        )
    )
    aside = [
        increase("ingest_events_set_aside_total", "set aside"),
        total("ingest_spool_set_aside_events", "kept aside"),
        total("ingest_spool_bytes", "bytes of the spool"),
    ]
    description = (
        "Events that the database refuses in the end (CallEventsSetAside; `ingest spool ls`), and the spool's size."
    )
    made.add(chart("Set aside", "short", aside, description))
    refused = [
        increase("ingest_commits_refused_total", "{{code}}", by="code"),
        most("ingest_commits_failing", "no commit is taken"),
    ]
    description = "Commits that the database refused, by the error's code. Alert: CallEventsCommitsRefused."
    made.add(chart("Commits refused", "short", refused, description))
    dead = [increase("ingest_events_dead_total", "given up"), most("ingest_dead_letters", "kept")]
    description = "Events that RabbitMQ never takes (CallEventsDeadLetters). `ingest dead ls` lists them."
    made.add(chart("Dead letters", "short", dead, description))
    days = [
        increase("ingest_partitions_dropped_total", "days dropped"),
        increase("ingest_retention_failures_total", "checks that failed"),
        increase("ingest_archive_failures_total", "archives that failed"),
    ]
    description = (
        "Days of call_event_logs dropped by INGEST_RETENTION_DAYS: one a day. A failed check drops nothing. Alert: "
        "CallEventsRetentionFailing."
    )
    made.add(chart("Retention", "short", days, description))
    archives = [
        increase("ingest_events_archived_total", "events archived"),
        increase("ingest_archived_bytes_total", "bytes of archives"),
    ]
    description = "Events written to INGEST_RETENTION_ARCHIVE before their day was dropped, and the files' size."
    made.add(chart("Archives", "short", archives, description))
    failed = increase("ingest_background_failures_total", "{{task}}", by="task")
    description = (
        "Background tasks that failed and started again in the time shown. Alert: CallEventsBackgroundFailing."
    )
    made.add(chart("Background failures", "short", [failed], description))
    failing = most("ingest_check_failing", "{{check}}", by="check")
    description = "1: the check finds a problem. Alerts: CallEventsCheckFailing, CallEventsRetentionFailing."
    made.add(chart("Checks that fail", "short", [failing], description))


def _clients(made: Board) -> None:
    made.row("Clients")
    tokens = rate("ingest_token_events_total", "{{token}}", by="token")
    made.add(chart("Events by token", "eps", [tokens], "Accepted events by token name."), 12)
    limited = rate("ingest_token_limited_total", "{{token}}", by="token")
    made.add(
        chart(
            "Refused for their rate",
            "reqps",
            [limited],
            "Refused requests by token name. Talk to the token's owner, or raise its rate.",
        ),
        12,
    )
