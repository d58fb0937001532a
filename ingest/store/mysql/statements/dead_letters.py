"""SQL of dead letters."""

from ingest.events.batch import Batch
from ingest.outbox.base import COUNTED_MAX
from ingest.outbox.dead_letters import packed_singly
from ingest.store.mysql.statements.literals import quoted

ADD = b"INSERT IGNORE INTO ingest_dead_letters (event_id, reason, died_time, batch) VALUES "
READ = (
    b"SELECT event_id, reason, TIMESTAMPDIFF(MICROSECOND, '1970-01-01', died_time), batch "
    b"FROM ingest_dead_letters WHERE event_id > %d ORDER BY event_id LIMIT %d"
)
COUNT = b"SELECT COUNT(*) FROM (SELECT 1 FROM ingest_dead_letters LIMIT %d) AS counted" % COUNTED_MAX
REQUEUE = (
    b"INSERT INTO ingest_outbox (first_id, count, lease_until, batch) "
    b"SELECT event_id, 1, UTC_TIMESTAMP(6), batch FROM ingest_dead_letters WHERE event_id IN (%b)"
)
DROP = b"DELETE FROM ingest_dead_letters WHERE event_id IN (%b)"


def add(batch: Batch, reason: str) -> bytes:
    """Add each event of the batch as a dead letter."""
    why = quoted(reason.encode())
    rows = (
        b"(%d,%b,UTC_TIMESTAMP(6),_binary%b)" % (event_id, why, quoted(packed))
        for event_id, packed in packed_singly(batch)
    )
    return ADD + b",".join(rows)
