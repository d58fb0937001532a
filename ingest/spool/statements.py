"""The spool's tables on SQLite, and what is asked of them."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS spool (
    first_id INTEGER PRIMARY KEY, count INTEGER NOT NULL, lease_until INTEGER, batch BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS spool_lease_until ON spool (lease_until);
CREATE TABLE IF NOT EXISTS keys (digest BLOB PRIMARY KEY, fingerprint BLOB NOT NULL, event_id INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS keys_event_id ON keys (event_id);
CREATE TABLE IF NOT EXISTS refused (first_id INTEGER PRIMARY KEY, count INTEGER NOT NULL, reason TEXT NOT NULL,
    batch BLOB NOT NULL);
"""
"""Created by the worker itself: a spool must work where nobody can run `ingest migrate`. Lease in Unix ms."""
INSERT = "INSERT INTO spool (first_id, count, lease_until, batch) VALUES (?, ?, ?, ?) ON CONFLICT (first_id) DO NOTHING"
SETTLE = "UPDATE spool SET lease_until = NULL WHERE first_id = ?"
CLAIMABLE = "SELECT first_id FROM spool WHERE lease_until <= ? ORDER BY lease_until, first_id LIMIT ?"
LEASE = "UPDATE spool SET lease_until = ? WHERE first_id = ? AND lease_until IS NOT NULL"
READ = "SELECT first_id, batch FROM spool WHERE first_id = ?"
OLDEST = """SELECT first_id, count, lease_until, CAST(batch AS BLOB) FROM spool
    WHERE lease_until IS NULL OR lease_until <= ? ORDER BY first_id LIMIT ?"""
NEVER = -1
"""A time before every lease's end."""
ALL = "SELECT first_id, count, lease_until, CAST(batch AS BLOB) FROM spool WHERE first_id > ? ORDER BY first_id LIMIT ?"
ALL_REFUSED = "SELECT first_id, count, reason, CAST(batch AS BLOB) FROM refused ORDER BY first_id"
FREE = "UPDATE spool SET lease_until = 0 WHERE lease_until IS NOT NULL"
REMOVE = "DELETE FROM spool WHERE first_id = ?"
REFUSE = "INSERT OR REPLACE INTO refused (first_id, count, reason, batch) VALUES (?, ?, ?, ?)"
USAGE = "SELECT COUNT(*), COALESCE(SUM(count), 0), COALESCE(SUM(LENGTH(batch)), 0) FROM spool"
FIRST = "SELECT MIN(first_id) FROM spool"
REFUSED = "SELECT COALESCE(SUM(count), 0) FROM refused"
