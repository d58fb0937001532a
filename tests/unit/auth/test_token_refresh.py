"""A worker refreshes its tokens from the database, and counts the events of each client."""

import asyncio
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from ingest.auth.authenticator import Authenticator
from ingest.auth.readers import Readers
from ingest.auth.token_refresh import LABELS_MAX, OTHERS, TokenRefresher
from ingest.auth.tokens import Token, digest_of
from ingest.files.atomic import replace_file
from ingest.telemetry.metrics import UNKNOWN, Metrics
from tests.unit.conftest import Sample
from tests.unit.fakes import FakeClock, FakeTokens

SECRET = "a-secret"


class Refreshed:
    def __init__(self, table: FakeTokens, file: Path, clock: FakeClock, metrics: Metrics) -> None:
        self.authenticator = Authenticator([], clock.monotonic)
        self.readers = Readers()
        self.refresher = TokenRefresher(table, self.authenticator, self.readers, file, metrics, clock.now_us)


@pytest.fixture
def table() -> FakeTokens:
    return FakeTokens(Token(digest_of(SECRET), "pbx", created_us=0))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "run" / "tokens"


@pytest.fixture
def refreshed(table: FakeTokens, file: Path, clock: FakeClock, metrics: Metrics) -> Refreshed:
    return Refreshed(table, file, clock, metrics)


async def test_tokens_of_the_database_are_valid_until_they_are_revoked(refreshed: Refreshed, table: FakeTokens) -> None:
    await refreshed.refresher.refresh()
    assert refreshed.authenticator.client_of(SECRET)

    table.held = ()
    await refreshed.refresher.refresh()
    assert refreshed.authenticator.client_of(SECRET) is None


async def test_token_that_reads_does_not_post_and_one_that_posts_does_not_read(
    refreshed: Refreshed, table: FakeTokens
) -> None:
    table.held = [
        Token(digest_of(SECRET), "pbx", created_us=0),
        Token(digest_of("reads"), "alice", created_us=0, scope="read-numbers,operate"),
        Token(digest_of("of a later version"), "bob", created_us=0, scope="other"),
    ]
    await refreshed.refresher.refresh()

    assert refreshed.authenticator.client_of("reads") is None
    assert refreshed.readers.reader_of(SECRET) is None
    assert refreshed.readers.reader_of(None) is None
    reader = refreshed.readers.reader_of("reads")
    assert reader
    assert (reader.name, sorted(reader.scopes)) == ("alice", ["operate", "read", "read-numbers"])
    unknown = refreshed.readers.reader_of("of a later version")
    assert refreshed.authenticator.client_of("of a later version") is None
    assert unknown
    assert not unknown.scopes


async def test_token_expires_while_the_database_is_down(
    refreshed: Refreshed, table: FakeTokens, clock: FakeClock
) -> None:
    table.held = [Token(digest_of(SECRET), "pbx", created_us=0, expires_us=clock.us + 1_000_000)]
    await refreshed.refresher.refresh()
    table.held = None
    await refreshed.refresher.refresh()
    assert refreshed.authenticator.client_of(SECRET)

    clock.advance(1)
    await refreshed.refresher.refresh()
    assert refreshed.authenticator.client_of(SECRET) is None


async def test_worker_that_starts_without_the_database_uses_the_saved_tokens(
    refreshed: Refreshed, file: Path, clock: FakeClock
) -> None:
    await refreshed.refresher.refresh()

    successor = Refreshed(FakeTokens(), file, clock, Metrics(CollectorRegistry()))
    successor.refresher.load()

    assert successor.authenticator.client_of(SECRET)
    assert mode_of(file) == 0o600


def mode_of(file: Path) -> int:
    return file.stat().st_mode & 0o777


def exists(file: Path) -> bool:
    return file.exists()


def content_of(file: Path) -> bytes:
    return file.read_bytes()


@pytest.mark.parametrize("content", [None, b"", b"\xc1", b"\x91\x92\xc4\x00\xa1\xff"])
def test_missing_or_damaged_file_has_no_tokens(refreshed: Refreshed, file: Path, content: bytes | None) -> None:
    if content is not None:
        file.parent.mkdir()
        file.write_bytes(content)

    refreshed.refresher.load()

    assert refreshed.authenticator.client_of(SECRET) is None


def test_file_that_cannot_be_opened_has_no_tokens(refreshed: Refreshed, file: Path) -> None:
    file.mkdir(parents=True)

    refreshed.refresher.load()

    assert refreshed.authenticator.client_of(SECRET) is None


def test_tokens_are_saved_as_soon_as_possible(refreshed: Refreshed, file: Path) -> None:
    file.mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        asyncio.run(refreshed.refresher.refresh())
    assert refreshed.authenticator.client_of(SECRET)
    file.rmdir()

    asyncio.run(refreshed.refresher.refresh())

    assert file.read_bytes()


