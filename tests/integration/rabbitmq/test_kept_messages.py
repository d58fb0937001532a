"""`ingest tail --keep` on the queues of RabbitMQ: nothing is gone, moved, or nearer to its delivery limit."""

import asyncio
import json
from pathlib import Path

import pika
import pytest

from ingest.broker.amqp.queue import UNLIMITED_DELIVERIES_SINCE
from ingest.cli.tail.printer import Printer
from ingest.cli.tail.queue import POLL_SECONDS, tail_kept_queue
from ingest.settings import Settings
from tests.commands import TOKENS, Ingest, told
from tests.faults.reading import channel_to, version_numbers
from tests.services import RabbitMQServer, wait_until

SECONDS = 60.0
QUESTIONS = 40
BODIES = [f'{{"call_id": {number}}}' for number in range(4)]


@pytest.mark.parametrize("kind", ["quorum", "classic"])
def test_kept_messages_stay_in_their_order(rabbitmq: RabbitMQServer, tmp_path: Path, kind: str) -> None:
    queue = rabbitmq.fresh_queue_name()
    ingest = Ingest(tmp_path)
    settings = {"BROKER_URL": rabbitmq.amqp_url, "QUEUE": queue, "API_TOKENS": TOKENS}
    with channel_to(rabbitmq.amqp_url) as channel:
        channel.queue_declare(queue, durable=True, arguments={"x-queue-type": kind})
        channel.confirm_delivery()
        for body in BODIES:
            channel.basic_publish("", queue, body.encode(), pika.BasicProperties(delivery_mode=2))

    first = ingest("tail", "--keep", "--limit", "3", **settings)
    second = ingest("tail", "--keep", "--timeout", "3", **settings)

    assert (first.returncode, first.stdout.splitlines(), told(first.stderr)) == (0, BODIES[:3], "")
    assert (second.returncode, second.stdout.splitlines(), told(second.stderr)) == (0, BODIES, "")
    with channel_to(rabbitmq.amqp_url) as channel:

        def are_back() -> bool:
            return bool(channel.queue_declare(queue, passive=True).method.message_count == len(BODIES))

        assert wait_until(are_back, SECONDS)
        left = [channel.basic_get(queue, auto_ack=True) for _ in BODIES]
        channel.queue_delete(queue)
    assert [json.loads(body) for _, _, body in left] == [json.loads(body) for body in BODIES]
    counted = (left[0][1].headers or {}).get("x-delivery-count", 0)
    old = version_numbers(rabbitmq.amqp_url) < (UNLIMITED_DELIVERIES_SINCE,)
    assert counted == (2 if old and kind == "quorum" else 0)


async def test_tail_ends_also_if_its_time_is_up_while_it_asks(rabbitmq: RabbitMQServer) -> None:
    """aiormq closes the channel of a question that is cancelled, and the connection then may never end."""
    queue = rabbitmq.fresh_queue_name()
    with channel_to(rabbitmq.amqp_url) as channel:
        channel.queue_declare(queue, durable=True)
        channel.basic_publish("", queue, BODIES[0].encode())
    settings = Settings(broker_url=rabbitmq.amqp_url, queue=queue)

    async with asyncio.timeout(SECONDS):
        for number in range(QUESTIONS):
            messages = tail_kept_queue(settings, Printer(properties=False))
            await anext(messages)
            asking = asyncio.create_task(anext(messages))
            await asyncio.wait([asking], timeout=POLL_SECONDS + number / 5000)  # it asks again about then
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
