"""The model of RabbitMQ answers the same operations as the real broker does."""

import asyncio
import os
from random import Random

import pytest

from tests.contract.broker.simulated import URL, listening_broker
from tests.contract.models.rabbitmq_operations import QUEUES, Client, any_operation
from tests.services import RabbitMQServer

STEPS = 60
SEEDS = int(os.environ.get("INGEST_TEST_MODEL_SEEDS", "8"))
COUNTED_SECONDS = 60.0
POLL_SECONDS = 0.02


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_model_answers_like_the_broker(rabbitmq: RabbitMQServer, seed: int) -> None:
    random, broker, prefix = Random(seed), listening_broker(), rabbitmq.fresh_queue_name()
    model, real = Client(URL, prefix), Client(rabbitmq.amqp_url, prefix)
    await model.open()
    await real.open()
    log = []
    try:
        for _ in range(STEPS):
            operation = any_operation(random)
            answers = await model.run(operation), await real.run(operation)
            log.append(f"{operation}\n    model {answers[0]}\n    real  {answers[1]}")
            assert broker.defect is None
            if operation.what != "look":  # a quorum queue counts its messages late
                assert answers[0] == answers[1], "\n".join(["", *log])
        await _same_counts(model, real)
    finally:
        await real.close()
        await model.close()


async def _same_counts(model: Client, real: Client) -> None:
    async with asyncio.timeout(COUNTED_SECONDS):
        for queue in QUEUES:
            while await model.count(queue) != await real.count(queue):  # noqa: ASYNC110 - the broker counts late
                await asyncio.sleep(POLL_SECONDS)
