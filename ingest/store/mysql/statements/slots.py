"""SQL of id slots."""

FREE_SLOT = (
    b"SELECT slot, floor_ms FROM ingest_slots WHERE lease_until < UTC_TIMESTAMP(6) AND slot < %d AND floor_ms <= %d "
    b"ORDER BY lease_until LIMIT 1 FOR UPDATE SKIP LOCKED"
)
NEXT_SLOT = b"SELECT COALESCE(MAX(slot) + 1, 0) FROM ingest_slots"
NEW_SLOT = (
    b"INSERT INTO ingest_slots (slot, node, life, lease_until, floor_ms) "
    b"VALUES (%d, %s, %s, UTC_TIMESTAMP(6) + INTERVAL %d MICROSECOND, 0)"
)
TAKE_SLOT = (
    b"UPDATE ingest_slots SET node = %s, life = %s, lease_until = UTC_TIMESTAMP(6) + INTERVAL %d MICROSECOND "
    b"WHERE slot = %d"
)
RENEW_SLOT = (
    b"UPDATE ingest_slots SET lease_until = UTC_TIMESTAMP(6) + INTERVAL %d MICROSECOND, "
    b"floor_ms = GREATEST(floor_ms, %d), life = %s WHERE slot = %d AND node = %s AND life IN (%s, %s)"
)
