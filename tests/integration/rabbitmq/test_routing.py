"""The service with INGEST_EXCHANGE, and applications with queues of their own."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pika
import pytest

from tests.commands import nowhere
from tests.contract.broker.publishers import channel_to
from tests.documents import block
from tests.running import TOKEN, ServiceProcess
from tests.services import RabbitMQServer, wait_until
from tests.unit.making import body

SECONDS = 60.0
TEMPLATE = "{client}.{token}.{event_type}"
APPLICATIONS = ("call-events.billing", "call-events.crm")
PAGE = "docs/consumers.md"
Message = tuple[str, Any]
"""Routing key and event."""


@pytest.fixture
def settings(rabbitmq: RabbitMQServer) -> Iterator[dict[str, str]]:
    queue, exchange = rabbitmq.fresh_queue_name(), "call-events"
    yield {
        "API_TOKENS": TOKEN,
        "BROKER_URL": rabbitmq.amqp_url,
        "QUEUE": queue,
        "EXCHANGE": exchange,
    }
    with channel_to(rabbitmq.amqp_url) as channel:
        for name in (queue, *APPLICATIONS):
            channel.queue_delete(name)
        channel.exchange_delete(exchange)


@pytest.fixture
def take(rabbitmq: RabbitMQServer) -> Callable[[str, int], list[Message]]:
    def messages(queue: str, count: int) -> list[Message]:
        """Take at least `count` messages off a queue."""
        found: list[Message] = []

        def enough() -> bool:
            with channel_to(rabbitmq.amqp_url) as channel:
                while (got := channel.basic_get(queue, auto_ack=True))[0]:
                    found.append((got[0].routing_key, json.loads(got[2])))
            return len(found) >= count

        assert wait_until(enough, SECONDS), found
        return found

    return messages


def test_documented_applications_get_their_events_and_the_queue_gets_all(
    tmp_path: Path, settings: dict[str, str], take: Callable[[str, int], list[Message]]
) -> None:
    with ServiceProcess(tmp_path, settings) as service:
        service.wait_for_status("ready")
        with closing(pika.BlockingConnection(pika.URLParameters(settings["BROKER_URL"]))) as connection:
            code = block(PAGE, "for name in (").text
            exec(code, {"channel": connection.channel()})
        tail = [service.python, "-m", "ingest", "tail", "--key", "call_e*", "--limit", "1", "--timeout", "2"]
        assert subprocess.run(tail, env=service.environment, check=False, capture_output=True).returncode == 1
        for event_type in ("call_started", "call_ended"):
            assert service.post(body(event_type=event_type, duration=1))[0] == 200

        keys = ["call_started", "call_ended"]
        for application in APPLICATIONS:
            assert [key for key, _ in take(application, 2)] == keys
        shown = service.command("tail", "--keep", "--limit", "2", "--timeout", "50", "--properties").stdout
        assert [json.loads(line)["routing_key"] for line in shown.splitlines()] == keys
        assert [key for key, _ in take(settings["QUEUE"], 2)] == keys
        doctor = service.command("doctor", check=False).stdout
        assert "ok    exchange: call-events is a topic exchange; a queue can be bound to it" in doctor


def test_tail_prints_copies_of_the_keys_that_were_asked_for(tmp_path: Path, settings: dict[str, str]) -> None:
    with ServiceProcess(tmp_path, settings) as service:
        service.wait_for_status("ready")
        words = [service.python, "-m", "ingest", "tail", "--key", "call_ended", "--limit", "1", "--timeout", "20"]
        with subprocess.Popen(words, env=service.environment, stdout=subprocess.PIPE, text=True) as tail:

            def ended() -> bool:
                for event_type in ("call_started", "call_ended"):
                    service.post(body(event_type=event_type, duration=1))
                return tail.poll() is not None

            assert wait_until(ended, SECONDS)
            assert tail.stdout is not None
            assert [json.loads(line)["event_type"] for line in tail.stdout] == ["call_ended"]
        waiting = service.command("doctor", check=False).stdout
        assert f"{settings['QUEUE']} is there, 0 messages" not in waiting


def test_a_relay_after_a_crash_routes_as_the_worker_would_have(
    tmp_path: Path, settings: dict[str, str], rabbitmq: RabbitMQServer, take: Callable[[str, int], list[Message]]
) -> None:
    settings |= {"ROUTING_KEY": TEMPLATE, "LEASE_SECONDS": "1", "RELAY_POLL_SECONDS": "0.2"}
    with channel_to(rabbitmq.amqp_url) as channel:
        channel.exchange_declare(settings["EXCHANGE"], "topic", durable=True)
        channel.queue_declare(APPLICATIONS[1], durable=True)
        channel.queue_bind(APPLICATIONS[1], settings["EXCHANGE"], "#")
    with ServiceProcess(tmp_path, settings | {"BROKER_URL": nowhere("amqp", "")}) as service:
        token = service.command("tokens", "create", "crm").stdout.split()[-1]
        assert service.post(body(event_type="call.started"))[0] == 200
        twilio = b"CallSid=1&CallStatus=ringing&From=1&To=2"
        assert wait_until(lambda: service.request("POST", f"/in/twilio/{token}", twilio)[0] == 204, SECONDS)
        service.kill()

    with ServiceProcess(tmp_path, settings):
        keys = {key for key, _ in take(APPLICATIONS[1], 2)}
        assert keys == {"api.configured.call_started", "twilio.crm.call_ringing"}
        assert {key for key, _ in take(settings["QUEUE"], 2)} == keys


def test_replay_to_a_queue_of_its_own_reaches_no_application(
    tmp_path: Path, settings: dict[str, str], rabbitmq: RabbitMQServer, take: Callable[[str, int], list[Message]]
) -> None:
    again = rabbitmq.fresh_queue_name()
    with ServiceProcess(tmp_path, settings) as service:
        service.wait_for_status("ready")
        assert service.post(body())[0] == 200
        take(settings["QUEUE"], 1)
        service.command("replay", "--queue", again)
        assert [key for key, _ in take(again, 1)] == [again]
        with channel_to(rabbitmq.amqp_url) as channel:
            assert channel.basic_get(settings["QUEUE"])[0] is None
            channel.queue_delete(again)
