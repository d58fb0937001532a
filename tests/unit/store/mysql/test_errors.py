import pytest
from asyncmy.errors import OperationalError

from ingest.errors import BatchRefused, SchemaError, StoreError, StoreUnavailable
from ingest.store.mysql.errors import Duplicate, JsonRefused, Retry, translate

ERRORS = {
    "deadlock": (1213, Retry),
    "lock wait timeout": (1205, Retry),
    "record changed": (1020, Retry),
    "cluster refused the transaction": (3101, Retry),
    "duplicate key": (1062, Duplicate),
    "disk full": (1021, StoreUnavailable),
    "table full": (1114, StoreUnavailable),
    "out of memory": (1041, StoreUnavailable),
    "too many connections": (1040, StoreUnavailable),
    "too many connections of the user": (1203, StoreUnavailable),
    "user's limit": (1226, StoreUnavailable),
    "shutdown": (1053, StoreUnavailable),
    "connection killed": (1927, StoreUnavailable),
    "idle for too long": (4031, StoreUnavailable),
    "statement killed": (1317, StoreUnavailable),
    "read-only server": (1290, StoreUnavailable),
    "read-only transaction": (1792, StoreUnavailable),
    "read-only engine": (1836, StoreUnavailable),
    "cluster node not ready": (1047, StoreUnavailable),
    "access denied": (1045, StoreUnavailable),
    "unknown database": (1049, StoreUnavailable),
    "error during COMMIT": (1180, StoreUnavailable),
    "cannot connect": (2003, StoreUnavailable),
    "connection lost": (2013, StoreUnavailable),
    "not connected": (0, StoreUnavailable),
    "no such table": (1146, SchemaError),
    "no such column": (1054, SchemaError),
    "table changed": (1412, Retry),
    "temporary folder full": (3, StoreUnavailable),
    "file of the server not found": (29, StoreUnavailable),
    "offline": (3032, StoreUnavailable),
    "read lock of the whole server": (1223, StoreUnavailable),
    "read-only InnoDB": (1874, StoreUnavailable),
    "column access denied": (1143, StoreUnavailable),
    "no database chosen": (1046, StoreUnavailable),
    "out of time on MariaDB": (1969, StoreUnavailable),
    "invalid JSON": (3140, JsonRefused),
    "key of JSON too long": (3151, JsonRefused),
    "JSON too deep": (3157, JsonRefused),
    "read-only table, as after a recovery": (1036, BatchRefused),
    "storage engine's own": (1030, BatchRefused),
    "column without a default": (1364, BatchRefused),
    "value for NULL": (1048, BatchRefused),
    "trigger": (1644, BatchRefused),
    "column made an ENUM": (1265, BatchRefused),
    "column made shorter": (1406, BatchRefused),
    "somebody's CHECK": (3819, BatchRefused),
    "somebody's CHECK on MariaDB": (4025, BatchRefused),
    "packet too large": (1153, BatchRefused),
    "anything else": (1064, BatchRefused),
    "unknown to the server itself": (1105, BatchRefused),
}


@pytest.mark.parametrize(("number", "kind"), ERRORS.values(), ids=ERRORS)
def test_server_error_is_one_of_ours(number: int, kind: type[StoreError]) -> None:
    error = translate(OperationalError(number, "what the server says"))

    assert type(error) is kind
    assert str(error).startswith(f"MySQL error {number}: what the server says.")


def test_error_without_a_number_means_that_the_database_is_away() -> None:
    error = translate(OperationalError("Packet sequence number wrong"))

    assert type(error) is StoreUnavailable
    assert str(error) == "MySQL: Packet sequence number wrong."


def test_error_without_a_text_is_named() -> None:
    assert str(translate(ConnectionResetError())) == "MySQL: ConnectionResetError."


def test_check_of_mariadbs_json_is_about_a_rows_content() -> None:
    error = translate(OperationalError(4025, "CONSTRAINT `call_event_logs.payload` failed for `db`.`call_event_logs`"))

    assert type(error) is JsonRefused


def test_schema_error_says_what_to_do() -> None:
    assert "Run `ingest migrate`." in str(translate(OperationalError(1146, "Table 'x' doesn't exist")))


def test_rows_content_is_cut_short() -> None:
    assert len(str(translate(OperationalError(1366, "Incorrect string value: " + "x" * 5000)))) < 200


def test_server_that_wants_tls_names_the_setting() -> None:
    error = translate(OperationalError(3159, "Connections using insecure transport are prohibited."))

    assert isinstance(error, StoreUnavailable)
    assert "insecure transport are prohibited. Add ?ssl-mode=REQUIRED to INGEST_DATABASE_URL" in str(error)
