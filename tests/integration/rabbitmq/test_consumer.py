"""The documented consumer and the schema of a message, checked against published messages."""

import asyncio
import importlib.util
import json
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import jsonschema
import pika
import pytest

from ingest.http.openapi import message_schema
from tests.conftest import StartService
from tests.faults.reading import channel_to
from tests.paths import DOCS
from tests.running import ServiceProcess
from tests.services import wait_until
from tests.unit.making import body

SECONDS = 60.0


@pytest.fixture(scope="module")
def consumer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("consumer", DOCS / "consumer.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def service(start_service: StartService) -> ServiceProcess:
    running = start_service()
    running.wait_for_status("ready")
    return running


def repeat_all(settings: Mapping[str, str]) -> None:
    """Publish the queue's messages a second time, as after a lost confirm."""
    with channel_to(settings["BROKER_URL"]) as channel:
        channel.confirm_delivery()  # RabbitMQ may lose a message without a confirm when the channel is closed
        found = []
        while (got := channel.basic_get(settings["QUEUE"], auto_ack=True))[0]:
            found.append((got[1], got[2]))
        for properties, content in found * 2:
            channel.basic_publish(
                "", settings["QUEUE"], content, pika.BasicProperties(message_id=properties.message_id)
            )


async def test_example_handles_each_event_once(
    consumer: ModuleType, service: ServiceProcess, full_settings: Mapping[str, str]
) -> None:
    for number in range(5):
        assert service.post(body(call_id=f"call-{number}"))[0] == 200
    assert await asyncio.to_thread(wait_until, lambda: left(full_settings) == 5, SECONDS)
    await asyncio.to_thread(repeat_all, full_settings)
    handled: list[str] = []
    all_there = asyncio.Event()

    async def handle(event: dict[str, Any]) -> None:
        handled.append(event["call_id"])
        if event["call_id"] == "call-4":
            all_there.set()

    task = asyncio.create_task(consumer.consume(full_settings["BROKER_URL"], full_settings["QUEUE"], handle))
    async with asyncio.timeout(SECONDS):
        await all_there.wait()
        while await asyncio.to_thread(left, full_settings):  # noqa: ASYNC110 - RabbitMQ has no event for it
            await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait([task])

    assert handled == [f"call-{number}" for number in range(5)]


def left(settings: Mapping[str, str]) -> int:
    with channel_to(settings["BROKER_URL"]) as channel:
        return int(channel.queue_declare(settings["QUEUE"], passive=True).method.message_count)


def test_old_ids_are_forgotten(consumer: ModuleType) -> None:
    seen = consumer.Seen(2)
    for message_id in "abc":
        seen.add(message_id)

    assert ["a" in seen, "b" in seen, "c" in seen] == [False, True, True]


def test_schema_in_docs_is_the_services_own() -> None:
    assert json.loads((DOCS / "message.schema.json").read_text()) == message_schema()


def test_messages_match_the_schema(service: ServiceProcess) -> None:
    sent = [body(), body(event_type="call_ended", duration=7), body(more={"a": [1]})]
    for event in sent:
        assert service.post(event)[0] == 200

    told = service.command("tail", "--limit", "3", "--timeout", "50").stdout.splitlines()

    assert len(told) == len(sent)
    validator = jsonschema.Draft202012Validator(message_schema())
    for line in told:
        validator.validate(json.loads(line))
    assert not validator.is_valid({"call_id": "1"})
    assert not validator.is_valid({**json.loads(told[0]), "event_type": "call_ended"})
