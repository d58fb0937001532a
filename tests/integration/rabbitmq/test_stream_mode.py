"""The service with INGEST_PUBLISH_TO=stream, and a real stream."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pika
import pytest

from tests.commands import told
from tests.contract.broker.publishers import Stream, channel_to
from tests.running import EVENT, TOKEN, ServiceProcess
from tests.services import RabbitMQServer, wait_until
from tests.services.rabbitmq_operator import add_user, arguments_of_queues

EVENTS = 300
COMMAND_SECONDS = "50"
SECONDS = 60.0


@pytest.fixture
def stream(rabbitmq: RabbitMQServer) -> Iterator[Stream]:
    stream = Stream(rabbitmq)
    yield stream
    with channel_to(stream.amqp_url) as channel:
        channel.queue_delete(stream.name)


@pytest.fixture
def settings(stream: Stream) -> dict[str, str]:
    return {"PUBLISH_TO": "stream", "STREAM_URL": stream.url, "QUEUE": stream.name}


@pytest.fixture
def service(tmp_path: Path, settings: dict[str, str]) -> Iterator[ServiceProcess]:
    with ServiceProcess(tmp_path, settings) as service:
        service.wait_for_status("ready")
        yield service


def posted(number: int) -> bytes:
    """An event with its own form: spaces, line breaks, escapes, non-ASCII letters, size."""
    event = {**EVENT, "call_id": f"call-{number}", "note": "Zoë ☎ Иванов" * (number % 7), "large": "x" * (number * 40)}
    text = json.dumps(event, ensure_ascii=number % 2 == 0, indent=number % 3 or None)
    return f" {text}\r\n".encode()


async def test_stream_consumer_sees_every_event_as_it_was_posted(service: ServiceProcess, stream: Stream) -> None:
    bodies = [posted(number) for number in range(EVENTS)]
    answers = {service.post(body) for body in bodies}
    assert answers == {(200, b'{"status":"queued"}')}

    found = await stream.received(EVENTS)
    assert [m.body for m in found] == bodies
    assert len({m.message_id for m in found}) == EVENTS
    assert {(m.type, m.content_type) for m in found} == {("call_started", "application/json")}

    tail = await asyncio.to_thread(service.command, "tail", "--limit", str(EVENTS), "--timeout", COMMAND_SECONDS)
    assert [json.loads(line) for line in tail.stdout.splitlines()] == [json.loads(body) for body in bodies]


async def test_tail_keeps_what_it_prints_in_the_stream(service: ServiceProcess) -> None:
    for number in range(3):
        service.post(posted(number))
    first, again = (
        service.command("tail", "--limit", "2", "--timeout", COMMAND_SECONDS, "--properties") for _ in range(2)
    )
    assert first.stdout == again.stdout
    assert told(first.stderr) == told(again.stderr) == ""
    lines = [json.loads(line) for line in first.stdout.splitlines()]
    assert [line["body"]["call_id"] for line in lines] == ["call-0", "call-1"]
    assert [line["type"] for line in lines] == ["call_started"] * 2


def test_tail_ends_when_no_message_comes_in_time(service: ServiceProcess) -> None:
    ran = service.command("tail", "--limit", "1", "--timeout", "2", check=False)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "0 of 1 messages arrived" in ran.stderr


def test_commands_declare_no_stream(tmp_path: Path, settings: dict[str, str], stream: Stream) -> None:
    idle = ServiceProcess(tmp_path, settings)
    doctor = idle.command("doctor", check=False)
    assert f"stream {stream.name} is not there yet" in doctor.stdout
    tail = idle.command("tail", check=False)
    assert "`ingest serve` declares it" in tail.stderr
    assert tail.returncode == 1
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="404"), channel_to(stream.amqp_url) as channel:
        channel.queue_declare(stream.name, passive=True)


def test_doctor_finds_the_stream_and_publishes_to_another_one(
    service: ServiceProcess, stream: Stream, rabbitmq: RabbitMQServer
) -> None:
    said = service.command("doctor", check=False).stdout

    assert f"stream {stream.name} is there" in said
    assert re.search("ok    publish: a message was published with a confirm to a stream at [^ ]+:[0-9]+, and", said)
    if rabbitmq.controllable:
        assert not [name for name in arguments_of_queues(rabbitmq) if "-doctor-" in name]


def test_user_who_may_declare_no_stream_is_no_failure(
    tmp_path: Path, settings: dict[str, str], rabbitmq: RabbitMQServer
) -> None:
    if not rabbitmq.controllable:
        pytest.skip("INGEST_TEST_AMQP_URL names a server that tests may not set up")
    add_user(rabbitmq, "streamless", "secret", "^$", ".*", ".*")
    url = rabbitmq.stream_url.replace("guest:guest@", "streamless:secret@")

    said = ServiceProcess(tmp_path, {**settings, "STREAM_URL": url}).command("doctor", check=False).stdout

    assert "ok    publish: not tried: this user may not declare a stream of its own" in said


def test_super_stream_is_tailed_whole(tmp_path: Path, settings: dict[str, str], rabbitmq: RabbitMQServer) -> None:
    parts = {**settings, "STREAM_PARTITIONS": "2", "BROKER_URL": rabbitmq.amqp_url, "API_TOKENS": TOKEN}
    with ServiceProcess(tmp_path, parts) as service:
        service.wait_for_status("ready")
        for number in range(10):
            assert service.post(posted(number))[0] == 200
        tail = service.command("tail", "--limit", "10", "--timeout", COMMAND_SECONDS)
        assert {json.loads(line)["call_id"] for line in tail.stdout.splitlines()} == {f"call-{n}" for n in range(10)}
        assert f"stream {parts['QUEUE']} is there" in service.command("doctor", check=False).stdout
    with channel_to(rabbitmq.amqp_url) as channel:
        channel.queue_delete(f"{parts['QUEUE']}-1")
        incomplete = service.command("doctor", check=False)
        assert f"do not find {parts['QUEUE']}-1" in incomplete.stdout
        assert incomplete.returncode == 1
        for number in range(2):
            channel.queue_delete(f"{parts['QUEUE']}-{number}")
        channel.exchange_delete(parts["QUEUE"])


@pytest.fixture
def name_host(rabbitmq: RabbitMQServer) -> Iterator[Callable[[str], None]]:
    """Change the host that RabbitMQ names to clients of its streams."""
    if not rabbitmq.controllable:
        pytest.skip("INGEST_TEST_AMQP_URL names a server that tests may not set up")

    def name(host: str) -> None:
        rabbitmq.evaluate(f'ok = application:set_env(rabbitmq_stream, advertised_host, <<"{host}">>), ""')

    yield name
    name(rabbitmq.host)


def test_address_that_rabbitmq_names_and_nobody_reaches_is_shown(
    tmp_path: Path, settings: dict[str, str], name_host: Callable[[str], None]
) -> None:
    """A broker in a container names its container id, unless `advertised_host` is set."""
    name_host("a-container.invalid")
    with ServiceProcess(tmp_path, settings) as service:
        assert service.post(posted(1))[0] == 200
        service.wait_for_status("degraded")

        def is_told(text: str) -> bool:
            return "RabbitMQ names a-container.invalid:" in text and "advertised_host" in text

        assert wait_until(lambda: is_told(service.request("GET", "/readyz")[1].decode()), SECONDS)
        assert is_told(service.command("doctor", check=False).stdout)

        name_host("127.0.0.1")
        service.wait_for_status("ready")
