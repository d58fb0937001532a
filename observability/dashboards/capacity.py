"""The free room of each resource, and the time until one is full."""

from observability.dashboards.panels import GREEN, ORANGE, RED, Board, chart, figure
from observability.dashboards.queries import RATE, Query, least, mean, most, of, quantiles, rate, share, total

CPU = f"sum(rate({of('ingest_worker_cpu_seconds_total')}[{RATE}]))"
EVENTS = f"sum(rate({of('ingest_events_accepted_total')}[{RATE}]))"
GRANIAN = "granian_connections_active"
FULL = ((None, GREEN), (0.8, RED))


def board() -> Board:
    made = Board("capacity", "capacity", "Free room, and the resource that runs out first.")
    _first_row(made)
    _workers(made)
    _room(made)
    _server(made)
    return made


def _first_row(made: Board) -> None:
    used = Query(f"{CPU} / sum({of('ingest_workers_wanted')})", "CPU")
    busy = ((None, GREEN), (0.7, ORANGE), (0.9, RED))
    description = "Share of one core a worker. Near 100 %: add workers if there are free cores, or add hosts."
    made.add(figure("CPU of the workers", "percentunit", used, busy, description), 6)
    description = "CPU time of the workers for one event. An idle worker's base cost shows here too."
    made.add(figure("CPU an event", "s", Query(f"{CPU} / {EVENTS}", "CPU"), ((None, GREEN),), description), 6)
    queue = share("ingest_queued_events", "ingest_queued_events_max", "queue")
    description = "Share of INGEST_QUEUE_EVENTS_MAX. A full queue answers 503. Alert: CallEventsQueueFilling."
    made.add(figure("Queue", "percentunit", queue, ((None, GREEN), (0.5, ORANGE), (0.8, RED)), description), 6)
    disk = least("ingest_disk_free_bytes", "free")
    low = ((None, RED), (2 << 30, ORANGE), (10 << 30, GREEN))
    made.add(figure("Disk of the data folder", "bytes", disk, low, "Free bytes. Alert: CallEventsDiskFilling."), 6)


def _workers(made: Board) -> None:
    made.row("Workers")
    cpu = [
        rate("ingest_worker_cpu_seconds_total", "{{mode}}", by="mode"),
        total("ingest_workers_wanted", "workers wanted"),
        total("ingest_workers", "workers"),
    ]
    made.add(
        chart(
            "CPU", "short", cpu, "Cores in use. Much system time means many small requests, or a connection for each."
        )
    )
    memory = total("ingest_worker_resident_bytes", "{{instance}}", by="instance")
    made.add(
        chart("Memory", "bytes", [memory], "Resident memory of a host's workers. Endless growth is a fault: report it.")
    )
    lag = quantiles("ingest_event_loop_lag_seconds", 0.5, 0.99)
    description = "Delay of a due task. Above 0.1 s a worker has too much work. Alert: CallEventsLoopLag."
    made.add(chart("Event loop lag", "s", lag, description, ((None, GREEN), (0.1, RED))))
    garbage = [
        rate("ingest_gc_seconds_total", "seconds a second"),
        rate("ingest_gc_collections_total", "collections, generation {{generation}}", by="generation"),
    ]
    made.add(
        chart(
            "Garbage collection",
            "short",
            garbage,
            "Collections are rare by design. The worker answers no client during one.",
        )
    )
    files = total("ingest_worker_open_fds", "{{instance}}", by="instance")
    made.add(chart("Open files", "short", [files], "Files and sockets. `ulimit -n` limits a worker."))
    per_batch = [mean("ingest_batch_events", "events a commit")]
    description = "If it is always at INGEST_BATCH_EVENTS_MAX, the database is the limit."
    made.add(chart("Events a commit", "short", per_batch, description))


