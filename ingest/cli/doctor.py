"""`ingest doctor`: looks at everything the service needs, and says what to do about what is wrong."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, cast

import aiormq.exceptions
import msgspec

from ingest.auth.tokens import warning_about
from ingest.broker.amqp.connect import connect
from ingest.broker.amqp.findings import TYPE, arguments_of, losses, told_channels, try_size
from ingest.broker.amqp.queue import QueueDeclaration
from ingest.broker.amqp.reasons import words_of
from ingest.broker.target_record import explain_difference, live_nodes, same_target, target_of, text_of
from ingest.errors import IngestError, SchemaError, SettingsError, StoreError
from ingest.server.data_folder import running
from ingest.server.file_owner import check_folder
from ingest.server.tls import check_tls
from ingest.server.wiring import make_store, make_topology
from ingest.settings import Settings, mask_url
from ingest.store.mysql.migrate import examine as examine_tables
from ingest.store.mysql.pool import Servers
from ingest.store.mysql.schema import Report
from ingest.store.mysql.store import MySQLStore

Check = Callable[[Settings], Awaitable[str]]
"""What was found; raises `IngestError`, or its driver's errors, if it is not as it should be."""

REACHED = ("database", "broker")
"""The checks that find out whether a server can be reached at all."""
DURABILITY = b"SELECT @@innodb_flush_log_at_trx_commit"


class Finding(msgspec.Struct, frozen=True):
    """One thing looked at; `text` says what was found, and what to do if it is not ok."""

    name: str
    ok: bool
    text: str


def examine(settings: Settings) -> Iterator[Finding]:
    """Each finding as soon as it is there; nothing is changed anywhere."""
    yield Finding("settings", True, "they fit together")
    yield from _exposure(settings)
    yield from _data_folder(settings)
    for server in (_database_checks(settings), _broker_checks(settings)):
        for name, check in server.items():
            finding = _run(name, check, settings)
            yield finding
            if not finding.ok and name in REACHED:
                break  # the others would say the same


def _database_checks(settings: Settings) -> Mapping[str, Check]:
    checks = {"database": _database, "schema": _schema}
    if settings.database_url.startswith("mysql:"):
        checks |= {"durability": _durability, "clock": _clock, "cluster": _cluster}
    return checks


def _broker_checks(settings: Settings) -> Mapping[str, Check]:
    if settings.publish_to == "stream":
        return {"stream": _stream}
    if settings.broker_url == "embedded:":
        return {"broker": _embedded}
    return {"broker": _broker, "queue": _queue}


def _run(name: str, check: Check, settings: Settings) -> Finding:
    async def bounded() -> str:
        async with asyncio.timeout(settings.connect_timeout_seconds + settings.commit_timeout_seconds):
            return await check(settings)

    try:
        return Finding(name, True, asyncio.run(bounded()))
    except IngestError as exc:
        return Finding(name, False, str(exc))
    except TimeoutError:
        return Finding(name, False, "no answer in time: is the address right, and the server up?")
    except (OSError, aiormq.exceptions.AMQPError, RuntimeError) as exc:
        return Finding(name, False, f"{type(exc).__name__}: {exc}")


def _exposure(settings: Settings) -> Iterator[Finding]:
    """Plain tokens are no failure: they work."""
    if not settings.embedded:
        yield Finding("tokens", True, warning_about(settings.api_tokens) or "all are hashed")
    if settings.tls_cert:
        try:
            yield Finding("tls", True, check_tls(settings))
        except SettingsError as exc:
            yield Finding("tls", False, str(exc))


def _data_folder(settings: Settings) -> Iterator[Finding]:
    try:
        if service := running(settings.data_dir):
            yield Finding("service", True, f"runs here: {service}")
        yield Finding("data folder", True, check_folder(settings.data_dir))
    except (IngestError, OSError) as exc:
        yield Finding("data folder", False, f"{exc} Make it writable, or set INGEST_DATA_DIR.")


async def _database(settings: Settings) -> str:
    store = make_store(settings, looks_only=True)
    try:
        await store.ping()
    except SchemaError:
        pass  # reached; the next check says it
    except StoreError as exc:
        raise StoreError(
            f"{exc} Check INGEST_DATABASE_URL ({mask_url(settings.database_url)}) and the server."
        ) from exc
    finally:
        await store.close()
    return f"{mask_url(settings.database_url)} answers"


async def _clock(settings: Settings) -> str:
    store = make_store(settings)
    try:
        with suppress(SchemaError):  # the check before has said it
            await store.ping()
        if problem := cast(MySQLStore, store).clocks.problem():
            raise StoreError(f"{problem[0].upper()}{problem[1:]}.")
    finally:
        await store.close()
    return "this host's and the database's agree"


