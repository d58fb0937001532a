"""The conclusions of `ingest doctor` from words, limits and clocks."""

import resource
from pathlib import Path

import pytest

from ingest.cli.doctor.commit_check import limits_text
from ingest.cli.doctor.hints import broker_hint, database_hint
from ingest.cli.doctor.host_checks import MIB, disk, open_files
from ingest.cli.doctor.publish_check import clock_problem
from ingest.errors import StoreError
from ingest.settings import Settings

MYSQL = "mysql://ingest:a%2Fsecret@db1:3306,db2:3306/calls"
AMQP = "amqp://ingest:a%2Fsecret@mq/telephony"


@pytest.mark.parametrize(
    ("reason", "hint"),
    [
        ("MySQL error 1049: Unknown database 'calls'.", "CREATE DATABASE `calls` CHARACTER SET utf8mb4;"),
        ("MySQL error 1044: Access denied for user", "GRANT ALL ON `calls`.* TO 'ingest'@'%';"),
        ("MySQL error 1045: Access denied for user", "Check user and password in the URL"),
        ("MySQL error 3159: Connections using insecure transport are prohibited", "?ssl-mode=REQUIRED"),
        ("MySQL error 1040: Too many connections.", "Raise max_connections"),
        ("MySQL error 2003: Can't connect ([Errno -2] Name or service not known).", "The name of the host is unknown"),
        ("MySQL error 2003: Can't connect ([Errno 111] Connection refused).", "Nothing listens there"),
        ("MySQL error 2003: Can't connect ([Errno 111] Connect call failed).", "Nothing listens there"),
        ("MySQL did not answer within 3 s.", "may be silent"),
        (
            "MySQL error 2026: [SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate",
            "?ssl-mode=VERIFY_CA&ssl-ca=FILE",
        ),
        ("MySQL: strange.", ""),
    ],
)
def test_each_cause_of_mysql_has_its_hint(reason: str, hint: str) -> None:
    found = database_hint(reason, MYSQL)

    assert hint in found
    assert bool(hint) == bool(found)
    assert "secret" not in found


@pytest.mark.parametrize(
    ("reason", "hint"),
    [
        ("530 NOT_ALLOWED - vhost telephony not found", "rabbitmqctl add_vhost 'telephony'"),
        ("VirtualHostAccessFailure", "rabbitmqctl add_vhost 'telephony'"),
        (
            "530 NOT_ALLOWED - access to vhost 'telephony' refused for user 'ingest'",
            "rabbitmqctl set_permissions -p 'telephony' 'ingest'",
        ),
        ("403 ACCESS_REFUSED - Login was refused using PLAIN", "Check user and password"),
        ("user can only log in via localhost", "from the broker's host only"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", "does not speak TLS"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] unable to get local issuer certificate", "?cafile=FILE"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate has expired", "check its dates"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] Hostname mismatch", "is for another name"),
        ("Connection reset by peer", "does the port expect TLS"),
        ("[Errno 111] Connection refused", "Nothing listens there"),
    ],
)
def test_each_cause_of_rabbitmq_has_its_hint(reason: str, hint: str) -> None:
    assert hint in broker_hint(reason, AMQP)


def test_default_virtual_host_is_named() -> None:
    assert "add_vhost '/'" in broker_hint("vhost / not found", "amqp://mq")


def test_limits_of_mysql_are_compared_with_the_settings() -> None:
    settings = Settings(workers=4)

    assert "are enough" in limits_text(settings, 16 * MIB, 151)
    with pytest.raises(StoreError, match="INGEST_BATCH_BYTES_MAX=2097152 needs 8388608"):
        limits_text(settings, 8 * MIB - 1, 151)
    with pytest.raises(StoreError, match="INGEST_BODY_BYTES_MAX=1000000 needs 4000000"):
        limits_text(settings, MIB, 151)
    with pytest.raises(StoreError, match="INGEST_WORKERS=4 needs 20"):
        limits_text(settings, 16 * MIB, 15)


@pytest.mark.parametrize(
    ("soft", "ok", "said"),
    [
        (resource.RLIM_INFINITY, True, "no limit"),
        (65_536, True, "the limit here is 65536"),
        (1024, True, "INGEST_CONNECTIONS_MAX=4096 needs 4296"),
        (100, False, "raise LimitNOFILE"),
    ],
)
def test_open_files_are_compared_with_connections(soft: int, ok: bool, said: str) -> None:
    finding = open_files(Settings(), soft)

    assert (finding.ok, said in finding.text) == (ok, True)


@pytest.mark.parametrize(
    ("free_mib", "ok", "said"),
    [(5000, True, "5000 MiB are free"), (1000, True, "can hold 744 MiB"), (256, False, "keeps 256 MiB free")],
)
def test_disk_is_compared_with_the_spool(free_mib: int, ok: bool, said: str) -> None:
    finding = disk(Settings(database_url="mysql://db/calls"), free_mib * MIB, Path("var"))

    assert (finding.ok, said in finding.text) == (ok, True)


@pytest.mark.parametrize(
    ("broker", "problem"),
    [
        (100.0, None),
        (99.0, None),
        (101.0, None),
        (97.0, "This host's clock is 2 s ahead of RabbitMQ's: set both by NTP."),
        (110.0, "This host's clock is 10 s behind RabbitMQ's: set both by NTP."),
    ],
)
def test_clock_of_the_broker_has_whole_seconds(broker: float, problem: str | None) -> None:
    assert clock_problem(broker, 100.4, 100.4) == problem
