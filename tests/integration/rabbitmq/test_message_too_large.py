"""An event above RabbitMQ's limit becomes a dead letter with the reason. Its neighbours are published."""

import json
from collections.abc import Mapping

import pytest

from tests.conftest import StartService
from tests.exposition import scrape
from tests.faults.reading import take_messages
from tests.running import ServiceProcess
from tests.services import RabbitMQServer, wait_until
from tests.services.rabbitmq_operator import variables
from tests.unit.making import body

SECONDS = 60.0
MESSAGE_BYTES_MAX = 100_000
NEIGHBOURS = 120


def test_it_costs_its_neighbours_little_and_comes_back_once_the_broker_takes_it(
    start_service: StartService, full_settings: Mapping[str, str], rabbitmq: RabbitMQServer
) -> None:
    if not rabbitmq.controllable:
        pytest.skip("INGEST_TEST_AMQP_URL names a server that tests may not set up")
    url, queue = full_settings["BROKER_URL"], full_settings["QUEUE"]
    with variables(rabbitmq, max_message_size=MESSAGE_BYTES_MAX):
        service = start_service(RELAY_POLL_SECONDS="0.2")
        service.wait_for_status("ready")
        calls = [f"call-{number}" for number in range(NEIGHBOURS)]
        for number, call in enumerate(calls):
            assert service.post(body(call_id=call))[0] == 200
            if number == NEIGHBOURS // 2:
                assert service.post(body(call_id="large", notes="x" * MESSAGE_BYTES_MAX))[0] == 200
        assert wait_until(lambda: "large" in _dead(service), SECONDS), service.log()

        (letter,) = _dead(service).splitlines()
        assert "406 PRECONDITION_FAILED - message size" in letter
        assert f"max size {MESSAGE_BYTES_MAX}" in letter
        assert scrape(service).value("ingest_broker_connects_total") == scrape(service).value("ingest_workers")
        assert wait_until(lambda: service.status() == "ready", SECONDS), "dead letters hold nobody up"
        came: set[str] = set()

        def all_came() -> bool:
            came.update(_calls_in(url, queue))
            return came >= set(calls)

        assert wait_until(all_came, SECONDS), service.log()
        assert came == set(calls)
        assert any("closed a channel" in line["message"] for line in service.log_lines())
    service.command("dead", "retry", "--all")
    assert wait_until(lambda: "large" in _calls_in(url, queue), SECONDS), service.log()
    assert "no dead letters" in _dead(service)


def _dead(service: ServiceProcess) -> str:
    return service.command("dead", "ls").stdout


def _calls_in(url: str, queue: str) -> list[str]:
    return [json.loads(message)["call_id"] for _, message in take_messages(url, queue)]
