"""`ingest tail` on the embedded queue and on RabbitMQ."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pika
import pytest

from ingest.broker.embedded import FILE_NAME, EmbeddedQueue, Message
from ingest.cli.tail.command import HELD_MAX
from ingest.cli.tail.embedded import Unseen
from tests.commands import PASSWORD, TOKENS, Ingest, nowhere, one_line, told
from tests.faults.reading import channel_to
from tests.services import RabbitMQServer, wait_until
from tests.services.rabbitmq_operator import close_all_connections

SECONDS = 60.0


@pytest.fixture
def queued(tmp_path: Path) -> list[str]:
    """Bodies in the embedded queue, oldest first."""
    bodies = [json.dumps({"call_id": f"call-{number}"}) for number in range(3)]
    queue = EmbeddedQueue(tmp_path / "var" / FILE_NAME, 5)
    messages = [Message(1000 + number, "call_started", 17, body.encode()) for number, body in enumerate(bodies)]
    queue.publish(messages, 10)
    queue.close()
    return bodies


def test_tail_stops_at_the_limit_or_the_timeout(ingest: Ingest, queued: list[str]) -> None:
    assert ingest("tail", "--limit", "2").stdout.splitlines() == queued[:2]
    assert ingest("tail", "--timeout", "0.1").stdout.splitlines() == queued[2:]
    assert ingest("tail", "--timeout", "0").stdout == ""


def test_tail_reports_missing_messages(ingest: Ingest, queued: list[str]) -> None:
    ran = ingest("tail", "--limit", "5", "--timeout", "0.1")

    assert (ran.returncode, ran.stdout.splitlines()) == (1, queued)
    assert told(ran.stderr) == "ingest: 3 of 5 messages arrived within 0.1 s.\n"


def test_tail_prints_the_properties_of_a_message(ingest: Ingest, queued: list[str]) -> None:
    (line,) = ingest("tail", "--limit", "1", "--properties").stdout.splitlines()

    assert json.loads(line) == {
        "message_id": "1000",
        "type": "call_started",
        "timestamp": 17,
        "body": json.loads(queued[0]),
    }


def test_tail_keeps_messages_and_prints_late_ones_too(ingest: Ingest, queued: list[str], tmp_path: Path) -> None:
    queue = EmbeddedQueue(tmp_path / "var" / FILE_NAME, 5)
    unseen = Unseen(queue)
    first = unseen.oldest(2)
    queue.acknowledge(first[0])
    queue.publish([Message(999, "call_started", 17, b"{}")], 10)  # late: its id is the lowest

    assert [message.message_id for message in first] == [1000, 1001]
    assert [message.message_id for message in unseen.oldest(5)] == [999, 1002]
    queue.close()
    kept = ingest("tail", "--keep", "--timeout", "0.1").stdout.splitlines()
    assert kept == ["{}", *queued[1:]] == ingest("tail", "--timeout", "0.1").stdout.splitlines()


def publish(settings: dict[str, str], bodies: list[str], arguments: dict[str, str] | None = None) -> None:
    with channel_to(settings["BROKER_URL"]) as channel:
        channel.queue_declare(settings["QUEUE"], durable=True, arguments=arguments)
        channel.confirm_delivery()
        for number, body in enumerate(bodies):
            properties = pika.BasicProperties(message_id=str(number), type="call_started", timestamp=17)
            channel.basic_publish("", settings["QUEUE"], body.encode(), properties)


def test_tail_holds_no_more_messages_of_rabbitmq_than_it_says(ingest: Ingest, real: dict[str, str]) -> None:
    publish(real, ["{}"] * (HELD_MAX + 1), {"x-queue-type": "classic"})

    ran = ingest("tail", "--keep", **real)

    assert (ran.returncode, ran.stdout.count("\n")) == (0, HELD_MAX)
    assert told(ran.stderr) == "ingest: --keep ends at 1,000 messages. Give --limit to read more.\n"


def test_tail_acknowledges_messages_of_rabbitmq(ingest: Ingest, real: dict[str, str]) -> None:
    publish(real, ['{"call_id": 0}', '{"call_id":\n1}', '{"call_id": 2}'])

    first = ingest("tail", "--limit", "2", **real)
    rest = ingest("tail", "--limit", "5", "--timeout", "3", "--properties", **real)

    assert (first.returncode, first.stdout, told(first.stderr)) == (0, '{"call_id": 0}\n{"call_id": 1}\n', "")
    assert json.loads(rest.stdout) == {
        "message_id": "2",
        "type": "call_started",
        "timestamp": 17,
        "body": {"call_id": 2},
    }
    assert (rest.returncode, told(rest.stderr)) == (1, "ingest: 1 of 5 messages arrived within 3 s.\n")


def test_tail_reports_a_missing_broker_or_queue(ingest: Ingest, real: dict[str, str]) -> None:
    away = ingest("tail", "--limit", "1", API_TOKENS=TOKENS, BROKER_URL=nowhere("amqp", ""))

    assert "cannot be reached" in one_line(away)
    assert PASSWORD not in away.stderr
    assert one_line(ingest("tail", **real)) == (
        f"ingest: There is no queue '{real['QUEUE']}' yet: `ingest serve` declares it."
    )


def test_tail_explains_a_lost_connection(ingest: Ingest, real: dict[str, str], rabbitmq: RabbitMQServer) -> None:
    if not rabbitmq.controllable:
        pytest.skip("INGEST_TEST_AMQP_URL names a server that tests may not set up")
    with ThreadPoolExecutor() as pool:
        with channel_to(real["BROKER_URL"]) as channel:
            channel.queue_declare(real["QUEUE"], durable=True)
            ran = pool.submit(ingest, "tail", **real)

            def is_read() -> bool:
                return bool(channel.queue_declare(real["QUEUE"], passive=True).method.consumer_count)

            assert wait_until(is_read, SECONDS)
        close_all_connections(rabbitmq, "for the test")
        assert told(ran.result().stderr) == "ingest: RabbitMQ delivers no more: 320 CONNECTION_FORCED - for the test.\n"
        assert ran.result().returncode == 1