async def _schema(settings: Settings) -> str:
    try:
        if settings.database_url.startswith("mysql:"):
            report = await examine_tables(Servers.parse(settings.database_url), settings.connect_timeout_seconds)
        else:
            report = await _pinged(settings)
    except SchemaError as exc:
        if not exc.unmigrated:
            raise
        raise SchemaError("The tables are missing or old: run `ingest migrate`.") from exc
    report.raise_for_stops()
    if report.unfinished:
        raise SchemaError(" ".join(report.unfinished))
    return " ".join(["up to date, but:", *report.costs]) if report.costs else "up to date"


async def _pinged(settings: Settings) -> Report:
    store = make_store(settings, looks_only=True)
    try:
        await store.ping()
    finally:
        await store.close()
    return Report()


async def _durability(settings: Settings) -> str:
    connection = await Servers.parse(settings.database_url).connect(settings.connect_timeout_seconds)
    try:
        value = (await connection.run(DURABILITY))[0][0]
    finally:
        await connection.end()
    if value != 1:
        raise StoreError(
            f"innodb_flush_log_at_trx_commit is {value}: a crash of the server loses acknowledged events. Set it to 1."
        )
    return "each commit is flushed"


async def _cluster(settings: Settings) -> str:
    target = target_of(settings)
    store = make_store(settings)
    try:
        record = await cast(MySQLStore, store).record()
    except SchemaError:
        return "not looked at: the tables are missing or old"
    finally:
        await store.close()
    if record.shared is None:
        return "nobody has told yet what is published to"
    if same_target(target, record.shared):
        return f"all agreed to publish to this: {text_of(target)}"
    holders = live_nodes(record, record.shared)
    raise SettingsError(explain_difference(target, record.shared, f"so have {', '.join(holders) or 'no live workers'}"))


async def _embedded(settings: Settings) -> str:
    return "the embedded queue, in the data folder"


async def _connect(settings: Settings) -> Any:
    try:
        return await connect(settings.broker_url, settings.connect_timeout_seconds)
    except (OSError, TimeoutError, aiormq.exceptions.AMQPError) as exc:
        raise IngestError(
            f"{mask_url(settings.broker_url)} cannot be reached ({words_of(exc)}). "
            "Check INGEST_BROKER_URL and the broker; events wait in the database meanwhile."
        ) from exc


async def _broker(settings: Settings) -> str:
    async with await _connect(settings) as connection:
        await try_size(connection, settings.body_bytes_max, settings.connect_timeout_seconds)
        channels = told_channels(connection, settings.channels_max)
        return f"{mask_url(settings.broker_url)} answers{channels}"


async def _queue(settings: Settings) -> str:
    declaration = QueueDeclaration(settings.queue, settings.queue_type)
    async with await _connect(settings) as connection:
        try:
            async with connection.channel() as channel:
                queue = await channel.declare_queue(settings.queue, passive=True)
        except aiormq.exceptions.ChannelNotFoundEntity:
            return f"{settings.queue} is not there yet; `ingest serve` declares it"
        arguments = await arguments_of(connection, declaration)
    if lost := losses(arguments):
        raise IngestError(
            f"{settings.queue} loses messages: {'; '.join(lost)}. Declare it without, or let `ingest serve` declare it."
        )
    count = queue.declaration_result.message_count
    kind = arguments[TYPE]
    told = "" if kind == settings.queue_type else f"; it is {kind}, not INGEST_QUEUE_TYPE={settings.queue_type}"
    return f"{settings.queue} is there, {count} messages wait in it{told}"


async def _stream(settings: Settings) -> str:
    from ingest.broker.stream.topology import look_at  # rstream is needed in this mode only

    shown = mask_url(settings.stream_url)
    topology = make_topology(settings)
    try:
        found = await look_at(settings.stream_url, topology, settings.connect_timeout_seconds)
    except IngestError as exc:
        raise IngestError(
            f"{shown} cannot be reached ({exc}). Check INGEST_STREAM_URL, the broker and its stream plugin; "
            "events wait in the database meanwhile."
        ) from exc
    if len(found.absent) == len(topology.streams):
        return f"{shown} answers; stream {settings.queue} is not there yet, `ingest serve` declares it"
    if missing := found.unbound or found.absent:
        raise IngestError(f"{topology.told(missing)} `ingest serve` completes it; with INGEST_BROKER_URL, always.")
    return f"{shown} answers, stream {settings.queue} is there"
