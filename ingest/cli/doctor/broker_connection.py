"""The connection over which `ingest doctor` checks the broker."""

import aiormq.exceptions

from ingest.broker.amqp.connect import ConfirmingConnection, connect
from ingest.broker.amqp.reasons import words_of
from ingest.cli.doctor.hints import broker_hint
from ingest.errors import IngestError
from ingest.settings import Settings, mask_url


async def open_broker(settings: Settings) -> ConfirmingConnection:
    try:
        return await connect(settings.broker_url, settings.connect_timeout_seconds)
    except (OSError, TimeoutError, aiormq.exceptions.AMQPError) as exc:
        words = words_of(exc)
        raise IngestError(
            f"{mask_url(settings.broker_url)} cannot be reached ({words}). Check INGEST_BROKER_URL and the broker; "
            f"meanwhile events wait in the database. {broker_hint(words, settings.broker_url)}".rstrip()
        ) from exc
