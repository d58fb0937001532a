"""Connections to MySQL and MariaDB: passwords, TLS, and the error if there is no connection.

All tests run on either server. A user's way in is the server's default then: caching_sha2_password
on MySQL, mysql_native_password on MariaDB.
"""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.errors import StoreUnavailable
from ingest.store.mysql.address import Address
from ingest.store.mysql.connection import Connection, Row, connect_over_network
from tests.certificates import Authority
from tests.contract.store.stores import TIMEOUT_SECONDS, MySQL
from tests.integration.mysql.tls import tls_mysql
from tests.services import MySQLServer, free_port

TLS_VERSION = b"SHOW SESSION STATUS LIKE 'Ssl_version'"
SECRET = "secret-of-the-tests"
GREETING_WITHOUT_TLS = (
    b"\x49\x00\x00\x00"  # length and number of the packet
    b"\x0a8.4.0\x00\x01\x00\x00\x00saltsalt\x00"  # protocol, version, connection, salt
    b"\xff\xf7\xff\x02\x00\xff\xdf\x15"  # all capabilities but TLS (0x0800), utf8mb4, autocommit
    + b"\x00" * 10
    + b"saltsaltsalt\x00caching_sha2_password\x00"
)
"""See Protocol::HandshakeV10 in the MySQL manual."""
PASSWORDS = ["päßword-пароль-📞", "p@ss:w/o?r#d%41[x]+ ", "x" * 60, "'\"\\`"]


@pytest.fixture(scope="module")
def tls_server() -> Iterator[MySQLServer]:
    if "INGEST_TEST_MYSQL_URL" in os.environ:
        pytest.skip("INGEST_TEST_MYSQL_URL names a server whose certificate tests may not choose")
    with tls_mysql() as server:
        yield server


async def ask(url: str, sql: bytes) -> list[Row]:
    connection = await Connection.open(Address.parse(url), TIMEOUT_SECONDS, connect_over_network)
    try:
        return await connection.run(sql)
    finally:
        await connection.end()


async def tls_version(url: str) -> str:
    """The session's TLS cipher; empty without TLS."""
    return str((await ask(url, TLS_VERSION))[0][1])


def fresh_login(server: MySQLServer) -> str:
    """URL of a user whose password the server has not seen yet."""
    return server.url_of(MySQL(server).name, *server.fresh_user())


def with_password(server: MySQLServer, password: str) -> str:
    """URL of a user who has this password."""
    name, _ = server.fresh_user()
    literal = password.replace("\\", "\\\\").replace("'", "\\'")
    server.query(f"ALTER USER '{name}'@'%' IDENTIFIED BY '{literal}'")
    return server.url_of(MySQL(server).name, name, password)


async def refusal(url: str) -> str:
    """The error of a failed connection."""
    with pytest.raises(StoreUnavailable) as refused:
        await ask(url, b"SELECT 1")
    return str(refused.value)


async def test_users_authenticate_as_the_server_does_by_default(mysql: MySQLServer) -> None:
    name, _ = mysql.fresh_user()
    expected = "mysql_native_password" if MySQL(mysql).is_mariadb else "caching_sha2_password"

    assert mysql.query(f"SELECT plugin FROM mysql.user WHERE user = '{name}'") == [(expected,)]


async def test_fresh_user_logs_in_without_tls_twice(mysql: MySQLServer) -> None:
    """At the first time MySQL encrypts the password with the server's RSA key."""
    url = fresh_login(mysql)

    assert await tls_version(url) == ""
    assert await tls_version(url) == ""


async def test_fresh_user_logs_in_with_tls_twice(tls_server: MySQLServer) -> None:
    url = fresh_login(tls_server) + "?ssl-mode=REQUIRED"

    assert (await tls_version(url)).startswith("TLSv1.")
    assert (await tls_version(url)).startswith("TLSv1.")


@pytest.mark.parametrize("password", PASSWORDS)
async def test_password_may_be_any_text(mysql: MySQLServer, password: str) -> None:
    url = with_password(mysql, password)

    assert await ask(url, b"SELECT 1") == [(1,)]


