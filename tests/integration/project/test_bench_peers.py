"""The Go peers of the benchmark, on real servers: each keeps the promises of its kind. A broken promise is found."""

import os
import subprocess

import pytest

from bench.harness.targets import BenchFailed, Servers
from bench.peers import honesty, promises
from bench.peers.stand import stand
from bench.peers.starting import FOLDER, GO_SETTINGS, KINDS
from tests.services import MySQLServer, RabbitMQServer

SECONDS = 60.0
GO = [name for name in KINDS if name.startswith("go")]


@pytest.fixture
def servers(mysql: MySQLServer, rabbitmq: RabbitMQServer) -> Servers:
    return Servers(mysql, rabbitmq)


@pytest.mark.parametrize("command", ["gofmt -l .", "go vet .", "go test ."])
def test_sources_are_formatted_vetted_and_tested(command: str) -> None:
    environment = {**os.environ, **GO_SETTINGS}
    done = subprocess.run(
        command.split(), cwd=FOLDER / "go", env=environment, check=False, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stdout or command == "go test ."


@pytest.mark.parametrize("name", GO)
def test_peer_answers_and_publishes_as_the_contract_says(name: str, servers: Servers) -> None:
    with stand(servers, "quorum") as place, KINDS[name].start(place) as peer:
        honesty.check(peer)


@pytest.mark.parametrize("name", GO)
def test_peer_keeps_the_promises_of_its_kind(name: str, servers: Servers) -> None:
    """A kind with an outbox survives kill -9 between commit and confirm."""
    promises.check(KINDS[name], servers, "classic")


def test_peer_without_an_outbox_is_found_out(servers: Servers) -> None:
    with (
        stand(servers, "classic") as place,
        pytest.raises(BenchFailed, match="the outbox is empty before a confirm"),
    ):
        promises.loses_nothing_when_killed(KINDS["go"].start, place)


def test_answer_without_an_entry_is_found_out(servers: Servers) -> None:
    with (
        stand(servers, "classic") as place,
        KINDS["go"].start(place) as peer,
        pytest.raises(BenchFailed, match="200 was answered while ingest_outbox was locked"),
    ):
        promises.commits_nothing_while_locked(peer, *promises.TABLES[::-1], SECONDS)
