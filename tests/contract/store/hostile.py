"""A server of its own, on which every setting differs as much as possible from the default, for all clients.

The service's user may not change the server: `init_connect` is run for it, and privileged variables stay as they are.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pymysql
import pytest

from tests.contract.store.stores import MySQL
from tests.services import MySQLServer, mysql_server

START_OPTIONS = ("--innodb-rollback-on-timeout=ON", "--log-bin=binlog", "--server-id=1")
ADMINISTRATOR = (
    "SET SESSION sql_mode = '', sql_select_limit = 18446744073709551615, sql_safe_updates = 0, completion_type = 0,"
    " autocommit = 1, sql_big_selects = 1, time_zone = '+00:00',"
    " wait_timeout = 28800, lock_wait_timeout = 60 /*M! , tx_read_only = 0, max_statement_time = 0 */"
    " /*!80000 , transaction_read_only = 0, max_execution_time = 0 */"
)
"""Settings that the tests themselves need."""
INIT_CONNECT = "SET SESSION autocommit = 0"
GLOBALS: Mapping[str, str] = {
    "completion_type": "'CHAIN'",
    "transaction_read_only": "1",
    "tx_read_only": "1",
    "transaction_isolation": "'SERIALIZABLE'",
    "tx_isolation": "'SERIALIZABLE'",
    "innodb_lock_wait_timeout": "1000000",
    "lock_wait_timeout": "1",
    # These are short for a service, and longer than a busy machine stops a client at times.
    "wait_timeout": "6",
    "interactive_timeout": "6",
    "net_read_timeout": "6",
    "net_write_timeout": "6",
    "max_statement_time": "0.0001",
    "max_execution_time": "1",
    "sql_select_limit": "1",
    "max_join_size": "1",
    "sql_big_selects": "0",
    "sql_safe_updates": "1",
    "sql_auto_is_null": "1",
    "sql_quote_show_create": "0",
    "foreign_key_checks": "0",
    "unique_checks": "0",
    "check_constraint_checks": "0",
    "sql_require_primary_key": "1",
    "innodb_force_primary_key": "1",
    "explicit_defaults_for_timestamp": "0",
    "default_storage_engine": "'MyISAM'",
    "innodb_default_row_format": "'redundant'",
    "innodb_strict_mode": "0",
    "character_set_server": "'latin1'",
    "character_set_client": "'latin1'",
    "character_set_connection": "'latin1'",
    "character_set_results": "'latin1'",
    "collation_connection": "'latin1_german1_ci'",
    "time_zone": "'+05:30'",
    "lc_time_names": "'ja_JP'",
    "lc_messages": "'de_DE'",
    "group_concat_max_len": "4",
    "div_precision_increment": "0",
    "max_sort_length": "64",
    "sort_buffer_size": "32768",
    "tmp_table_size": "1024",
    "big_tables": "1",
    "alter_algorithm": "'INSTANT'",
    "old_mode": "'NO_DUP_KEY_WARNINGS_WITH_IGNORE,ZERO_DATE_TIME_CAST'",
    "session_track_schema": "1",
    "session_track_state_change": "1",
    "session_track_system_variables": "'*'",
    "session_track_transaction_info": "'CHARACTERISTICS'",
    "sql_mode": "'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,PAD_CHAR_TO_FULL_LENGTH,IGNORE_SPACE,"
    "HIGH_NOT_PRECEDENCE,NO_UNSIGNED_SUBTRACTION,REAL_AS_FLOAT'",
}
"""The settings as SQL. Settings that a server does not have are left out."""
ON_EVERY_SERVER = {"completion_type", "sql_select_limit", "sql_mode", "wait_timeout", "innodb_default_row_format"}


class HostileMySQL(MySQL):
    """A database whose own character set is hostile too."""

    def __init__(self, server: MySQLServer) -> None:
        super().__init__(server)
        self.query(f"ALTER DATABASE {self.name} CHARACTER SET latin1")


@contextmanager
def hostile_mysql_server(init_connect: str = INIT_CONNECT) -> Iterator[MySQLServer]:
    with mysql_server(*START_OPTIONS) as server:
        if not server.controllable:
            pytest.skip("INGEST_TEST_MYSQL_URL names a server whose settings are not the tests' to change")
        name, password = server.fresh_user()
        server.query(f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM '{name}'@'%'")
        server.query(f"GRANT ALL PRIVILEGES ON `ingest\\_%`.* TO '{name}'@'%'")
        server.user, server.password = name, password
        server.session = ADMINISTRATOR
        there = {row[0].lower() for row in server.query("SHOW GLOBAL VARIABLES")}
        assert there >= ON_EVERY_SERVER
        # One statement: a connection of its own for each setting would take 3 s of CPU time.
        values = {variable: GLOBALS[variable] for variable in sorted(GLOBALS.keys() & there)}
        server.query("SET " + ", ".join(f"GLOBAL {variable} = {value}" for variable, value in values.items()))
        server.query(f"SET GLOBAL init_connect = '{init_connect}'")
        yield server


def make(server: MySQLServer, variable: str, value: str) -> None:
    try:
        server.query(f"SET GLOBAL {variable} = {value}")
    except pymysql.MySQLError as exc:
        raise AssertionError(f"{variable} cannot be made {value}") from exc
