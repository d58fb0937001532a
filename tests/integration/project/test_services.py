"""The servers of the tests keep their promises, and leave no file or process behind."""

import os
import signal
import socket
import subprocess
import sys
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pika
import pymysql
import pytest
from pika.adapters.utils.connection_workflow import AMQPConnectorException

from tests.paths import ROOT
from tests.services import (
    MySQLServer,
    PrometheusServer,
    RabbitMQServer,
    ServerFailed,
    free_port,
    mysql_server,
    rabbitmq_server,
    wait_until,
)
from tests.services.mysql import NO_TLS, ExternalMySQL
from tests.services.processes import marked_with
from tests.services.rabbitmq import ExternalRabbitMQ
from tests.services.server import PrivateServer, Server

pytestmark = pytest.mark.skipif(
    any(os.environ.get(f"INGEST_TEST_{server}_URL") for server in ("MYSQL", "AMQP")),
    reason="the servers were given by URL",
)

GONE_SECONDS = 60.0
FROZEN_SECONDS = 0.5
EMPTY_PROMETHEUS = "scrape_configs: []\n"

# Starts servers, prints their folders, and waits for a signal that ends it.
OWNER = """
import signal, sys
from contextlib import ExitStack
from tests import services
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job inherits that SIGINT is ignored
with ExitStack() as stack:
    servers = [stack.enter_context(getattr(services, name)()) for name in sys.argv[1:]]
    print(*(server.sandbox.path for server in servers), flush=True)
    signal.pause()
"""


@pytest.fixture(scope="module")
def own_mysql() -> Iterator[MySQLServer]:
    with mysql_server() as server:
        yield server


@pytest.fixture(scope="module")
def own_rabbitmq() -> Iterator[RabbitMQServer]:
    with rabbitmq_server() as server:
        yield server


def test_free_ports_are_distinct_and_bindable() -> None:
    ports = {free_port() for _ in range(50)}
    assert len(ports) == 50
    for port in ports:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", port))


def test_mysql_accepts_its_url_over_tcp(own_mysql: MySQLServer) -> None:
    assert _ask(own_mysql.url, "SELECT 1") == ((1,),)


def test_mysql_commits_are_durable(own_mysql: MySQLServer) -> None:
    assert own_mysql.query("SELECT @@innodb_flush_log_at_trx_commit") == [(1,)]


def test_fresh_databases_are_empty_and_distinct(own_mysql: MySQLServer) -> None:
    urls = {own_mysql.fresh_database() for _ in range(3)}
    assert len(urls) == 3
    assert all(_ask(url, "SHOW TABLES") == () for url in urls)


def test_fresh_user_may_log_in(own_mysql: MySQLServer) -> None:
    name, password = own_mysql.fresh_user()
    url = own_mysql.url_of(_database(own_mysql.url), name, password)
    assert _ask(url, "SELECT 1") == ((1,),)


def test_mysql_has_the_ca_of_its_certificate_or_no_tls(own_mysql: MySQLServer) -> None:
    if own_mysql.ca_path is None:  # MariaDB 10.11 without a certificate made for it
        assert own_mysql.query("SELECT @@have_ssl") == [("DISABLED",)]
        return
    tls = {"ca": str(own_mysql.ca_path), "check_hostname": False}
    rows = _ask(own_mysql.url, "SHOW STATUS LIKE 'Ssl_version'", ssl=tls)
    assert rows[0][1].startswith("TLS")


def test_frozen_mysql_answers_nothing_until_thawed(own_mysql: MySQLServer) -> None:
    own_mysql.freeze()
    try:
        with pytest.raises(pymysql.MySQLError):
            _ask(own_mysql.url, "SELECT 1", read_timeout=FROZEN_SECONDS)
    finally:
        own_mysql.thaw()
    assert _ask(own_mysql.url, "SELECT 1") == ((1,),)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_mysql_comes_back_with_its_data_on_its_port(own_mysql: MySQLServer, end: str) -> None:
    url = own_mysql.fresh_database()
    own_mysql.query("CREATE TABLE kept (id INT PRIMARY KEY)", _database(url))
    own_mysql.query("INSERT INTO kept VALUES (7)", _database(url))
    getattr(own_mysql, end)()
    with pytest.raises(pymysql.MySQLError):
        _ask(url, "SELECT 1")
    own_mysql.start()
    assert _ask(url, "SELECT id FROM kept") == ((7,),)


