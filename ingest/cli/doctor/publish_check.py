"""Publishes a message to RabbitMQ and takes it back, over queues of its own that end with the connection.

The message expires at once in the first queue, and RabbitMQ moves it to the second one. It notes the time of that, so
the check also sees the broker's clock.
"""

import asyncio
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import aio_pika
import aiormq.exceptions

from ingest.errors import IngestError
from ingest.telemetry.clock_skew import APART_SECONDS_MAX

RESOLUTION_SECONDS = 1.0
"""AMQP's times have whole seconds."""


async def try_publish(connection: aio_pika.abc.AbstractConnection, timeout_seconds: float) -> str:
    """Return the result. Raises `IngestError` if the message gets lost, or the clocks differ."""
    try:
        async with asyncio.timeout(timeout_seconds), connection.channel() as channel:
            before = time.time()
            headers = await _sent_and_moved(channel)
            return _told(headers, before, time.time())
    except aiormq.exceptions.ChannelAccessRefused:
        return "not tried: this user may not declare a queue of its own"
    except TimeoutError:
        raise IngestError(f"RabbitMQ did not deliver a message within {timeout_seconds:g} s.") from None


async def _sent_and_moved(channel: aio_pika.abc.AbstractChannel) -> Mapping[str, Any]:
    """Return the headers of the message that arrived."""
    arrival = await channel.declare_queue(exclusive=True)
    moved: dict[str, Any] = {
        "x-message-ttl": 0,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": arrival.name,
    }
    departure = await channel.declare_queue(exclusive=True, arguments=moved)
    await channel.default_exchange.publish(aio_pika.Message(b"ingest doctor"), departure.name)  # awaits the confirm
    async with arrival.iterator(no_ack=True) as messages:
        message = await anext(messages)
    return message.headers


def _told(headers: Mapping[str, Any], before: float, after: float) -> str:
    result = "a message was published with a confirm, and taken back"
    deaths = headers.get("x-death")
    at = deaths[0].get("time") if isinstance(deaths, list) and deaths else None
    if not isinstance(at, datetime):
        return result
    if problem := clock_problem(at.timestamp(), before, after):
        raise IngestError(problem)
    return f"{result}; its clock and this host's agree"


def clock_problem(broker: float, before: float, after: float) -> str | None:
    """Compare the broker's whole second with this host's time before and after it. All are Unix times."""
    ahead = max(0.0, before - (broker + RESOLUTION_SECONDS)) or min(0.0, after - broker)
    if abs(ahead) <= APART_SECONDS_MAX:
        return None
    way = "ahead of" if ahead > 0 else "behind"
    return f"This host's clock is {abs(ahead):.0f} s {way} RabbitMQ's: set both by NTP."
