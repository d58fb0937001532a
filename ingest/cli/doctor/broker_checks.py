"""Checks of the broker."""

from collections.abc import Mapping

import aiormq.exceptions

from ingest.broker.amqp.connect import closing
from ingest.broker.amqp.findings import TYPE, arguments_of, describe_channels, losses, try_size
from ingest.broker.stream.address import LeaderUnreachable
from ingest.broker.stream.topology import look_at
from ingest.cli.doctor.broker_connection import open_broker
from ingest.cli.doctor.exchange_check import check_exchange
from ingest.cli.doctor.finding import Check
from ingest.cli.doctor.hints import broker_hint
from ingest.cli.doctor.publish_check import try_publish
from ingest.cli.doctor.stream_check import try_stream
from ingest.errors import IngestError
from ingest.server.factories.broker import make_declaration, make_topology
from ingest.settings import Settings, mask_url


def broker_checks(settings: Settings) -> Mapping[str, Check]:
    if settings.publish_to == "stream":
        return {"stream": _stream, "publish": try_stream}
    if settings.broker_url == "embedded:":
        return {"broker": _embedded}
    checks: dict[str, Check] = {"broker": _broker, "publish": _publish, "queue": _queue}
    return checks | ({"exchange": check_exchange} if settings.exchange else {})


async def _embedded(settings: Settings) -> str:
    return "the embedded queue, in the data folder"


async def _broker(settings: Settings) -> str:
    async with closing(await open_broker(settings)) as connection:
        await try_size(connection, settings.body_bytes_max, settings.connect_timeout_seconds)
        channels = describe_channels(connection, settings.channels_max)
        return f"{mask_url(settings.broker_url)} answers{channels}"


async def _publish(settings: Settings) -> str:
    async with closing(await open_broker(settings)) as connection:
        return await try_publish(connection, settings.confirm_timeout_seconds)


async def _queue(settings: Settings) -> str:
    declaration = make_declaration(settings)
    async with closing(await open_broker(settings)) as connection:
        try:
            async with connection.channel() as channel:
                queue = await channel.declare_queue(settings.queue, passive=True)
        except aiormq.exceptions.ChannelNotFoundEntity:
            return f"{settings.queue} is not there yet; `ingest serve` declares it"
        arguments = await arguments_of(connection, declaration)
    if lost := losses(arguments):
        raise IngestError(
            f"{settings.queue} loses messages: {'; '.join(lost)}. "
            "Declare it without these arguments, or let `ingest serve` declare it."
        )
    count = queue.declaration_result.message_count
    kind = arguments[TYPE]
    differs = "" if kind == settings.queue_type else f"; it is {kind}, not INGEST_QUEUE_TYPE={settings.queue_type}"
    return f"{settings.queue} is there, {count} messages wait in it{differs}"


async def _stream(settings: Settings) -> str:
    shown = mask_url(settings.stream_url)
    topology = make_topology(settings)
    try:
        found = await look_at(settings.stream_url, topology, settings.connect_timeout_seconds)
    except LeaderUnreachable:
        raise
    except IngestError as exc:
        raise IngestError(
            f"{shown} cannot be reached ({exc}). Check INGEST_STREAM_URL, the broker and its stream plugin; "
            f"meanwhile events wait in the database. {broker_hint(str(exc), settings.stream_url)}".rstrip()
        ) from exc
    if len(found.absent) == len(topology.streams):
        return f"{shown} answers; stream {settings.queue} is not there yet, `ingest serve` declares it"
    if missing := found.unbound or found.absent:
        raise IngestError(
            f"{topology.problem(missing)} `ingest serve` completes it, always if INGEST_BROKER_URL is set."
        )
    hosts = ", ".join(f"{host}:{port}" for host, port in found.leaders)
    return f"{shown} answers, stream {settings.queue} is there; RabbitMQ advertises {hosts}, which can be reached"
