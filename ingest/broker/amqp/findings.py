"""Findings of `ingest doctor` about RabbitMQ's limits and the queue, over AMQP. They leave nothing behind."""

import asyncio
import re
import secrets
from collections.abc import Mapping
from functools import partial
from typing import Any

import aio_pika
import aiormq.exceptions

from ingest.broker.amqp.channel import LOST, ConfirmingChannel, channels_allowed
from ingest.broker.amqp.connect import ConfirmingConnection, is_blocked
from ingest.broker.amqp.queue import QueueDeclaration
from ingest.broker.amqp.reasons import Closed, ClosedByBroker, of_connection
from ingest.errors import BrokerUnavailable, IngestError
from ingest.events.batch import Batch
from ingest.events.event import Event
from ingest.events.routing_key import Destination

ARGUMENTS_MAX = 24
"""Attempts to find an argument. RabbitMQ has fewer arguments."""
DURABLE, AUTO_DELETE = "durable", "auto_delete"
TYPE, CLASSIC = "x-queue-type", "classic"
"""If no type is set, RabbitMQ 3.10 makes a classic queue, and does not report the type."""

_INEQUIVALENT = re.compile(r"inequivalent arg '([\w-]+)' .*received .* but current is (?:the value )?(.*)$", re.S)
_VALUE = re.compile(r"'(.*?)'(?: of type '(\w+)')?$", re.S)


async def try_size(connection: ConfirmingConnection, bytes_max: int, timeout_seconds: float) -> None:
    """Raises `IngestError` if the broker refuses a message of `bytes_max`.

    The message goes to a queue that does not exist. RabbitMQ checks its size first, and then returns or drops it.
    """
    nowhere = Destination.of_queue(f"no-such-queue-{secrets.token_hex(8)}")
    channel = await ConfirmingChannel.open(connection, nowhere, 1)
    channel.on_closed = lambda closed: channel.fail(partial(ClosedByBroker, closed))
    channel.ended.add_done_callback(partial(_ended, channel))
    try:
        async with asyncio.timeout(timeout_seconds):
            pending = await channel.write(Batch([1], [Event("", "size", b" " * bytes_max)], 0))
            if pending:
                await pending.done
    except ClosedByBroker as exc:
        raise IngestError(_refused(exc.closed, bytes_max)) from exc
    except TimeoutError:
        if await is_blocked(connection):
            raise IngestError("RabbitMQ blocks all publishing: it has a memory or disk alarm.") from None
        raise IngestError(
            f"RabbitMQ did not answer to a message of INGEST_BODY_BYTES_MAX={bytes_max} in {timeout_seconds:g} s."
        ) from None


def _ended(channel: ConfirmingChannel, ended: "asyncio.Future[object]") -> None:
    closed = None if ended.cancelled() else of_connection(ended.exception())
    channel.fail(partial(ClosedByBroker, closed) if closed else partial(BrokerUnavailable, LOST))


def _refused(closed: Closed, bytes_max: int) -> str:
    if not closed.by_a_message:
        return f"RabbitMQ does not let this user publish: {closed}."
    return (
        f"RabbitMQ refuses events of INGEST_BODY_BYTES_MAX={bytes_max}: {closed}. Events that are too large for it "
        "become dead letters: raise its max_message_size, or lower INGEST_BODY_BYTES_MAX."
    )


def describe_channels(connection: aio_pika.abc.AbstractConnection, channels_max: int) -> str:
    allowed = channels_allowed(connection, channels_max)
    if allowed == channels_max:
        return ""
    shared = "new events and the relay share one" if allowed == 1 else f"{allowed} are used"
    return f"; it allows fewer channels than INGEST_CHANNELS_MAX={channels_max}: {shared}"


async def arguments_of(connection: aio_pika.abc.AbstractConnection, declaration: QueueDeclaration) -> Mapping[str, Any]:
    """Return the arguments of an existing queue, as far as this user has access. Policies stay unknown.

    RabbitMQ reports one difference to a declaration at a time, and changes nothing if there is one.
    """
    known: dict[str, Any] = dict(declaration.arguments(connection))
    flags = {DURABLE: True, AUTO_DELETE: False}
    for _ in range(ARGUMENTS_MAX):
        try:
            async with connection.channel(publisher_confirms=False) as channel:
                await channel.declare_queue(declaration.name, arguments=known, **flags)
            break
        except aiormq.exceptions.ChannelPreconditionFailed as exc:
            difference = _INEQUIVALENT.search(str(exc))
            if not difference:
                break
            name, value = difference[1], _value(difference[2])
            if name in flags:
                flags[name] = value == "true"
            elif value is None:
                known.pop(name, None)
            else:
                known[name] = value
            if known.get(TYPE, CLASSIC) != "quorum":
                known.pop("x-delivery-limit", None)  # other queue types refuse this argument
        except aiormq.exceptions.ChannelAccessRefused:
            break
    return {TYPE: CLASSIC, **known, **flags}


def _value(text: str) -> Any:
    """Parse RabbitMQ's text for a value: 'classic', or '3' of type 'signedint'. None if there is none."""
    found = _VALUE.match(text)
    if not found:
        return None
    if found[2] in (None, "longstr"):
        return found[1]
    return found[1] == "true" if found[2] == "bool" else int(float(found[1]))


def losses(arguments: Mapping[str, Any]) -> list[str]:
    """List the arguments that let the queue lose messages which the broker has confirmed."""
    found = []
    if not str(arguments.get("x-overflow", "")).startswith("reject-publish"):
        limits = [name for name in ("x-max-length", "x-max-length-bytes") if name in arguments]
        found += [f"{name}={arguments[name]} drops the oldest messages of a full queue" for name in limits]
    if "x-message-ttl" in arguments:
        found.append(f"x-message-ttl={arguments['x-message-ttl']} drops messages after this time (ms)")
    if "x-expires" in arguments:
        found.append(f"x-expires={arguments['x-expires']} deletes the queue after this time (ms) without use")
    if not arguments[DURABLE]:
        found.append("it is not durable: a restart of RabbitMQ deletes it")
    if arguments[AUTO_DELETE]:
        found.append("auto_delete deletes it with its last consumer")
    return found
