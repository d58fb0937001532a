"""The own metrics of MySQL and RabbitMQ, from mysqld_exporter and the plugin rabbitmq_prometheus."""

import re

from observability.dashboards.panels import GREEN, ORANGE, RED, Board, chart, figure
from observability.dashboards.queries import RATE, Query
from observability.dashboards.variables import job

UP = ((None, RED), (1, GREEN))
STATEMENTS = 'mysql_global_status_commands_total{command=~"commit|insert|delete|select"}'


VARIABLES = (
    job("mysql_job", "Job of MySQL", "mysql_up"),
    job("rabbitmq_job", "Job of RabbitMQ", "rabbitmq_build_info"),
)
_METRIC = re.compile(r"\b(mysql|rabbitmq)(_\w+)(?:\{|\b)")


def board() -> Board:
    made = Board("servers", "MySQL and RabbitMQ", "The servers behind the service, by their own metrics.", VARIABLES)
    _first_row(made)
    _mysql(made)
    _rabbitmq(made)
    return made


def query(expr: str, legend: str) -> Query:
    """Add the server's job to each of its metrics."""

    def selected(metric: re.Match[str]) -> str:
        end = ", " if metric[0].endswith("{") else "}"
        return f'{metric[1]}{metric[2]}{{job=~"${metric[1]}_job"{end}'

    return Query(_METRIC.sub(selected, expr), legend)


def status(name: str, legend: str) -> Query:
    """The rate of a counter of MySQL's global status, a second."""
    return query(f"sum(rate(mysql_global_status_{name}[{RATE}]))", legend)


def _first_row(made: Board) -> None:
    description = "On while mysqld_exporter reaches MySQL. Alert: MySQLMetricsMissing."
    made.add(figure("MySQL", "bool_on_off", query("min(mysql_up)", "MySQL"), UP, description), 6)
    up = Query('min(up{job=~"$rabbitmq_job"})', "RabbitMQ")
    made.add(
        figure("RabbitMQ", "bool_on_off", up, UP, "On while its metrics answer. Alert: RabbitMQMetricsMissing."), 6
    )
    alarms = query(
        "sum(rabbitmq_alarms_memory_used_watermark) + sum(rabbitmq_alarms_free_disk_space_watermark)", "alarms"
    )
    quiet = ((None, GREEN), (1, RED))
    description = "An alarm of memory or disk blocks publishers. Alert: CallEventsBrokerBlocked."
    made.add(figure("RabbitMQ's alarms", "none", alarms, quiet, description), 6)
    ready = query("sum(rabbitmq_queue_messages_ready)", "ready")
    waiting = ((None, GREEN), (100_000, ORANGE))
    made.add(figure("Messages waiting", "short", ready, waiting, "Messages that wait for consumers, in all queues."), 6)


def _mysql(made: Board) -> None:
    made.row("MySQL")
    commands = query(
        f"sum by (command) (rate({STATEMENTS}[{RATE}]))",
        "{{command}}",
    )
    made.add(chart("Statements", "ops", [commands], "Each batch is an insert and a commit."))
    flushes = [status("innodb_data_fsyncs", "fsyncs"), status("innodb_data_writes", "writes")]
    description = "A commit waits for the log's flush, and many commits share one. The disk decides their time."
    made.add(chart("Disk of MySQL", "iops", flushes, description))
    pool = query(
        f"sum(rate(mysql_global_status_innodb_buffer_pool_reads[{RATE}]))"
        f" / sum(rate(mysql_global_status_innodb_buffer_pool_read_requests[{RATE}]))",
        "from the disk",
    )
    description = (
        "Share of page reads. Inserts by ids hardly need any. If it grows, the pool is too small for the indexes."
    )
    made.add(chart("Buffer pool misses", "percentunit", [pool], description))
    locks = [status("innodb_row_lock_waits", "waits"), status("innodb_row_lock_time", "ms waited")]
    made.add(
        chart("Row locks", "ops", locks, "The service causes no row lock waits. Another program works on the tables.")
    )
    threads = [
        query("sum(mysql_global_status_threads_connected)", "connected"),
        query("sum(mysql_global_status_threads_running)", "running"),
        query("sum(mysql_global_variables_max_connections)", "max_connections"),
    ]
    made.add(chart("Sessions", "short", threads, "Each worker has INGEST_STORE_CONNECTIONS_MAX and two more."))
    slow = [status("slow_queries", "slow queries"), status("aborted_clients", "aborted clients")]
    made.add(chart("Trouble", "ops", slow, "Slow: see the slow query log. Aborted: connections broke."))


def _rabbitmq(made: Board) -> None:
    made.row("RabbitMQ")
    messages = [
        query("sum(rabbitmq_queue_messages_ready)", "ready"),
        query("sum(rabbitmq_queue_messages_unacked)", "with consumers"),
    ]
    made.add(chart("Queue depth", "short", messages, "If it grows, consumers are slower than events, or gone."))
    flow = [
        query(f"sum(rate(rabbitmq_global_messages_received_total[{RATE}]))", "received"),
        query(f"sum(rate(rabbitmq_global_messages_confirmed_total[{RATE}]))", "confirmed"),
        query(f"sum(rate(rabbitmq_global_messages_unroutable_returned_total[{RATE}]))", "returned"),
        query(f"sum(rate(rabbitmq_global_messages_acknowledged_total[{RATE}]))", "acknowledged by consumers"),
    ]
    made.add(
        chart(
            "Messages",
            "ops",
            flow,
            "If confirmed falls behind received, the disk is slow. Returned: the queue was deleted.",
        )
    )
    clients = [
        query("sum(rabbitmq_connections)", "connections"),
        query("sum(rabbitmq_channels)", "channels"),
        query("sum(rabbitmq_consumers)", "consumers"),
    ]
    made.add(chart("Clients", "short", clients, "Each worker has one connection with INGEST_CHANNELS_MAX channels."))
    memory = [
        query("sum(rabbitmq_process_resident_memory_bytes)", "resident"),
        query("sum(rabbitmq_resident_memory_limit_bytes)", "alarm above"),
    ]
    made.add(chart("Memory of RabbitMQ", "bytes", memory, "Above its watermark publishers are blocked."), 12)
    disk = [
        query("min(rabbitmq_disk_space_available_bytes)", "free"),
        query("max(rabbitmq_disk_space_available_limit_bytes)", "alarm below"),
    ]
    made.add(chart("Disk of RabbitMQ", "bytes", disk, "Below its limit publishers are blocked."), 12)
