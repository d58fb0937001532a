"""The server's errors, with the driver's classes."""

import asyncmy.errors

LOST = 2013
DEADLOCK = 1213
LOCK_WAIT = 1205
DUPLICATE = 1062
INTEGRITY = {DUPLICATE, 1048}

TEXTS = {
    1020: "Record has changed since last read in table 'ingest_outbox'",
    1021: "Disk full (/tmp); waiting for someone to free some space...",
    1040: "Too many connections",
    1044: "Access denied for user 'ingest'@'%' to database '{}'",
    1045: "Access denied for user 'ingest'@'%' (using password: YES)",
    1046: "No database selected",
    1048: "Column '{}' cannot be null",
    1049: "Unknown database '{}'",
    1050: "Table '{}' already exists",
    1051: "Unknown table '{}'",
    1053: "Server shutdown in progress",
    1054: "Unknown column '{}' in '{}'",
    1060: "Duplicate column name '{}'",
    1061: "Duplicate key name '{}'",
    1062: "Duplicate entry '{}' for key '{}'",
    1064: "You have an error in your SQL syntax near '{}'",
    1105: "Unknown error",
    1114: "The table '{}' is full",
    1136: "Column count doesn't match value count at row {}",
    1142: "INSERT command denied to user 'ingest'@'%' for table '{}'",
    1146: "Table '{}' doesn't exist",
    1205: "Lock wait timeout exceeded; try restarting transaction",
    1213: "Deadlock found when trying to get lock; try restarting transaction",
    1264: "Out of range value for column '{}' at row {}",
    1290: "The MySQL server is running with the --read-only option so it cannot execute this statement",
    1292: "Incorrect {} value: '{}' for column '{}' at row {}",
    1317: "Query execution was interrupted",
    1364: "Field '{}' doesn't have a default value",
    1366: "Incorrect {} value: '{}' for column '{}' at row {}",
    1406: "Data too long for column '{}' at row {}",
    1526: "Table has no partition for value {}",
    1736: "Tables have different definitions",
    1737: "Found a row that does not match the partition",
    1836: "Running in read-only mode",
    2002: "Can't connect to server on '{}'",
    2003: "Can't connect to MySQL server on '{}'",
    2006: "MySQL server has gone away",
    2013: "Lost connection to MySQL server during query",
    3140: "Invalid JSON text: \"Invalid value.\" at position 0 in value for column '{}'.",
    3572: "Statement aborted because lock(s) could not be acquired immediately and NOWAIT is set.",
    4025: "CONSTRAINT `{}` failed for `{}`.`{}`",
}
"""Where the two servers differ, this is MariaDB's text. The service reads no text but that of 4025."""


SOME_NAMES = ("call_event_logs",) * 4
"""For texts that name something, if nobody says what."""


class Unsupported(AssertionError):
    """The service uses SQL that the model does not know. It is no fault of the service."""


def error(number: int, *values: object) -> asyncmy.errors.MySQLError:
    """An error of this number. The service tells errors apart by their number alone."""
    text = TEXTS.get(number, "Unknown error").format(*values, *SOME_NAMES)
    kind = asyncmy.errors.IntegrityError if number in INTEGRITY else asyncmy.errors.OperationalError
    made: asyncmy.errors.MySQLError = kind(number, text)
    return made
