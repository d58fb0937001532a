"""The documented consumers in each language, and the commands of docs/consumers.md, on a real RabbitMQ."""

import asyncio
import json
import os
import shlex
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pika
import pytest

from ingest.broker.amqp.connect import open_connection
from ingest.broker.amqp.queue import UNLIMITED_DELIVERIES_SINCE, QueueDeclaration
from tests.commands import TOKENS
from tests.contract.broker.publishers import Queue, publishing
from tests.documents import block, inline_code
from tests.faults.reading import channel_to, version_numbers
from tests.integration.rabbitmq.declarations import CLIENTS, JARS
from tests.paths import DOCS
from tests.services import RabbitMQServer, wait_until
from tests.unit.making import batch, event

PAGE = "docs/consumers.md"
PARKED = "call-events.parked"
NODE = DOCS / "consumers/node"
EXAMPLES = {
    "python": [sys.executable, str(DOCS / "consumer.py")],
    "node": ["node", str(DOCS / "consumers/node/consumer.mjs")],
    "php": ["php", str(DOCS / "consumers/php/consumer.php")],
    "laravel": ["php", str(Path(__file__).with_name("artisan.php")), "call-events:consume"],
    "java": ["java", "-cp", JARS, str(DOCS / "consumers/java/Consumer.java")],
}
SECONDS = 120.0
RETURNS_MAX = 5
"""The policy's delivery limit."""


def body(call_id: str) -> bytes:
    return json.dumps({"call_id": call_id, "event_type": "call_started", "timestamp": "2025-01-31T13:45:00Z"}).encode()


MESSAGES = [("1", body("call-a")), ("2", b"not json"), ("1", body("call-a")), ("3", body("call-b"))]
"""The third one is a duplicate of the first one."""


class Consumed(NamedTuple):
    """The texts that an example printed, and its message that RabbitMQ parked."""

    output: str
    errors: str
    parked: tuple[Any, bytes] | None


def set_policy(rabbitmq: RabbitMQServer, name: str, pattern: str) -> None:
    """Run the documented command with a pattern for other queues."""
    (line,) = block(PAGE, f"rabbitmqctl set_policy {name} ").text.splitlines()
    words = shlex.split(line)
    assert words[3] == "^call-events$"
    rabbitmq.ctl("set_policy", name, pattern, *words[4:])


def declare(rabbitmq: RabbitMQServer, queue: str) -> None:
    """Declare the queue as the service does."""

    async def declared() -> None:
        async with await open_connection(rabbitmq.amqp_url) as connection:
            await QueueDeclaration(queue, "quorum").declare(connection)

    asyncio.run(declared())


def declare_and_publish(rabbitmq: RabbitMQServer, queue: str) -> None:
    declare(rabbitmq, queue)
    with channel_to(rabbitmq.amqp_url) as channel:
        channel.confirm_delivery()
        for message_id, content in MESSAGES:
            channel.basic_publish("", queue, content, pika.BasicProperties(message_id=message_id, delivery_mode=2))


def parked_count(rabbitmq: RabbitMQServer) -> int:
    with channel_to(rabbitmq.amqp_url) as channel:
        try:
            return int(channel.queue_declare(PARKED, passive=True).method.message_count)
        except pika.exceptions.ChannelClosedByBroker:
            return 0  # no example has declared it


@pytest.fixture(scope="module")
def consumed(rabbitmq: RabbitMQServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Consumed]:
    """Run all examples at the same time, each on a queue of its own, until RabbitMQ has parked what they returned."""
    if not rabbitmq.controllable:
        pytest.skip("INGEST_TEST_AMQP_URL names a server that tests may not set up")
    folder, prefix = tmp_path_factory.mktemp("consumers"), rabbitmq.fresh_queue_name()
    set_policy(rabbitmq, "call-events-parked", f"^{prefix}-")
    queues = {language: f"{prefix}-{language}" for language in EXAMPLES}
    url = rabbitmq.amqp_url.rstrip("/")
    with ExitStack() as stack:
        running = []
        for language, argv in EXAMPLES.items():
            declare_and_publish(rabbitmq, queues[language])
            out, err = (stack.enter_context((folder / f"{language}.{kind}").open("w")) for kind in ("out", "err"))
            running.append(subprocess.Popen([*argv, url, queues[language]], stdout=out, stderr=err))
        outputs = [folder / f"{language}.out" for language in EXAMPLES]
        wait_until(lambda: parked_count(rabbitmq) == len(EXAMPLES) and all(map(has_last, outputs)), SECONDS)
        for process in running:
            process.terminate()
            process.wait(SECONDS)
    parked = tail_of_parked(rabbitmq)
    with channel_to(rabbitmq.amqp_url) as channel:
        found = {}
        while (got := channel.basic_get(PARKED, auto_ack=True))[0]:
            found[got[1].headers["x-death"][0]["queue"]] = (got[1], got[2])
        for queue in (*queues.values(), PARKED):
            channel.queue_delete(queue)
        channel.exchange_delete(PARKED)
    rabbitmq.ctl("clear_policy", "call-events-parked")
    assert parked == len(found)

    def text(language: str, kind: str) -> str:
        return (folder / f"{language}.{kind}").read_text()

    return {name: Consumed(text(name, "out"), text(name, "err"), found.get(queues[name])) for name in EXAMPLES}


