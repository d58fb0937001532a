"""Translates the driver's errors to those of the service, by the server's error number.

A number that is not listed becomes a `BatchRefused`, which does not blame a row by itself. The blame is proven only if
the database commits another row meanwhile. So an unknown error counts as an outage.
"""

from ingest.errors import BatchRefused, SchemaError, StoreError, StoreUnavailable

# Numbers from the server error references of MySQL 9.7 and MariaDB 10.11.
RETRY = {1213, 1205, 1020, 1412, 3101}  # deadlock, lock wait timeout, record or table changed, lost certification
DUPLICATE = 1062
UNAVAILABLE = {
    *(1021, 1114, 1041, 1037, 1038),  # disk or table full, out of memory
    *(1040, 1203, 1226, 1053, 1077, 1927, 3032, 4031),  # connection limits, shutdown, offline, connection ended
    *(1317, 3169, 3024, 1969),  # statement killed, or out of the server's time for it
    *(1223, 1290, 1792, 1836, 1874, 3100, 1047),  # read lock or read-only; cluster node not ready
    *(1044, 1045, 1046, 1049, 1142, 1143, 1227, 1698, 3118, 1251, 3159),  # access: an operator can grant it
    *(1158, 1159, 1160, 1161, 1180, 1181),  # network, error during COMMIT
}
HINTS = {3159: " Add ?ssl-mode=REQUIRED to INGEST_DATABASE_URL."}
"""The advice for an operator, by error number."""
SCHEMA = {1146, 1054, 1136}
JSON = {3140, 3150, 3151, 3157}  # not valid, too large, key too long, too deep
CHECK_OF_COLUMN = 4025
"""MariaDB's JSON type is a text with `CHECK (json_valid(payload))`. The service makes no other CHECK."""
OF_FILES = range(1, 1000)
"""Errors of the server's own files, such as a full temporary folder."""
OF_THE_CLIENT = range(2000, 3000)
"""The driver's own errors: it could not connect, or lost the connection."""


class Retry(StoreError):
    """A conflict with another transaction rolled this one back. A retry may succeed."""


class Duplicate(StoreError):
    """A row with this key exists."""


class TooLarge(BatchRefused):
    """The statement is larger than the server's `max_allowed_packet`."""

    def __init__(self, size: int, bytes_max: int) -> None:
        super().__init__(f"A statement of {size} bytes is larger than max_allowed_packet, {bytes_max}.")
        self.bytes_max = bytes_max


class JsonRefused(BatchRefused):
    """The server refuses the JSON of some row. The error does not name the row, but `JSON_VALID` may find it."""


def translate(exc: Exception) -> StoreError:
    number = exc.args[0] if exc.args and isinstance(exc.args[0], int) else 0
    text = sentence(exc)
    if number in RETRY:
        return Retry(text)
    if number == DUPLICATE:
        return Duplicate(text)
    if number in JSON or (number == CHECK_OF_COLUMN and ".payload`" in text):
        return JsonRefused(text)
    if number in SCHEMA:
        return SchemaError(f"{text} Run `ingest migrate`.")
    if number in UNAVAILABLE or number == 0 or number in OF_FILES or number in OF_THE_CLIENT:
        return StoreUnavailable(text)
    return BatchRefused(text)


def sentence(exc: BaseException) -> str:
    """A message for operators. It is cut short, because the server may quote a row's content."""
    if len(exc.args) > 1 and isinstance(exc.args[0], int):
        return f"MySQL error {exc.args[0]}: {str(exc.args[1])[:160].rstrip('.')}.{HINTS.get(exc.args[0], '')}"
    return f"MySQL: {str(exc)[:160] or type(exc).__name__}."
