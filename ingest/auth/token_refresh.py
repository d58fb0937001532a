"""Refreshes a worker's tokens from the database, so that a change is effective within a second.

A file in the data folder has a copy, so that a worker that starts while the database is down accepts the same clients.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec

from ingest.auth.authenticator import Authenticator, Client
from ingest.auth.readers import Readers
from ingest.auth.scopes import POST
from ingest.auth.tokens import CONFIGURED, Token, TokenTable
from ingest.clock import NowUs
from ingest.errors import StoreError
from ingest.files.atomic import replace_file
from ingest.telemetry.metrics import UNKNOWN, Metrics
from ingest.ticks import pause

log = logging.getLogger("ingest.tokens")

POLL_SECONDS = 0.5
LABELS_MAX = 200
"""At most this many clients have their own metric series; all others share one."""
OTHERS = "(others)"

Mark: TypeAlias = tuple[int, int, int] | None
"""Inode, time of change in nanoseconds, and size of a file; None if there is none."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Token]).decode


class TokenRefresher:
    """Polls the database until `run` is cancelled."""

    def __init__(
        self,
        table: TokenTable,
        authenticator: Authenticator,
        readers: Readers,
        file: Path,
        metrics: Metrics,
        now_us: NowUs,
    ) -> None:
        self._table = table
        self._authenticator = authenticator
        self._readers = readers
        self._file = file
        self._metrics = metrics
        metrics.token_events.labels(CONFIGURED)  # shown from the start: `rate` misses the first event of a new series
        metrics.token_limited.labels(CONFIGURED)
        self._now_us = now_us
        self._tokens: Sequence[Token] = ()
        self._saved: Sequence[Token] | None = None
        """The tokens that this worker has saved or loaded."""
        self._mark: Mark = None
        """The mark of the file that has them."""
        self._used: Sequence[Token] = ()
        self._counted: dict[str, tuple[int, int]] = {}
        self._last_events: dict[str, float] = {}
        """Unix time of each client's last event, or 0."""
        self._shown: dict[str, float] = {}

    async def run(self) -> None:
        while True:
            try:
                await self.refresh()
            except OSError:
                log.exception("cannot save the tokens in the data folder")
                self._metrics.background_failures.labels("tokens").inc()
            self.count()
            await pause(POLL_SECONDS)

    def load(self) -> None:
        """Use the saved tokens until the database can be read."""
        try:
            self._mark = _mark_of(self._file)
            self._tokens = self._saved = _decode(self._file.read_bytes())
        except FileNotFoundError:
            pass  # a first start
        except (OSError, ValueError) as exc:
            log.warning("cannot read the saved tokens; using those of the database", extra={"reason": str(exc)})
        self._use_valid()

    async def refresh(self) -> None:
        """Use the tokens of the database. If the database is down, use the last known tokens.

        Raises `OSError` if the data folder fails.
        """
        known = True
        try:
            self._tokens = await self._table.tokens()
        except StoreError as exc:
            known = False
            log.debug("cannot read the tokens", extra={"reason": str(exc)})
        self._use_valid()
        if not self._is_saved(known):
            replace_file(self._file, _encode(self._tokens))
            self._saved, self._mark = self._tokens, _mark_of(self._file)

    def count(self) -> None:
        """Update the metrics from the clients' counts."""
        accepted = 0
        for client in self._authenticator.clients:
            accepted += client.events
            counts = (client.events, client.limited)
            if self._counted.get(client.name) == counts:
                continue
            events, limited = self._counted.get(client.name, (0, 0))
            label = self._label(client)
            self._metrics.token_events.labels(label).inc(client.events - events)
            self._metrics.token_limited.labels(label).inc(client.limited - limited)
            self._counted[client.name] = counts
            if client.events > events and label == client.name:
                self._last_events[label] = self._now_us() / 1e6
            elif label == client.name:
                self._last_events.setdefault(label, 0.0)
        self._metrics.show_callers(accepted)
        self._show_last_events()

    def _show_last_events(self) -> None:
        """Hide the clients without a valid token: nobody waits for their events."""
        valid = {CONFIGURED, *(token.name for token in self._used)}
        for name, seconds in self._last_events.items():
            shown = seconds if name in valid else UNKNOWN
            if self._shown.get(name) != shown:
                self._metrics.token_last_event_seconds.labels(name).set(shown)
                self._shown[name] = shown

    def _label(self, client: Client) -> str:
        return client.name if client.name in self._counted or len(self._counted) < LABELS_MAX else OTHERS

    def _use_valid(self) -> None:
        now_us = self._now_us()
        valid = [token for token in self._tokens if token.is_valid(now_us)]
        if valid != self._used:
            self._authenticator.use([token for token in valid if POST in token.scopes])
            self._readers.use(valid)
            self._used = valid

    def _is_saved(self, known: bool) -> bool:
        """Tell whether the file has the tokens. All workers of the node write it, and one may be late with older ones.

        Reads the file only if it was written since the last look. `known`: the tokens are those of the database now.
        Otherwise another worker's may be newer.
        """
        mark = _mark_of(self._file)
        if mark is None:  # the first start, or somebody deleted the file
            return not self._tokens and (self._saved is not None or not known)
        if self._tokens == self._saved and mark == self._mark:
            return True
        if known and self._file.read_bytes() != _encode(self._tokens):
            return False
        if known:
            self._saved, self._mark = self._tokens, mark
        return True


def _mark_of(file: Path) -> Mark:
    """Return what tells one writing of the file from others. Raises `OSError`."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
