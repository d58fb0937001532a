"""The driver's errors as ours, by the server's error number."""

from ingest.errors import BatchRefused, RowRefused, SchemaError, StoreError, StoreUnavailable

# Numbers from the server error references of MySQL 8.4 and MariaDB 10.11.
RETRY = {1213, 1205, 1020, 3101}  # deadlock, lock wait timeout, record has changed, lost certification
DUPLICATE = 1062
UNAVAILABLE = {
    *(1021, 1114, 1041, 1037),  # disk or table full, out of memory
    *(1040, 1203, 1226, 1053, 1077, 1927, 4031),  # connection limits, shutdown, connection ended
    *(1317, 3169, 3024, 1969),  # statement killed, or out of the server's time for it
    *(1290, 1792, 1836, 3100, 1047),  # read-only; cluster node not ready
    *(1044, 1045, 1049, 1142, 1698, 3118, 1251),  # access: an operator can grant it
    *(1158, 1159, 1160, 1161, 1180, 1181),  # network, error during COMMIT
}
SCHEMA = {1146, 1054, 1136}
ROW = {
    *(1048, 1264, 1265, 1292, 1366, 1406, 1300),  # null, range, truncation, invalid string
    *(3140, 3141, 3143, 3144, 3150, 3151, 3157, 4025, 3819),  # invalid JSON, long key, too deep; CHECK failed
    1153,  # larger than max_allowed_packet
}
OF_THE_CLIENT = range(2000, 3000)
"""The driver's own numbers: it could not connect, or lost the connection."""


class Retry(StoreError):
    """The transaction lost against another and was rolled back; the same again may succeed."""


class Duplicate(StoreError):
    """A row with this key exists."""


def translate(exc: Exception) -> StoreError:
    """The driver's exception as one of ours."""
    number = exc.args[0] if exc.args and isinstance(exc.args[0], int) else 0
    text = sentence(exc)
    if number in RETRY:
        return Retry(text)
    if number == DUPLICATE:
        return Duplicate(text)
    if number in ROW:
        return RowRefused(text)
    if number in SCHEMA:
        return SchemaError(f"{text} Run `ingest migrate`.")
    if number in UNAVAILABLE or number == 0 or number in OF_THE_CLIENT:
        return StoreUnavailable(text)
    return BatchRefused(text)  # unknown to us: one row may be the cause, and must not fail the others for ever


def sentence(exc: BaseException) -> str:
    """For people. Server messages may quote a row's content, so they are cut short."""
    if len(exc.args) > 1 and isinstance(exc.args[0], int):
        return f"MySQL error {exc.args[0]}: {str(exc.args[1])[:160]}."
    return f"MySQL: {str(exc)[:160] or type(exc).__name__}."
