"""Real servers for the tests: MariaDB or MySQL, RabbitMQ with streams, Prometheus.

    with mysql_server() as mysql, rabbitmq_server() as rabbitmq: ...

Each server runs on free ports of 127.0.0.1, with its data in a temporary folder ($TMPDIR).
It leaves no process or file behind, even if the test process is killed with -9.

The environment selects the servers:
- INGEST_TEST_SERVERS is `debian` (default) for this machine's MariaDB 10.11 and RabbitMQ 3.10.
- INGEST_TEST_SERVERS is `sid` for MySQL 9 and RabbitMQ 4 in the chroot of tests/setup/sid-servers.sh.
- INGEST_TEST_MYSQL_URL, INGEST_TEST_AMQP_URL and INGEST_TEST_STREAM_URL name external servers. Their
  `controllable` is False.

All servers have start, stop, kill (-9), freeze (SIGSTOP), thaw, restart (same ports and data) and close.
These raise ServerFailed with the tail of the server's log.

MySQLServer      host port user password ca_path url; query(sql, database) -> rows,
                 fresh_database() -> url, fresh_user() -> (name, password), url_of(...)
RabbitMQServer   host port amqp_url stream_url; fresh_queue_name(), ctl(*args) -> output
PrometheusServer(config_text)   port url; query(expression) -> series
MysqldExporter(mysql)   port
"""

import os

from .mysql import ExternalMySQL, MySQLServer, private_mysql
from .mysqld_exporter import MysqldExporter
from .ports import free_port
from .prometheus import PrometheusServer
from .rabbitmq import ExternalRabbitMQ, RabbitMQServer, private_rabbitmq
from .sandbox import ServerFailed, wait_until

__all__ = [
    "MySQLServer",
    "MysqldExporter",
    "PrometheusServer",
    "RabbitMQServer",
    "ServerFailed",
    "free_port",
    "mysql_server",
    "rabbitmq_server",
    "wait_until",
]


def mysql_server(*options: str) -> MySQLServer:
    """Return the MySQL server that the environment selects. `with` starts it. `options` are for a private server."""
    url = os.environ.get("INGEST_TEST_MYSQL_URL")
    return ExternalMySQL(url) if url else private_mysql(_flavour(), options)


def rabbitmq_server(metrics: bool = False) -> RabbitMQServer:
    """Return the RabbitMQ server that the environment selects. `with` starts it."""
    url = os.environ.get("INGEST_TEST_AMQP_URL")
    if url:
        return ExternalRabbitMQ(url, os.environ.get("INGEST_TEST_STREAM_URL", ""))
    return private_rabbitmq(_flavour(), metrics)


def _flavour() -> str:
    return os.environ.get("INGEST_TEST_SERVERS") or "debian"
