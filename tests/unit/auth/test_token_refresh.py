"""How a worker comes to know the database's tokens, and what it tells of them."""

import asyncio
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from ingest.auth.authenticator import Authenticator
from ingest.auth.token_refresh import LABELS_MAX, OTHERS, TokenRefresher
from ingest.auth.tokens import Token, digest_of
from ingest.telemetry.metrics import Metrics
from tests.unit.conftest import Sample
from tests.unit.fakes import FakeClock, FakeTokens

SECRET = "a-secret"


class Watched:
    def __init__(self, table: FakeTokens, file: Path, clock: FakeClock, metrics: Metrics) -> None:
        self.authenticator = Authenticator([], clock.monotonic)
        self.refresher = TokenRefresher(table, self.authenticator, file, metrics, clock.now_us)


@pytest.fixture
def table() -> FakeTokens:
    return FakeTokens(Token(digest_of(SECRET), "pbx", created_us=0))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "run" / "tokens"


@pytest.fixture
def watched(table: FakeTokens, file: Path, clock: FakeClock, metrics: Metrics) -> Watched:
    return Watched(table, file, clock, metrics)


async def test_tokens_of_the_database_are_valid_and_withdrawn_ones_are_not(watched: Watched, table: FakeTokens) -> None:
    await watched.refresher.refresh()
    assert watched.authenticator.client_of(SECRET)

    table.held = ()
    await watched.refresher.refresh()
    assert watched.authenticator.client_of(SECRET) is None


async def test_token_expires_also_while_the_database_is_away(
    watched: Watched, table: FakeTokens, clock: FakeClock
) -> None:
    table.held = [Token(digest_of(SECRET), "pbx", created_us=0, expires_us=clock.us + 1_000_000)]
    await watched.refresher.refresh()
    table.held = None
    await watched.refresher.refresh()
    assert watched.authenticator.client_of(SECRET)

    clock.advance(1)
    await watched.refresher.refresh()
    assert watched.authenticator.client_of(SECRET) is None


async def test_worker_that_starts_without_the_database_knows_the_last_ones(
    watched: Watched, file: Path, clock: FakeClock
) -> None:
    await watched.refresher.refresh()

    successor = Watched(FakeTokens(), file, clock, Metrics(CollectorRegistry()))
    successor.refresher.load()

    assert successor.authenticator.client_of(SECRET)
    assert mode_of(file) == 0o600


def mode_of(file: Path) -> int:
    return file.stat().st_mode & 0o777


@pytest.mark.parametrize("content", [None, b"", b"\xc1", b"\x91\x92\xc4\x00\xa1\xff"])
def test_nothing_readable_remembered_is_nobody_known(watched: Watched, file: Path, content: bytes | None) -> None:
    if content is not None:
        file.parent.mkdir()
        file.write_bytes(content)

    watched.refresher.load()

    assert watched.authenticator.client_of(SECRET) is None


def test_what_cannot_be_opened_is_nobody_known(watched: Watched, file: Path) -> None:
    file.mkdir(parents=True)

    watched.refresher.load()

    assert watched.authenticator.client_of(SECRET) is None


def test_tokens_are_remembered_as_soon_as_that_works(watched: Watched, file: Path) -> None:
    file.mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        asyncio.run(watched.refresher.refresh())
    assert watched.authenticator.client_of(SECRET)
    file.rmdir()

    asyncio.run(watched.refresher.refresh())

    assert file.read_bytes()


async def test_metrics_follow_what_was_sent(watched: Watched, sample: Sample) -> None:
    await watched.refresher.refresh()
    client = watched.authenticator.client_of(SECRET)
    assert client
    client.events, client.limited = 5, 2
    watched.refresher.count()
    client.events = 6
    watched.refresher.count()

    assert sample("ingest_token_events_total", token="pbx") == 6
    assert sample("ingest_token_limited_total", token="pbx") == 2


async def test_name_whose_tokens_were_withdrawn_counts_on_when_it_has_new_ones(
    watched: Watched, table: FakeTokens, sample: Sample
) -> None:
    held = table.held
    for events in (5, 3):
        table.held = held
        await watched.refresher.refresh()
        client = watched.authenticator.client_of(SECRET)
        assert client
        client.events += events
        watched.refresher.count()
        table.held = []
        await watched.refresher.refresh()

    watched.refresher.count()

    assert sample("ingest_token_events_total", token="pbx") == 8


async def test_names_beyond_the_limit_share_a_series(watched: Watched, table: FakeTokens, sample: Sample) -> None:
    names = [f"pbx-{number}" for number in range(LABELS_MAX + 5)]
    table.held = [Token(digest_of(name), name, created_us=0) for name in names]
    await watched.refresher.refresh()
    for name in names:
        client = watched.authenticator.client_of(name)
        assert client
        client.events += 1
    watched.refresher.count()

    labelled = sum(sample("ingest_token_events_total", token=name) or 0 for name in names)
    assert labelled + (sample("ingest_token_events_total", token=OTHERS) or 0) == len(names)
    assert sample("ingest_token_events_total", token=OTHERS) == 6