def test_server_stops_also_when_frozen(own_mysql: MySQLServer) -> None:
    own_mysql.freeze()
    own_mysql.restart()
    assert own_mysql.query("SELECT 1") == [(1,)]


def test_running_server_is_not_started_twice(own_mysql: MySQLServer) -> None:
    with pytest.raises(ServerFailed, match="runs already"):
        own_mysql.start()


def test_rabbitmq_serves_streams_beside_amqp(own_rabbitmq: RabbitMQServer) -> None:
    name = own_rabbitmq.fresh_queue_name()
    with _channel(own_rabbitmq) as channel:
        channel.queue_declare(name, durable=True, arguments={"x-queue-type": "stream"})
    url = urlsplit(own_rabbitmq.stream_url)
    assert (url.username, url.password) == ("guest", "guest")
    with socket.create_connection((str(url.hostname), int(url.port or 0)), 5):
        pass


def test_rabbitmqctl_asks_this_node(own_rabbitmq: RabbitMQServer) -> None:
    name = own_rabbitmq.fresh_queue_name()
    with _channel(own_rabbitmq) as channel:
        channel.queue_declare(name, durable=True)
    assert name in own_rabbitmq.ctl("--quiet", "list_queues", "name")


def test_rabbitmqctl_failure_is_raised(own_rabbitmq: RabbitMQServer) -> None:
    with pytest.raises(ServerFailed, match="no-such-command"):
        own_rabbitmq.ctl("no-such-command")


def test_functions_of_a_node_are_called_with_terms(own_rabbitmq: RabbitMQServer) -> None:
    assert own_rabbitmq.call("erlang:length", '[one, "two", {3}]') == "3"

    with pytest.raises(ServerFailed, match="no_such"):
        own_rabbitmq.call("erlang:no_such")


def test_expressions_are_evaluated_in_a_node(own_rabbitmq: RabbitMQServer) -> None:
    texts = {'"a" "\\t\\"b\\""': 'a\t"b"', "node(), []": "", 'N = 7, io_lib:format("~b", [N])': "7"}
    assert {code: own_rabbitmq.evaluate(code) for code in texts} == texts

    for code, reason in (("1 = 2", "badmatch"), ("no:such()", "undef"), ("1 +", "error")):
        with pytest.raises(ServerFailed, match=reason):
            own_rabbitmq.evaluate(code)


def test_frozen_rabbitmq_confirms_only_after_it_is_thawed(own_rabbitmq: RabbitMQServer) -> None:
    own_rabbitmq.freeze()
    try:
        refusals = (pika.exceptions.AMQPError, AMQPConnectorException)
        with pytest.raises(refusals), _channel(own_rabbitmq, FROZEN_SECONDS):
            pass
    finally:
        own_rabbitmq.thaw()
    with _channel(own_rabbitmq) as channel:
        assert channel.is_open


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_rabbitmq_comes_back_with_confirmed_messages(own_rabbitmq: RabbitMQServer, end: str) -> None:
    name = own_rabbitmq.fresh_queue_name()
    with _channel(own_rabbitmq) as channel:
        channel.queue_declare(name, durable=True, arguments={"x-queue-type": "quorum"})
        channel.confirm_delivery()
        channel.basic_publish("", name, b"kept", pika.BasicProperties(delivery_mode=2))
    own_rabbitmq.wait_until_crash_safe(name)
    getattr(own_rabbitmq, end)()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", own_rabbitmq.port), 5)
    own_rabbitmq.start()
    with _channel(own_rabbitmq) as channel:
        assert _first_message(channel, name) == b"kept"


