"""MariaDB and MySQL servers for tests."""

import os
import secrets
import socket
import subprocess
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pymysql

from .first_data import fill
from .places import Host, Place, SidChroot, cache_folder, sid_root
from .ports import free_port
from .sandbox import ServerFailed
from .server import ExternalServer, PrivateServer, Server

Row = tuple[Any, ...]

USER = "ingest"
PASSWORD = "ingest-test-password"
NO_TLS = True
"""PyMySQL takes it as `ssl_disabled`. Otherwise it reads all certificates of the machine at each connection (50 ms)."""
CONNECT_SECONDS = 2
ANSWER_SECONDS = 30
INITIALIZE_SECONDS = 180


class MySQLServer(Server):
    """A MySQL or MariaDB server that tests may use.

    Attributes: `host`, `port`, `user`, `password` and `ca_path`. The file `ca_path` has the
    authority that signed the server's TLS certificate, which names no host. It is None if
    the server has no TLS, or if the authority is unknown.
    """

    host: str
    port: int
    user: str
    password: str
    ca_path: Path | None = None
    session: str | None = None
    """The first statement on each connection of `query`."""

    @property
    def url(self) -> str:
        """`mysql://user:password@host:port/database`, with a database made for this server."""
        return self.url_of(self._database())

    def url_of(self, database: str, user: str = "", password: str = "") -> str:
        """Return the URL of a database, for the server's user or the given one."""
        login = (user, password) if user else (self.user, self.password)
        quoted = ":".join(quote(part, safe="") for part in login)
        return f"mysql://{quoted}@{self.host}:{self.port}/{database}"

    def query(self, sql: str, database: str | None = None) -> list[Row]:
        """Run one statement on a new connection, commit it, and return its rows.

        On a private server the statement runs as the administrator. Raises
        pymysql.MySQLError, also if the server does not answer within 30 s.
        """
        connection = self._connect(database)
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return list(cursor.fetchall())
        finally:
            connection.close()

    def fresh_database(self) -> str:
        """Create an empty database with a unique name and return its URL."""
        name = f"ingest_test_{secrets.token_hex(6)}"
        self.query(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        self._made.append(name)
        return self.url_of(name)

    def fresh_user(self) -> tuple[str, str]:
        """Create a user with all rights, and return its name and password.

        The user's password is not in MySQL's cache, so the first login goes through
        all steps of caching_sha2_password (TLS or RSA). Needs administrator's rights.
        """
        name, password = f"fresh_{secrets.token_hex(6)}", secrets.token_hex(12)
        self._create_user(name, password)
        return name, password

    def __init__(self) -> None:
        self._made: list[str] = []

    @abstractmethod
    def _connect(self, database: str | None) -> "pymysql.Connection[Any]":
        """Open a connection in autocommit mode."""

    def _create_user(self, name: str, password: str) -> None:
        self.query(f"CREATE USER '{name}'@'%' IDENTIFIED BY '{password}'")
        self.query(f"GRANT ALL PRIVILEGES ON *.* TO '{name}'@'%'")

    def _database(self) -> str:
        if not self._made:
            self.fresh_database()
        return self._made[0]


class ExternalMySQL(ExternalServer, MySQLServer):
    """A server given by its URL. Its user must be allowed to create databases. They are
    dropped at the end."""

    def __init__(self, url: str) -> None:
        super().__init__()
        parts = urlsplit(url)
        self.host = parts.hostname or "127.0.0.1"
        self.port = parts.port or 3306
        self.user = unquote(parts.username or "root")
        self.password = unquote(parts.password or "")

    def close(self) -> None:
        while self._made:
            self.query(f"DROP DATABASE IF EXISTS {self._made.pop()}")

    def _connect(self, database: str | None) -> "pymysql.Connection[Any]":
        return pymysql.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            database=database,
            autocommit=True,
            read_timeout=ANSWER_SECONDS,
            ssl_disabled=NO_TLS,
        )


