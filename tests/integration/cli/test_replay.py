"""`ingest replay` from a real table to a real queue and a real stream."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ingest.cli.replay.replay import id_at
from ingest.errors import SettingsError
from ingest.events.ids import first_id_of
from tests.conftest import StartService
from tests.contract.broker.publishers import Stream, removed
from tests.faults.reading import channel_to, take_messages
from tests.running import ServiceProcess
from tests.services import MySQLServer, RabbitMQServer, wait_until
from tests.unit.making import body

SECONDS = 60.0
EVENTS = 30


@pytest.fixture
def service(start_service: StartService, full_settings: Mapping[str, str]) -> ServiceProcess:
    """A service that published `EVENTS`, three of each call. Their messages were consumed."""
    running = start_service()
    running.wait_for_status("ready")
    for number in range(EVENTS):
        assert running.post(body(call_id=f"call-{number % 10}", step=number))[0] == 200
    url, queue = full_settings["BROKER_URL"], full_settings["QUEUE"]
    taken: list[tuple[int, bytes]] = []

    def all_taken() -> bool:
        taken.extend(take_messages(url, queue))
        return len(taken) == EVENTS

    assert wait_until(all_taken, SECONDS)
    return running


def steps(messages: list[tuple[int, bytes]]) -> list[int]:
    return [json.loads(content)["step"] for _, content in messages]


def test_events_of_a_selection_are_published_again(service: ServiceProcess, full_settings: Mapping[str, str]) -> None:
    url, queue = full_settings["BROKER_URL"], full_settings["QUEUE"]
    dry = service.command("replay", "--call", "call-3", "--call", "call-4", "--dry-run")
    assert dry.stdout == f"6 events would be published to the queue {queue}\n"
    assert take_messages(url, queue) == []

    ran = service.command("replay", "--call", "call-3", "--call", "call-4", "--since", "2025-01-01")
    assert ran.stdout == f"6 events published to the queue {queue}\n"
    assert steps(take_messages(url, queue)) == [3, 4, 13, 14, 23, 24]

    assert service.command("replay", "--until", "2025-01-01").stdout.startswith("0 events published")


def test_replayed_messages_have_a_header_and_may_go_to_another_queue(
    service: ServiceProcess, full_settings: Mapping[str, str], rabbitmq: RabbitMQServer
) -> None:
    other = rabbitmq.fresh_queue_name()
    assert service.command("replay", "--queue", other).stdout.startswith(f"{EVENTS} events published")
    with channel_to(full_settings["BROKER_URL"]) as channel:
        _, properties, _ = channel.basic_get(other, auto_ack=True)
        assert (properties.headers["replay"], properties.type) == ("1", "call_started")
        channel.queue_delete(other)
    assert take_messages(full_settings["BROKER_URL"], full_settings["QUEUE"]) == []


def test_interrupted_replay_continues(
    service: ServiceProcess, full_settings: Mapping[str, str], tmp_path: Path
) -> None:
    state = tmp_path / "replayed"
    words = ("replay", "--rate", "10", "--resume", str(state))
    began = time.monotonic()
    assert service.command(*words).stdout.startswith(f"{EVENTS} events published")
    assert time.monotonic() - began > (EVENTS - 1) / 10
    assert steps(take_messages(full_settings["BROKER_URL"], full_settings["QUEUE"])) == list(range(EVENTS))

    remembered = json.loads(state.read_text())
    earlier = service.command("replay", "--dry-run", "--resume", str(state))
    assert earlier.stdout.startswith("0 events would be")
    first_id = remembered["last_id"]
    state.write_text(json.dumps({**remembered, "last_id": first_id - 1}))
    assert service.command(*words).stdout.startswith("1 events published")

    refused = service.command("replay", "--call", "call-1", "--resume", str(state), check=False)
    assert (refused.returncode, "another selection" in refused.stderr) == (1, True)


def test_resumed_replay_has_the_same_events_and_the_same_target(
    service: ServiceProcess, mysql: MySQLServer, full_settings: Mapping[str, str], tmp_path: Path
) -> None:
    state = tmp_path / "replayed"
    assert service.command("replay", "--resume", str(state)).stdout.startswith(f"{EVENTS} events published")
    assert service.post(body(call_id="later"))[0] == 200
    assert service.command("replay", "--resume", str(state)).stdout.startswith("0 events published")

    other = service.command("replay", "--resume", str(state), "--queue", "another", check=False)
    assert (other.returncode, "belongs to the queue" in other.stderr) == (1, True)
    password = full_settings["BROKER_URL"].partition("@")[0].rpartition(":")[2]
    assert f":{password}@" not in other.stderr + state.read_text()

    remembered = json.loads(state.read_text())
    state.write_text(json.dumps({**remembered, "published": EVENTS - 4, "last_id": 0}))
    mysql.query(f"DELETE FROM call_event_logs WHERE id <= {remembered['end']}", database_of(full_settings))
    dropped = service.command("replay", "--resume", str(state), check=False)
    assert (dropped.returncode, dropped.stdout[:18]) == (1, "0 events published")
    assert f"4 of {EVENTS} events were not in the table any more" in dropped.stderr


def database_of(full_settings: Mapping[str, str]) -> str:
    return urlsplit(full_settings["DATABASE_URL"]).path[1:]


def test_event_too_large_for_a_stream_is_reported_and_all_others_are_published_once(
    service: ServiceProcess, mysql: MySQLServer, rabbitmq: RabbitMQServer, full_settings: Mapping[str, str]
) -> None:
    stream = Stream(rabbitmq)
    mysql.query(
        "INSERT INTO call_event_logs SELECT id + 1, 'large', event_type, JSON_SET(payload, '$.note', REPEAT('x', "
        "2000000)), created_time FROM call_event_logs ORDER BY id LIMIT 1",
        database_of(full_settings),
    )

    async def replayed() -> tuple["subprocess.CompletedProcess[str]", list[int]]:
        async with removed(stream):
            words = ("replay", "--publish-to", "stream", "--queue", stream.name)
            done = await asyncio.to_thread(partial(service.command, *words, check=False))
            await asyncio.to_thread(service.command, *words, "--call", "call-0")
            return done, [json.loads(message.body)["step"] for message in await stream.received(EVENTS + 3)]

    service.environment["INGEST_STREAM_URL"] = rabbitmq.stream_url
    done, found = asyncio.run(replayed())

    assert found == [*range(EVENTS), 0, 10, 20]
    assert (done.returncode, done.stdout[:19]) == (1, f"{EVENTS} events published")
    assert "RabbitMQ never takes 1 of these events" in done.stderr


def test_replay_runs_at_the_lowest_priority(service: ServiceProcess) -> None:
    replaying = subprocess.Popen([sys.executable, "-m", "ingest", "replay", "--rate", "10"], env=service.environment)
    try:
        assert wait_until(lambda: os.getpriority(os.PRIO_PROCESS, replaying.pid) == 19, SECONDS)
        assert replaying.wait(3 * SECONDS) == 0  # a busy machine gives it little time
    finally:
        replaying.kill()


def test_replay_to_a_stream(service: ServiceProcess, rabbitmq: RabbitMQServer) -> None:
    stream = Stream(rabbitmq)

    async def replayed() -> list[int]:
        async with removed(stream):
            words = ("replay", "--publish-to", "stream", "--queue", stream.name, "--type", "call_started")
            for _ in range(2):
                await asyncio.to_thread(service.command, *words)
            return [json.loads(message.body)["step"] for message in await stream.received(2 * EVENTS)]

    service.environment["INGEST_STREAM_URL"] = rabbitmq.stream_url
    assert asyncio.run(replayed()) == [*range(EVENTS), *range(EVENTS)]


def test_times_without_offset_are_utc() -> None:
    assert id_at("2025-06-01") == id_at("2025-06-01T02:00:00+02:00") == first_id_of(1_748_736_000_000)
    with pytest.raises(SettingsError, match="is no time"):
        id_at("yesterday")