def has_last(output: Path) -> bool:
    """Return True if the example has handled the last message, too."""
    return "call-b" in output.read_text()


def tail_of_parked(rabbitmq: RabbitMQServer) -> int:
    """Run the documented command; return the number of messages that it prints."""
    settings = {"INGEST_BROKER_URL": rabbitmq.amqp_url, "INGEST_API_TOKENS": TOKENS}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = block(PAGE, "INGEST_QUEUE=call-events.parked ingest tail --keep").text
    ran = subprocess.run(
        ["sh", "-euc", command],
        env={**os.environ, **settings, "PATH": path},
        check=True,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    return len(ran.stdout.splitlines())


@pytest.mark.parametrize("language", EXAMPLES)
def test_an_example_handles_each_event_once_and_rabbitmq_parks_a_bad_one(
    consumed: dict[str, Consumed], language: str
) -> None:
    output, errors, parked = consumed[language]

    assert [output.count("call-a"), output.count("call-b")] == [1, 1], errors
    assert errors.count("event 2: ") == RETURNS_MAX + 1, errors
    assert parked is not None, errors
    properties, content = parked
    assert (properties.message_id, content) == ("2", b"not json")
    assert properties.headers["x-death"][0]["reason"] == "delivery_limit"


@pytest.mark.parametrize("client", sorted(CLIENTS))
def test_the_documented_declarations_are_those_of_the_service(
    rabbitmq: RabbitMQServer, tmp_path: Path, client: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The passive one finds the service's queue. The other one makes a queue that RabbitMQ 3's service finds right."""
    (row,) = [line for line in (DOCS / "consumers.md").read_text().splitlines() if line.startswith(f"| {client} | `")]
    passive, active = (cell.strip().strip("`") for cell in row.split("|")[2:4])
    service, other = (rabbitmq.fresh_queue_name() for _ in range(2))
    declare(rabbitmq, service)
    try:
        for code, queue in ((passive, service), (active, other)):
            command = CLIENTS[client](code, rabbitmq.amqp_url.rstrip("/"), queue, tmp_path)
            ran = subprocess.run(
                command, check=False, cwd=DOCS / "consumers/node", capture_output=True, text=True, timeout=SECONDS
            )
            assert ran.returncode == 0, ran.stderr
        declare(rabbitmq, other)
        assert bool(caplog.records) == (version_numbers(rabbitmq.amqp_url) >= (UNLIMITED_DELIVERIES_SINCE,))
    finally:
        with channel_to(rabbitmq.amqp_url) as channel:
            for queue in (service, other):
                channel.queue_delete(queue)


def test_the_columns_of_the_runbook_are_those_of_rabbitmq(rabbitmq: RabbitMQServer) -> None:
    if not rabbitmq.controllable:
        pytest.skip("INGEST_TEST_AMQP_URL names a server that tests may not set up")
    (command,) = {text for _, text in inline_code() if text.startswith("rabbitmqctl list_queues ")}
    rabbitmq.ctl(*shlex.split(command)[1:])


def test_a_declaration_without_the_type_is_refused_and_a_passive_one_is_not(rabbitmq: RabbitMQServer) -> None:
    queue = rabbitmq.fresh_queue_name()
    declare_and_publish(rabbitmq, queue)
    with channel_to(rabbitmq.amqp_url) as channel:
        channel.queue_declare(queue, passive=True)
        with pytest.raises(pika.exceptions.ChannelClosedByBroker) as refused:
            channel.queue_declare(queue, durable=True)
    with channel_to(rabbitmq.amqp_url) as channel:
        channel.queue_delete(queue)
    assert refused.value.reply_code == 406


async def test_every_application_gets_all_events_by_a_policy(rabbitmq: RabbitMQServer) -> None:
    if not rabbitmq.controllable:
        pytest.skip("INGEST_TEST_AMQP_URL names a server that tests may not set up")
    queue = Queue(rabbitmq, "quorum")
    queue.name = "call-events"
    code = block(PAGE, 'channel.exchange_declare("call-events.all"').text
    applications = ["call-events.billing", "call-events.crm"]
    sent = batch([event(f"call-{number}") for number in range(50)])
    try:
        with channel_to(rabbitmq.amqp_url) as channel:
            exec(code, {"channel": channel})
        async with publishing(queue.publisher()) as publisher:  # declares the queue
            await asyncio.to_thread(set_policy, rabbitmq, "call-events-all", "^call-events$")
            await publisher.publish(sent)
            for name in applications:
                one = Queue(rabbitmq, "quorum")
                one.name = name
                assert [found.message_id for found in await one.received(len(sent.ids))] == list(map(str, sent.ids))
    finally:
        await asyncio.to_thread(rabbitmq.ctl, "clear_policy", "call-events-all")
        with channel_to(rabbitmq.amqp_url) as channel:
            for name in (*applications, queue.name):
                channel.queue_delete(name)
            channel.exchange_delete("call-events.all")