class PrivateMySQL(PrivateServer, MySQLServer):
    """A private server: its data is in a sandbox, and its administrator logs in over the socket only.

    A commit survives a crash of the machine, as in production: each commit flushes the
    redo log, and the binary log has its default settings.
    """

    user = USER
    password = PASSWORD
    host = "127.0.0.1"

    def __init__(self, name: str, place: Place, options: Sequence[str] = ()) -> None:
        MySQLServer.__init__(self)
        PrivateServer.__init__(self, name, place)
        self.port = free_port()
        self._options = options
        self._socket = self.sandbox.path / "mysql.sock"
        self._has_user = False

    @contextmanager
    def back_with(self, *options: str) -> Iterator[None]:
        """Restart the server with additional options for the block, and without them afterwards.

        The server is stopped, not killed. MySQL without its binary log would roll back commits that are only there.
        """
        usual = self._options
        try:
            self._start_anew([*usual, *options])
            yield
        finally:
            self._start_anew(usual)

    def _start_anew(self, options: Sequence[str]) -> None:
        if self._process is not None:
            self.stop()
        self._options = options
        self.start()

    def _prepare(self) -> None:
        self.sandbox.folder("tmp")
        program = self._place.root / self._server_options()[0].lstrip("/")
        fill(self.sandbox.folder("data"), cache_folder(), program, self._make_first_data)

    @abstractmethod
    def _make_first_data(self) -> None:
        """Fill the folder `data`."""

    @abstractmethod
    def _server_options(self) -> list[str]:
        """Return the program, and the options that only this flavour has."""

    def _launch(self) -> subprocess.Popen[bytes]:
        options = [
            *self._server_options(),
            *user_option(),
            f"--datadir={self.inside('data')}",
            f"--socket={self.inside('mysql.sock')}",
            f"--pid-file={self.inside('mysql.pid')}",
            f"--tmpdir={self.inside('tmp')}",
            f"--port={self.port}",
            f"--bind-address={self.host}",
            "--skip-name-resolve",
            "--innodb-flush-log-at-trx-commit=1",
            "--innodb-buffer-pool-size=256M",
            *self._options,
        ]
        return self.sandbox.spawn(self._argv(*options), self.log)

    def _answers(self) -> bool:
        try:
            # This check comes first, as PyMySQL leaves a socket open if it cannot connect.
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(self._socket))
            return self.query("SELECT 1") == [(1,)]
        except (OSError, pymysql.MySQLError):
            return False

    def _started(self) -> None:
        if not self._has_user:
            self._create_user(USER, PASSWORD)
            self._has_user = True

    def _connect(self, database: str | None) -> "pymysql.Connection[Any]":
        return pymysql.connect(
            unix_socket=str(self._socket),
            user="root",
            database=database,
            autocommit=True,
            init_command=self.session,
            connect_timeout=CONNECT_SECONDS,
            read_timeout=ANSWER_SECONDS,
            ssl_disabled=NO_TLS,
        )


class MariaDB(PrivateMySQL):
    """This machine's mariadbd."""

    def __init__(self, place: Place | None = None, options: Sequence[str] = ()) -> None:
        super().__init__("mariadb", place or Host(), options)

    def _make_first_data(self) -> None:
        command = [
            self._place.find("usr/bin/mariadb-install-db"),
            "--no-defaults",
            *user_option(),
            "--skip-name-resolve",
            f"--datadir={self.sandbox.folder('data')}",
            f"--tmpdir={self.sandbox.folder('tmp')}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ]
        self.sandbox.run(command, INITIALIZE_SECONDS)

    def _server_options(self) -> list[str]:
        return [self._place.find("usr/sbin/mariadbd"), "--no-defaults"]


class MySQL(PrivateMySQL):
    """The mysqld of Debian's unstable suite, in its chroot, with TLS, which is its default."""

    def __init__(self, options: Sequence[str] = ()) -> None:
        super().__init__("mysql", SidChroot(sid_root()), options)
        self.ca_path = self.sandbox.path / "data" / "ca.pem"

    def _make_first_data(self) -> None:
        options = [*self._server_options(), "--initialize-insecure", *user_option()]
        command = self._argv(*options, f"--datadir={self.inside('data')}")
        self.sandbox.run(command, INITIALIZE_SECONDS)

    def _server_options(self) -> list[str]:
        program = self._place.find("usr/sbin/mysqld")
        return [program, "--no-defaults", "--mysqlx=OFF", "--secure-file-priv="]


def private_mysql(flavour: str, options: Sequence[str] = ()) -> PrivateMySQL:
    """Return a server of flavour `debian` (MariaDB) or `sid` (MySQL), not started. `options` go to its program."""
    if flavour == "debian":
        return MariaDB(options=options)
    if flavour == "sid":
        return MySQL(options)
    raise ServerFailed(f"no MySQL server is of flavour {flavour!r}: debian or sid")


def user_option() -> list[str]:
    # The servers require this option for root, and refuse it for other users.
    return ["--user=root"] if os.geteuid() == 0 else []