def test_prometheus_evaluates_an_expression() -> None:
    with PrometheusServer(EMPTY_PROMETHEUS) as prometheus:
        (series,) = prometheus.query("vector(42)")
        assert series["value"][1] == "42"
        with pytest.raises(urllib.error.HTTPError) as refused:
            prometheus.query("no such expression")
        refused.value.close()


def test_server_that_does_not_start_shows_its_log_and_leaves_nothing() -> None:
    prometheus = PrometheusServer("no_such_section: []\n")
    with pytest.raises(ServerFailed, match="no_such_section"):
        prometheus.__enter__()
    _assert_nothing_left(prometheus.sandbox.path)


@pytest.mark.parametrize("make", [mysql_server, rabbitmq_server])
def test_closed_server_leaves_neither_process_nor_file(make: Callable[[], Server]) -> None:
    with make() as server:
        assert isinstance(server, PrivateServer)
        assert server.pid in marked_with(server.sandbox.path)
        server.freeze()
    _assert_nothing_left(server.sandbox.path)


@pytest.mark.parametrize(
    ("end", "servers"),
    [
        # A signal ends the owner in the same way whatever it owns, and RabbitMQ's start takes the most CPU time.
        (signal.SIGINT, ["mysql_server"]),
        (signal.SIGTERM, ["mysql_server"]),
        (signal.SIGKILL, ["mysql_server", "rabbitmq_server"]),
    ],
)
def test_nothing_is_left_after_the_owner_ends_by(end: signal.Signals, servers: list[str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, *servers],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        folders = [Path(word) for word in owner.stdout.readline().split()]
        assert len(folders) == len(servers)
        assert all(marked_with(folder) for folder in folders)
        owner.send_signal(end)
    _assert_nothing_left(*folders)


def test_external_mysql_is_used_and_left_unchanged(own_mysql: MySQLServer) -> None:
    with ExternalMySQL(own_mysql.url) as given:
        assert not given.controllable
        url = given.fresh_database()
        assert _ask(url, "SHOW TABLES") == ()
        with pytest.raises(ServerFailed):
            given.kill()
    assert (_database(url),) not in own_mysql.query("SHOW DATABASES")


def test_external_rabbitmq_is_not_controlled(own_rabbitmq: RabbitMQServer) -> None:
    with ExternalRabbitMQ(own_rabbitmq.amqp_url, own_rabbitmq.stream_url) as given:
        assert (given.port, given.controllable) == (own_rabbitmq.port, False)
        with pytest.raises(ServerFailed):
            given.freeze()
        with pytest.raises(ServerFailed):
            given.ctl("status")


def _database(url: str) -> str:
    return urlsplit(url).path[1:]


def _ask(url: str, sql: str, **options: Any) -> tuple[tuple[Any, ...], ...]:
    parts = urlsplit(url)
    connection = pymysql.connect(
        host=parts.hostname,
        port=parts.port or 0,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=_database(url),
        ssl_disabled=NO_TLS and "ssl" not in options,
        **options,
    )
    with connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return tuple(cursor.fetchall())


@contextmanager
def _channel(server: RabbitMQServer, seconds: float = 60) -> Iterator[Any]:
    parameters = pika.URLParameters(server.amqp_url)
    parameters.stack_timeout = seconds
    connection = pika.BlockingConnection(parameters)
    try:
        yield connection.channel()
    finally:
        connection.close()


def _first_message(channel: Any, queue: str) -> bytes:
    received: list[bytes] = []

    def ready() -> bool:
        method, _, body = channel.basic_get(queue, auto_ack=True)
        received.extend([body] if method else [])
        return bool(received)

    # A quorum queue elects its leader only after the server's start.
    assert wait_until(ready, GONE_SECONDS)
    return received[0]


def _assert_nothing_left(*folders: Path) -> None:
    def gone() -> bool:
        return not any(folder.exists() or marked_with(folder) for folder in folders)

    assert wait_until(gone, GONE_SECONDS)
