"""Keeps a worker's grants as the database has them: a change there is a change here within a second.

They are remembered in the data folder: a worker that starts while the database is away lets the same clients in.
"""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ingest.auth.authenticator import Authenticator, Client
from ingest.auth.tokens import CONFIGURED, Token, TokenTable
from ingest.clock import NowUs
from ingest.errors import StoreError
from ingest.files.atomic import replace_file
from ingest.telemetry.metrics import Metrics

log = logging.getLogger("ingest.tokens")

POLL_SECONDS = 0.5
LABELS_MAX = 200
"""Names that have series of their own; all others share one."""
OTHERS = "(others)"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Token]).decode


class TokenRefresher:
    """`run` works until it is cancelled."""

    def __init__(
        self, table: TokenTable, authenticator: Authenticator, file: Path, metrics: Metrics, now_us: NowUs
    ) -> None:
        self._table = table
        self._authenticator = authenticator
        self._file = file
        self._metrics = metrics
        metrics.token_events.labels(CONFIGURED)  # shown from the start: `rate` does not see a new series' first event
        metrics.token_limited.labels(CONFIGURED)
        self._now_us = now_us
        self._tokens: Sequence[Token] = ()
        self._remembered: Sequence[Token] = ()
        """In the file."""
        self._used: Sequence[Token] = ()
        self._counted: dict[str, tuple[int, int]] = {}

    async def run(self) -> None:
        while True:
            try:
                await self.look()
            except OSError:
                log.exception("the tokens could not be remembered in the data folder")
                self._metrics.background_failures.labels("tokens").inc()
            self.count()
            await asyncio.sleep(POLL_SECONDS)

    def recall(self) -> None:
        """Use what was remembered, until the database is there."""
        try:
            self._tokens = self._remembered = _decode(self._file.read_bytes())
        except FileNotFoundError:
            pass  # a first start
        except (OSError, ValueError) as exc:
            log.warning("remembered tokens cannot be read; the database's are used", extra={"reason": str(exc)})
        self._use_valid()

    async def look(self) -> None:
        """Use what the database has; what it last had, if it is away."""
        try:
            tokens = await self._table.tokens()
        except StoreError as exc:
            log.debug("tokens not read", extra={"reason": str(exc)})
        else:
            self._tokens = tokens
        self._use_valid()
        if self._tokens != self._remembered or (self._tokens and not self._file.exists()):  # somebody deleted it
            self._remember()
            self._remembered = self._tokens

    def count(self) -> None:
        """Bring the metrics up to what was sent."""
        for client in self._authenticator.all:
            events, limited = self._counted.get(client.name, (0, 0))
            label = self._label(client)
            self._metrics.token_events.labels(label).inc(client.events - events)
            self._metrics.token_limited.labels(label).inc(client.limited - limited)
            self._counted[client.name] = (client.events, client.limited)

    def _label(self, client: Client) -> str:
        return client.name if client.name in self._counted or len(self._counted) < LABELS_MAX else OTHERS

    def _use_valid(self) -> None:
        now_us = self._now_us()
        valid = [token for token in self._tokens if token.is_valid(now_us)]
        if valid != self._used:
            self._authenticator.use(valid)
            self._used = valid

    def _remember(self) -> None:
        replace_file(self._file, _encode(self._tokens), 0o600)