def _room(made: Board) -> None:
    made.row("Room")
    used = [
        share("ingest_queued_events", "ingest_queued_events_max", "waiting for a commit"),
        share("ingest_publish_inflight_events", "ingest_publish_inflight_events_max", "at the broker"),
        share("ingest_spool_bytes", "ingest_spool_bytes_max", "spool"),
    ]
    made.add(chart("Queues against their limits", "percentunit", used, "Share of each limit.", FULL))
    free = [
        least("ingest_disk_free_bytes", "disk {{instance}}", by="instance"),
        Query(f"sum({of('ingest_spool_bytes_max')}) - sum({of('ingest_spool_bytes')})", "spools"),
    ]
    made.add(chart("Free", "bytes", free, "Free bytes on the disk of the data folder, and in the spools."))
    days = Query(
        f"min({of('ingest_disk_free_bytes')}) / clamp_min(-min(deriv({of('ingest_disk_free_bytes')}[1h])), 1) / 86400",
        "disk",
    )
    description = "Days at the pace of the last hour. A disk that does not fill counts as one byte a second."
    made.add(chart("Days until the disk is full", "d", [days], description))


def _server(made: Board) -> None:
    _direct_listener(made)
    made.row("Granian (with INGEST_SERVER_METRICS_PORT)")
    connections = Query(f"sum by (instance, worker) ({of(GRANIAN)})", "{{instance}} worker {{worker}}")
    made.add(chart("Connections", "short", [connections], "Open connections. INGEST_CONNECTIONS_MAX limits a worker."))
    handled = [
        rate("granian_requests_handled", "requests, worker {{worker}}", by="worker"),
        rate("granian_connections_handled", "connections, worker {{worker}}", by="worker"),
        rate("granian_connections_err", "broken, worker {{worker}}", by="worker"),
    ]
    description = (
        "All paths. Connections rise like requests: clients open one for each. One worker has all: few connections."
    )
    made.add(chart("Requests and connections", "reqps", handled, description))
    python = [
        rate("granian_py_wait_cumulative", "waiting for Python, worker {{worker}}", by="worker"),
        rate("granian_blocking_busy_cumulative", "blocking threads busy, worker {{worker}}", by="worker"),
        rate("granian_blocking_idle_cumulative", "blocking threads idle, worker {{worker}}", by="worker"),
    ]
    made.add(chart("Time of the server", "µs", python, "Microseconds a second."))
    threads = [
        total("granian_blocking_threads", "blocking threads"),
        total("granian_blocking_queue", "their queue"),
        total("granian_workers_spawns", "workers started"),
        total("granian_workers_respawns_for_err", "after an error"),
        total("granian_workers_respawns_for_lifetime", "for their age"),
        total("granian_workers_respawns_for_rss", "for their size"),
    ]
    made.add(chart("Supervision", "short", threads, "Counts since the service started."))
    ages = Query(f"max by (instance, worker) ({of('granian_worker_lifetime')})", "{{instance}} worker {{worker}}")
    made.add(chart("Age of the workers", "s", [ages], "Falls to zero when a worker is replaced."))
    running = [
        Query(f"time() - min by (instance) ({of('ingest_start_time_seconds')})", "{{instance}} up, s"),
        most("ingest_build_info", "{{version}}, Python {{python}}, Granian {{granian}}", by="version, python, granian"),
    ]
    made.add(chart("What runs", "short", running, "Versions, and the time since the start."))


def _direct_listener(made: Board) -> None:
    made.row("Direct listener (without Granian's requests)")
    connections = total("ingest_http_connections", "{{instance}}", by="instance")
    made.add(
        chart("Client connections", "short", [connections], "Open connections. INGEST_CONNECTIONS_MAX limits a worker.")
    )
    requests = [
        rate("ingest_http_requests_total", "requests"),
        rate("ingest_http_malformed_total", "refused by the listener"),
    ]
    made.add(
        chart("Requests received", "reqps", requests, "All paths. The listener refuses what is no valid HTTP/1.1.")
    )
    received = rate("ingest_http_received_bytes_total", "received")
    made.add(chart("Received bytes", "Bps", [received], "Heads and bodies of all requests."))