async def test_metrics_follow_the_counts_of_clients(refreshed: Refreshed, sample: Sample) -> None:
    await refreshed.refresher.refresh()
    client = refreshed.authenticator.client_of(SECRET)
    assert client
    client.events, client.limited = 5, 2
    refreshed.refresher.count()
    client.events = 6
    refreshed.refresher.count()

    assert sample("ingest_token_events_total", token="pbx") == 6
    assert sample("ingest_token_limited_total", token="pbx") == 2


async def test_count_of_a_client_continues_after_its_tokens_were_revoked(
    refreshed: Refreshed, table: FakeTokens, sample: Sample
) -> None:
    held = table.held
    for events in (5, 3):
        table.held = held
        await refreshed.refresher.refresh()
        client = refreshed.authenticator.client_of(SECRET)
        assert client
        client.events += events
        refreshed.refresher.count()
        table.held = []
        await refreshed.refresher.refresh()

    refreshed.refresher.count()

    assert sample("ingest_token_events_total", token="pbx") == 8


async def test_clients_beyond_the_limit_share_a_series(refreshed: Refreshed, table: FakeTokens, sample: Sample) -> None:
    names = [f"pbx-{number}" for number in range(LABELS_MAX + 5)]
    table.held = [Token(digest_of(name), name, created_us=0) for name in names]
    await refreshed.refresher.refresh()
    for name in names:
        client = refreshed.authenticator.client_of(name)
        assert client
        client.events += 1
    refreshed.refresher.count()

    labelled = sum(sample("ingest_token_events_total", token=name) or 0 for name in names)
    assert labelled + (sample("ingest_token_events_total", token=OTHERS) or 0) == len(names)
    assert sample("ingest_token_events_total", token=OTHERS) == 6


async def test_time_of_the_last_event_follows_the_clients_events(
    refreshed: Refreshed, sample: Sample, clock: FakeClock
) -> None:
    await refreshed.refresher.refresh()
    client = refreshed.authenticator.client_of(SECRET)
    assert client
    refreshed.refresher.count()
    assert last_event(sample) == 0

    client.events += 1
    refreshed.refresher.count()
    posted = clock.us / 1e6
    clock.advance(60)
    client.limited += 1  # a refused request is no event
    refreshed.refresher.count()

    assert last_event(sample) == posted


async def test_time_of_the_last_event_is_hidden_without_a_valid_token(
    refreshed: Refreshed, table: FakeTokens, sample: Sample, clock: FakeClock
) -> None:
    held = table.held
    await refreshed.refresher.refresh()
    client = refreshed.authenticator.client_of(SECRET)
    assert client
    client.events += 1
    refreshed.refresher.count()
    table.held = ()
    await refreshed.refresher.refresh()
    refreshed.refresher.count()
    assert last_event(sample) == UNKNOWN

    table.held = held
    await refreshed.refresher.refresh()
    refreshed.refresher.count()
    assert last_event(sample) == clock.us / 1e6


def last_event(sample: Sample) -> float:
    return sample("ingest_token_last_event_seconds", token="pbx")


async def test_events_without_a_source_are_the_apis(refreshed: Refreshed, sample: Sample, metrics: Metrics) -> None:
    await refreshed.refresher.refresh()
    client = refreshed.authenticator.client_of(SECRET)
    assert client
    client.events += 3
    metrics.callers.of_sources["asterisk"] += 1
    refreshed.refresher.count()

    assert sample("ingest_events_by_client_total", client="api") == 2
    assert sample("ingest_events_by_client_total", client="asterisk") == 1


async def test_file_that_a_late_worker_wrote_with_older_tokens_is_mended(
    refreshed: Refreshed, table: FakeTokens, file: Path
) -> None:
    await refreshed.refresher.refresh()
    older = content_of(file)
    table.held = [Token(digest_of("newer"), "pbx", created_us=0)]
    await refreshed.refresher.refresh()
    newer = content_of(file)
    replace_file(file, older)

    await refreshed.refresher.refresh()

    assert content_of(file) == newer


async def test_worker_that_cannot_read_the_database_leaves_newer_tokens_in_the_file(
    refreshed: Refreshed, table: FakeTokens, file: Path
) -> None:
    await refreshed.refresher.refresh()
    table.held = None
    replace_file(file, b"of a worker that could read it")

    await refreshed.refresher.refresh()

    assert content_of(file) == b"of a worker that could read it"


async def test_file_says_that_there_are_no_tokens_once_the_database_has_said_so(
    refreshed: Refreshed, table: FakeTokens, file: Path
) -> None:
    table.held = None
    await refreshed.refresher.refresh()
    assert not exists(file)

    table.held = ()
    await refreshed.refresher.refresh()

    assert exists(file)