async def test_user_without_a_password_logs_in(mysql: MySQLServer) -> None:
    assert await ask(with_password(mysql, ""), b"SELECT 1") == [(1,)]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_certificate_of_the_given_authority_is_accepted(tls_server: MySQLServer, host: str) -> None:
    url = tls_server.url.replace("127.0.0.1", host) + f"?ssl-mode=VERIFY_CA&ssl-ca={tls_server.ca_path}"

    assert (await tls_version(url)).startswith("TLSv1.")


async def test_authority_alone_means_that_it_is_asked(tls_server: MySQLServer) -> None:
    assert (await tls_version(f"{tls_server.url}?ssl-ca={tls_server.ca_path}")).startswith("TLSv1.")


@pytest.mark.parametrize("mode", ["VERIFY_CA", "VERIFY_IDENTITY"])
async def test_certificate_of_another_authority_is_refused(tls_server: MySQLServer, tmp_path: Path, mode: str) -> None:
    other = Authority(tmp_path / "other.pem")
    url = tls_server.url.replace("127.0.0.1", "localhost")

    assert "certificate verify failed" in await refusal(f"{url}?ssl-mode={mode}&ssl-ca={other.path}")


async def test_certificate_of_no_known_authority_is_refused(tls_server: MySQLServer) -> None:
    assert "certificate verify failed" in await refusal(f"{tls_server.url}?ssl-mode=VERIFY_CA")


async def test_identity_is_the_name_in_the_certificate(tls_server: MySQLServer) -> None:
    url = f"{tls_server.url}?ssl-mode=VERIFY_IDENTITY&ssl-ca={tls_server.ca_path}"

    assert (await tls_version(url.replace("127.0.0.1", "localhost"))).startswith("TLSv1.")
    assert "127.0.0.1" in await refusal(url)


async def test_login_is_not_sent_in_the_clear_to_a_server_without_tls() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"mysql://someone:{SECRET}@127.0.0.1:{listener.getsockname()[1]}/db?ssl-mode=REQUIRED"
        received = asyncio.create_task(asyncio.to_thread(greet, listener, GREETING_WITHOUT_TLS, hear=True))
        await refusal(url)

    assert await received != b""
    assert b"someone" not in await received


@pytest.mark.parametrize("content", [None, "", "no certificate"])
async def test_file_that_is_no_authority_is_named(mysql: MySQLServer, tmp_path: Path, content: str | None) -> None:
    ca = tmp_path / "ca.pem"
    if content is not None:
        ca.write_text(content)

    assert str(ca) in await refusal(f"{mysql.url}?ssl-mode=VERIFY_CA&ssl-ca={ca}")


async def test_wrong_password_is_reported_without_showing_it(mysql: MySQLServer) -> None:
    name, _ = mysql.fresh_user()

    said = await refusal(mysql.url_of("any", name, SECRET))

    assert f"Access denied for user '{name}'" in said
    assert SECRET not in said


async def test_unknown_database_is_named(mysql: MySQLServer) -> None:
    said = await refusal(mysql.url_of("no_such_database"))

    assert "Unknown database 'no_such_database'" in said
    assert mysql.password not in said


async def test_host_that_cannot_be_reached_is_named() -> None:
    port = free_port()

    said = await refusal(f"mysql://user:{SECRET}@127.0.0.1:{port}/db")

    assert "Can't connect to MySQL server on '127.0.0.1'" in said
    assert str(port) in said
    assert SECRET not in said


async def test_unknown_host_is_named() -> None:
    assert "no-such-host.invalid" in await refusal("mysql://user@no-such-host.invalid/db")


@pytest.mark.parametrize("greeting", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"\x4a\x00\x00\x00\x0a8.4.0\x00", b"\xff" * 99])
async def test_server_that_is_not_mysql_is_unavailable(greeting: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        greeted = asyncio.create_task(asyncio.to_thread(greet, listener, greeting, hear=False))
        said = await refusal(f"mysql://user@127.0.0.1:{listener.getsockname()[1]}/db")
        await greeted

    assert "MySQL" in said


def greet(listener: socket.socket, greeting: bytes, *, hear: bool) -> bytes:
    """Greet one client, perhaps read its answer, and end its connection."""
    client, _ = listener.accept()
    with client:
        client.settimeout(TIMEOUT_SECONDS)
        client.sendall(greeting)
        return client.recv(1000) if hear else b""
