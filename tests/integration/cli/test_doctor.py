"""`ingest doctor` on a good installation, and with each kind of failure."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ingest.auth.tokens import entry_of
from ingest.settings import mask_url
from tests.commands import PASSWORD, TOKENS, Ingest, Ran, nowhere, one_line
from tests.faults.reading import channel_to
from tests.many_commands import Run, run_commands
from tests.services import MySQLServer, RabbitMQServer
from tests.services.rabbitmq_operator import add_user, set_vhost_limits, variables

CLASSIC = "it is classic, not INGEST_QUEUE_TYPE=quorum"


def findings(ran: Ran) -> dict[str, tuple[bool, str]]:
    """Return the findings: name → state and text."""
    assert ran.stderr == ""
    found = {}
    for line in ran.stdout.splitlines():
        state, name, text = line[:4], *line[6:].split(": ", 1)
        found[name] = (state == "ok  ", text)
    assert ran.returncode == int(not all(ok for ok, _ in found.values())), ran
    return found


def failures(ran: Ran) -> dict[str, str]:
    return {name: text for name, (ok, text) in findings(ran).items() if not ok}


def test_embedded_service_passes(ingest: Ingest) -> None:
    ingest("migrate")

    found = findings(ingest("doctor"))
    assert found.pop("open files")[1].startswith(("the limit here is ", "no limit"))
    assert found.pop("disk")[0]
    assert found == {
        "settings": (True, "they fit together"),
        "data folder": (True, "var can be written"),
        "database": (True, "sqlite:///var/call-events.db answers"),
        "schema": (True, "up to date"),
        "commit": (True, "a row was inserted and rolled back"),
        "broker": (True, "the embedded queue, in the data folder"),
    }


def test_full_service_passes(ingest: Ingest, real: dict[str, str]) -> None:
    ingest("migrate", **real)
    with channel_to(real["BROKER_URL"]) as channel:
        channel.queue_declare(real["QUEUE"], durable=True)
        channel.confirm_delivery()
        channel.basic_publish("", real["QUEUE"], b"{}")

    found = findings(ingest("doctor", **real, RETENTION_DAYS="30"))

    assert [name for name, (ok, _) in found.items() if not ok] == []
    host = ["data folder", "open files", "disk"]
    database = ["database", "schema", "durability", "commit", "limits", "clock", "cluster", "retention"]
    assert list(found) == ["settings", "tokens", *host, *database, "broker", "publish", "queue"]
    assert found["commit"][1] == "a row was inserted and rolled back"
    assert found["publish"][1] == (
        "a message was published with a confirm, and taken back; its clock and this host's agree"
    )
    assert found["queue"][1] == f"{real['QUEUE']} is there, 1 messages wait in it; {CLASSIC}"
    assert found["durability"][1] == "each commit is flushed"
    assert found["retention"][1] == "this user may drop days"


def test_tokens_in_plain_text_are_reported_without_failing(ingest: Ingest, real: dict[str, str]) -> None:
    plain, entry = "first-secret", entry_of("second-secret")

    ok, text = findings(ingest("doctor", **{**real, "API_TOKENS": f"{plain},{entry}"}))["tokens"]
    assert ok
    assert text.startswith("1 of 2 tokens in INGEST_API_TOKENS are in plain text")
    assert "`ingest tokens hash`" in text
    assert findings(ingest("doctor", **{**real, "API_TOKENS": entry}))["tokens"] == (True, "all are hashed")


def test_missing_queue_is_no_failure(ingest: Ingest, real: dict[str, str]) -> None:
    ok, text = findings(ingest("doctor", **real))["queue"]

    assert (ok, text) == (True, f"{real['QUEUE']} is not there yet; `ingest serve` declares it")


def test_missing_tables_are_reported(ingest: Ingest, real: dict[str, str]) -> None:
    expected = {"schema": "The tables are missing or old: run `ingest migrate`."}

    assert failures(ingest("doctor")) == expected
    assert failures(ingest("doctor", **real)) == expected


def test_unreachable_servers_are_reported_with_their_settings(ingest: Ingest) -> None:
    servers = {"DATABASE_URL": nowhere("mysql", "calls"), "BROKER_URL": nowhere("amqp", "")}
    ran = ingest("doctor", API_TOKENS=TOKENS, **servers)

    failed = failures(ran)
    assert list(failed) == ["database", "broker"]
    assert all("Nothing listens there" in text for text in failed.values())
    assert "Check INGEST_DATABASE_URL (mysql://ingest:***@127.0.0.1" in failed["database"]
    assert "Check INGEST_BROKER_URL" in failed["broker"]
    assert PASSWORD not in ran.stdout


def test_wrong_passwords_are_reported(
    ingest: Ingest, real: dict[str, str], mysql: MySQLServer, rabbitmq: RabbitMQServer
) -> None:
    name = real["DATABASE_URL"].rpartition("/")[2]
    servers = {
        "DATABASE_URL": mysql.url_of(name, mysql.user, PASSWORD),
        "BROKER_URL": f"amqp://guest:{PASSWORD}@127.0.0.1:{rabbitmq.port}/",
    }
    ran = ingest("doctor", **{**real, **servers})

    failed = failures(ran)
    assert list(failed) == ["database", "broker"]
    assert "Access denied" in failed["database"]
    assert "ACCESS_REFUSED" in failed["broker"]
    assert all("Check user and password in the URL" in text for text in failed.values())
    assert PASSWORD not in ran.stdout


def test_missing_database_is_reported(ingest: Ingest, real: dict[str, str]) -> None:
    failed = failures(ingest("doctor", **{**real, "DATABASE_URL": f"{real['DATABASE_URL']}_not"}))

    assert list(failed) == ["database"]
    assert "Unknown database" in failed["database"]
    assert "CREATE DATABASE `" in failed["database"]


def test_missing_virtual_host_and_tls_on_a_plain_port_are_told_apart(
    real: dict[str, str], rabbitmq: RabbitMQServer, tmp_path: Path
) -> None:
    plain = rabbitmq.amqp_url
    hints = {
        f"{plain.rstrip('/')}/nowhere": "rabbitmqctl add_vhost 'nowhere'",
        plain.replace("amqp:", "amqps:"): "The port does not speak TLS",
        plain.replace("127.0.0.1", "no-such-host.invalid"): "The name of the host is unknown here",
    }
    streams = {
        f"{rabbitmq.stream_url.rstrip('/')}/nowhere": "rabbitmqctl add_vhost 'nowhere'",
        rabbitmq.stream_url.replace("stream:", "stream+tls:"): "does the port expect TLS, no TLS, or another",
    }
    runs = [Run(["doctor"], {**real, "BROKER_URL": url}) for url in hints]
    # A port may say nothing to another protocol. Then the deadline passes.
    of_streams = {**real, "CONNECT_TIMEOUT_SECONDS": "3", "PUBLISH_TO": "stream"}
    runs += [Run(["doctor"], {**of_streams, "STREAM_URL": url}) for url in streams]

    done = run_commands(tmp_path, runs)

    for one, hint in zip(done, [*hints.values(), *streams.values()], strict=True):
        (line,) = (line for line in one.stdout.splitlines() if line.startswith(("FAIL  broker: ", "FAIL  stream: ")))
        assert hint in line


def test_user_who_may_declare_no_queue_is_no_failure(
    ingest: Ingest, real: dict[str, str], rabbitmq: RabbitMQServer
) -> None:
    if not rabbitmq.controllable:
        pytest.skip("INGEST_TEST_AMQP_URL names a server that tests may not set up")
    add_user(rabbitmq, "limited", PASSWORD, "^$", ".*", ".*")

    broker = f"amqp://limited:{PASSWORD}@127.0.0.1:{rabbitmq.port}/"
    found = findings(ingest("doctor", **{**real, "BROKER_URL": broker}))

    assert found["publish"] == (True, "not tried: this user may not declare a queue of its own")


def test_user_without_rights_is_reported(ingest: Ingest, real: dict[str, str], mysql: MySQLServer) -> None:
    if not mysql.controllable:
        pytest.skip("INGEST_TEST_MYSQL_URL names a server that tests may not set up")
    ingest("migrate", **real)
    name = real["DATABASE_URL"].rpartition("/")[2]
    mysql.query(f"CREATE USER 'reader'@'%' IDENTIFIED BY '{PASSWORD}'")
    mysql.query(f"GRANT SELECT ON `{name}`.* TO 'reader'@'%'")

    failed = failures(ingest("doctor", **{**real, "DATABASE_URL": mysql.url_of(name, "reader", PASSWORD)}))

    assert "INSERT command denied" in failed["commit"]
    assert "GRANT ALL" in failed["commit"]


@pytest.mark.parametrize("missing", ["ALTER", "CREATE", "DROP", "INSERT"])
def test_missing_rights_for_retention_are_reported(
    ingest: Ingest, real: dict[str, str], mysql: MySQLServer, missing: str
) -> None:
    if not mysql.controllable:
        pytest.skip("INGEST_TEST_MYSQL_URL names a server that tests may not set up")
    ingest("migrate", **real)
    name = real["DATABASE_URL"].rpartition("/")[2]
    user = f"without_{missing.lower()}"
    mysql.query(f"CREATE USER '{user}'@'%' IDENTIFIED BY '{PASSWORD}'")
    rights = {"SELECT", "UPDATE", "DELETE", "INSERT", "ALTER", "CREATE", "DROP"} - {missing}
    mysql.query(f"GRANT {', '.join(sorted(rights))} ON `{name}`.* TO '{user}'@'%'")
    before = mysql.query(f"SHOW TABLES FROM `{name}`")
    limited = {**real, "DATABASE_URL": mysql.url_of(name, user, PASSWORD)}

    text = failures(ingest("doctor", **limited, RETENTION_DAYS="30"))["retention"]

    assert f"{missing} command denied" in text or f"{missing}, " in text
    assert f"GRANT ALTER, CREATE, DROP, INSERT ON `{name}`.* TO '{user}'@'%';" in text
    assert mysql.query(f"SHOW TABLES FROM `{name}`") == before
    assert "retention" not in findings(ingest("doctor", **limited))


def test_sqlite_file_that_takes_no_row_is_reported(ingest: Ingest, tmp_path: Path) -> None:
    ingest("migrate")
    with closing(sqlite3.connect(tmp_path / "var" / "call-events.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        text = failures(ingest("doctor", COMMIT_TIMEOUT_SECONDS="1"))["commit"]

    assert "does not take a row: database is locked. Another process has kept its lock" in text
    with closing(sqlite3.connect(tmp_path / "var" / "call-events.db")) as after:
        assert after.execute("SELECT COUNT(*) FROM call_event_logs").fetchone() == (0,)


def test_commits_without_flush_are_reported(ingest: Ingest, real: dict[str, str], mysql: MySQLServer) -> None:
    if not mysql.controllable:
        pytest.skip("INGEST_TEST_MYSQL_URL names a server that tests may not set up")
    ingest("migrate", **real)
    mysql.query("SET GLOBAL innodb_flush_log_at_trx_commit = 2")
    try:
        failed = failures(ingest("doctor", **real))
    finally:
        mysql.query("SET GLOBAL innodb_flush_log_at_trx_commit = 1")

    assert list(failed) == ["durability"]
    assert failed["durability"].endswith("Set it to 1.")


def test_data_folder_without_write_access_is_reported(ingest: Ingest, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    failed = failures(ingest("doctor", DATA_DIR=str(tmp_path / "file" / "var")))

    assert failed["data folder"].endswith("Make it writable, or set INGEST_DATA_DIR.")


def test_wrong_settings_are_the_only_output(ingest: Ingest) -> None:
    assert one_line(ingest("doctor", PORT="none")).startswith("ingest: INGEST_PORT='none'")


def test_queue_arguments_that_lose_messages_are_reported(ingest: Ingest, real: dict[str, str]) -> None:
    ingest("migrate", **real)
    names = {"x-max-length": 3, "x-message-ttl": 9000, "x-expires": 900_000, "x-dead-letter-exchange": "elsewhere"}
    with channel_to(real["BROKER_URL"]) as channel:
        channel.queue_declare(real["QUEUE"], durable=True, arguments={"x-queue-type": "classic", **names})
        before = channel.queue_declare(real["QUEUE"], passive=True).method.message_count
        text = failures(ingest("doctor", **real))["queue"]
        assert channel.queue_declare(real["QUEUE"], passive=True).method.message_count == before

    assert text.startswith(
        f"{real['QUEUE']} loses messages: x-max-length=3 drops the oldest messages of a full queue; "
    )
    assert "x-message-ttl=9000" in text
    assert "x-expires=900000" in text


@pytest.mark.parametrize("kind", ["quorum", "classic"])
def test_queue_that_refuses_when_full_passes(ingest: Ingest, real: dict[str, str], kind: str) -> None:
    ingest("migrate", **real)
    names = {"x-max-length": 3, "x-overflow": "reject-publish", "x-single-active-consumer": True}
    with channel_to(real["BROKER_URL"]) as channel:
        channel.queue_declare(real["QUEUE"], durable=True, arguments={"x-queue-type": kind, **names})

    ok, text = findings(ingest("doctor", **real))["queue"]
    assert ok, text
    assert text.endswith(" messages wait in it" if kind == "quorum" else CLASSIC)


def test_limits_of_rabbitmq_are_reported(ingest: Ingest, real: dict[str, str], rabbitmq: RabbitMQServer) -> None:
    if not rabbitmq.controllable:
        pytest.skip("INGEST_TEST_AMQP_URL names a server that tests may not set up")
    ingest("migrate", **real)
    with variables(rabbitmq, max_message_size=500_000, channel_max=2, frame_max=0):
        text = failures(ingest("doctor", **real))["broker"]
        smaller = findings(ingest("doctor", **real, BODY_BYTES_MAX="500000"))["broker"]

    assert "refuses events of INGEST_BODY_BYTES_MAX=1000000: 406 PRECONDITION_FAILED - message size 1000000" in text
    assert "500000. Events that are too large for it become dead letters" in text
    fewer = "; it allows fewer channels than INGEST_CHANNELS_MAX=3: new events and the relay share one"
    assert smaller == (True, f"{mask_url(real['BROKER_URL'])} answers{fewer}")


def test_limit_of_connections_is_reported_in_the_brokers_words(
    ingest: Ingest, real: dict[str, str], rabbitmq: RabbitMQServer
) -> None:
    if not rabbitmq.controllable:
        pytest.skip("INGEST_TEST_AMQP_URL names a server that tests may not set up")
    set_vhost_limits(rabbitmq, {"max-connections": 0})
    try:
        ran = [ingest("doctor", **real), ingest("tail", "--limit", "1", "--timeout", "1", **real)]
    finally:
        set_vhost_limits(rabbitmq, {"max-connections": -1})
    for one in ran:
        assert "connection limit (0) is reached" in one.stdout + one.stderr
