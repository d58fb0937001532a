"""Numbers in the documents are those of the code."""

import datetime
import random
import re
import tracemalloc

import pytest

from docs.consumer import REMEMBERED_MAX, Seen
from ingest.auth import rate_limit
from ingest.broker import target_record
from ingest.broker.stream import partitions, search
from ingest.cli.erase.command import PAUSE_SECONDS, WAIT_SECONDS
from ingest.cli.send import waiting
from ingest.cli.send.records import sender
from ingest.cli.tail import command as tail
from ingest.clock import CLOCKS_APART_SECONDS_MAX
from ingest.erasure.matcher import LONG_DIGITS
from ingest.erasure.run import PAGE_ROWS
from ingest.erasure.tombstone import IDS_MAX
from ingest.events import ids, json_limits
from ingest.events.batch_codec import pack
from ingest.events.event import Event
from ingest.http.direct import limits
from ingest.ordering import deferred, originals
from ingest.retention.archive.folder import FREE_BYTES_MIN
from ingest.retention.partitions import AHEAD_DAYS
from ingest.server import granian
from ingest.spool.records import RECORD_BYTES
from ingest.store.mysql import order
from ingest.store.mysql.laravel import options
from ingest.store.mysql.partitioning.erasing import STATEMENT_SECONDS
from tests.paths import ROOT
from tests.unit.making import batch, event

FIGURES = (
    ("docs/consumers.md", "has up to {} digits", len(str(ids.ID_MAX))),
    ("docs/consumers.md", "at most {:,} messages", tail.HELD_MAX),
    ("docs/idempotency.md", "pauses of at most {:g} s", waiting.PAUSE_SECONDS_MAX),
    ("docs/idempotency.md", "written within the last {:g} s", sender.QUIET_SECONDS),
    ("docs/idempotency.md", "lists the folder every {:g} s", sender.WATCH_SECONDS),
    ("docs/migrate-from-laravel.md", "rows follow in chunks of {:,}", options.Options().chunk_rows),
    ("docs/migrate-from-laravel.md", "`--reserved-seconds`: {} s", options.RESERVED_SECONDS),
    ("docs/mysql.md", "the service takes {}", json_limits.DEPTH_MAX),
    ("docs/mysql.md", "no number with more than {} digits", json_limits.DIGITS_MAX),
    ("docs/mysql.md", "no key above {:,} bytes", json_limits.KEY_BYTES_MAX),
    ("docs/operations.md", "`INGEST_DRAIN_TIMEOUT_SECONDS` + {} s", granian.KILL_MARGIN_SECONDS),
    ("docs/operations.md", "a head that takes longer than {:g} s | 408", limits.HEAD_SECONDS),
    ("docs/operations.md", "a head above {} KiB", limits.HEAD_BYTES_MAX >> 10),
    ("docs/operations.md", "a target above {} KiB", limits.TARGET_BYTES_MAX >> 10),
    ("docs/operations.md", "no worker with the old ones for {:g} s", target_record.LIVE_SECONDS),
    ("docs/retention.md", "partitions for the next {} days", AHEAD_DAYS),
    ("docs/erasure.md", "a number of {} or more digits", LONG_DIGITS),
    ("docs/erasure.md", "rows are deleted, {} at a time", IDS_MAX),
    ("docs/erasure.md", "After each {} rows", PAGE_ROWS),
    ("docs/erasure.md", "the command rests {:g} s", PAUSE_SECONDS),
    ("docs/erasure.md", "(`--wait`, {:g} s)", WAIT_SECONDS),
    ("docs/erasure.md", "statement after {} s", STATEMENT_SECONDS),
    ("docs/consumers.md", "(their `message_id`), at most {}", IDS_MAX),
    ("docs/retention.md", "bytes and {} MiB are free", FREE_BYTES_MIN >> 20),
    ("docs/retention.md", "differs from it by more than {:g} s", CLOCKS_APART_SECONDS_MAX),
    ("docs/streams.md", "seed {}", partitions.SEED),
    ("docs/ordering.md", "not confirmed within {:g} s", deferred.PATIENCE_SECONDS),
    ("docs/ordering.md", "outbox. After {:g} s, the worker switches", originals.PATIENCE_SECONDS),
    ("docs/ordering.md", "during the first {:g} s", deferred.LONG_PATIENCE_SECONDS),
    ("docs/ordering.md", "does not answer for {:g} s, the worker is alone", deferred.ALONE_SECONDS),
    ("docs/ordering.md", "holds off commits for at most {:g} s", order.LAST_SECONDS),
    ("docs/ordering.md", "It begins {:g} s before the event", search.MARGIN_MS / 1000),
    ("docs/ordering.md", "it begins {:g} minutes before", search.WIDE_MARGIN_MS / 60_000),
    ("docs/tokens.md", "use of rates every {:g} s", rate_limit.SHARE_SECONDS),
    ("SECURITY.md", "may idle ({:g} s)", limits.IDLE_SECONDS),
)
SPOOL = re.compile(r"(\d+) bytes an event that comes alone, and (\d+) in a batch of (\d+)")
ABOUT = 0.2


def text_of(document: str) -> str:
    return " ".join((ROOT / document).read_text("utf-8").split())


@pytest.mark.parametrize(("document", "text", "value"), FIGURES)
def test_a_figure_is_that_of_the_code(document: str, text: str, value: float) -> None:
    assert text.format(value) in text_of(document)


def call_events(count: int) -> list[Event]:
    """Events of different calls, at a fixed seed: batches of equal events would compress too well."""
    chance = random.Random(7)
    begin = datetime.datetime(2025, 1, 31, 13, 45)
    return [
        event(
            f"{chance.getrandbits(56):014x}@pbx.example.com",
            from_number=f"+1555{chance.randrange(10**7):07d}",
            to_number=f"+1555{chance.randrange(10**7):07d}",
            timestamp=f"{(begin + datetime.timedelta(seconds=chance.randrange(600))).isoformat()}Z",
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("document", ["docs/spool.md", "docs/runbooks.md"])
def test_the_room_of_an_event_in_the_spool_is_measured(document: str) -> None:
    found = SPOOL.findall(text_of(document))
    assert found
    for alone, together, count in found:
        for documented, events in ((int(alone), 1), (int(together), int(count))):
            size = (len(pack(batch(call_events(events)))) + RECORD_BYTES) / events
            assert documented == pytest.approx(size, rel=ABOUT)


def test_the_memory_of_the_example_is_measured() -> None:
    (documented,) = re.findall(r"Ids; they take about (\d+) MB", text_of("docs/consumer.py"))
    count = 100_000
    tracemalloc.start()
    try:
        seen = Seen()
        for number in range(count):
            seen.add(str(ids.ID_MAX - number))
        size = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert int(documented) == pytest.approx(size / count * REMEMBERED_MAX / 1e6, rel=ABOUT)
