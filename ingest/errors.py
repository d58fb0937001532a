"""Every error of the service: one base, a stable code each, and whether a retry helps.

A class's docstring is its message where the raiser has nothing better to say. The map from
errors to HTTP answers is in `ingest.http.responses`; nothing here knows HTTP.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

FieldErrors = Mapping[str, Sequence[str]]


class IngestError(Exception):
    """Something in the service failed."""

    code: ClassVar[str] = "error"
    retry_helps: ClassVar[bool] = False

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").splitlines()[0])


class SettingsError(IngestError):
    """The settings do not fit together."""

    code = "settings"


class Rejected(IngestError):
    """The request was refused and nothing of it was kept."""

    code = "rejected"


class Unauthenticated(Rejected):
    """Unauthenticated."""

    code = "unauthenticated"


class UnknownSource(Rejected):
    """There is no such client."""

    code = "unknown_client"


class Malformed(Rejected):
    """The body is not valid JSON."""

    code = "malformed"


class Invalid(Rejected):
    """The given data was invalid."""

    code = "invalid"

    def __init__(self, errors: FieldErrors) -> None:
        super().__init__()
        self.errors = errors


class BodyTooLarge(Rejected):
    """The body is larger than the service takes."""

    code = "body_too_large"


class BodyTimeout(Rejected):
    """The body did not arrive in time. Nothing was kept: send the event again."""

    code = "body_timeout"
    retry_helps = True


class RateLimited(Rejected):
    """The token's rate is exceeded. Nothing was kept: send the event again later."""

    code = "rate_limited"
    retry_helps = True

    def __init__(self, wait_seconds: float) -> None:
        super().__init__()
        self.wait_seconds = wait_seconds


class MethodNotAllowed(Rejected):
    """The method is not allowed here."""

    code = "method_not_allowed"

    def __init__(self, allow: str) -> None:
        super().__init__()
        self.allow = allow


class UnsupportedEncoding(Rejected):
    """The body's Content-Encoding is not supported: send it as gzip, as zstd, or uncompressed."""

    code = "unsupported_encoding"


class Overloaded(IngestError):
    """The service has more events in hand than it may queue. Nothing was kept: send the event again."""

    code = "overloaded"
    retry_helps = True


class Draining(Overloaded):
    """The service is stopping. Nothing was kept: send the event again."""

    code = "draining"


class StoreError(IngestError):
    """The event could not be made durable. Send it again."""

    code = "store"
    retry_helps = True


class StoreUnavailable(StoreError):
    """The database is not available. The event was not acknowledged: send it again."""

    code = "store_unavailable"


class BatchRefused(StoreError):
    """The database refused the batch, for a reason that may lie in one of its rows; a neighbour's commit proves it."""

    code = "batch_refused"


class RowRefused(BatchRefused):
    """The database refuses this event's content; sending it again does not help.

    Of a batch, `rows` tells which events are known to be refused: id → why. Nothing of the batch was stored.
    """

    code = "row_refused"
    retry_helps = False

    def __init__(self, message: str | None = None, rows: Mapping[int, str] | None = None) -> None:
        super().__init__(message)
        self.rows = rows or {}


class IdsTaken(StoreError):
    """Other events have the ids of these. Nothing of this batch was stored."""

    code = "ids_taken"

    def __init__(self, slot: int) -> None:
        super().__init__(f"Another worker made ids of slot {slot}. Nothing of this batch was stored.")


class KeyReused(StoreError):
    """The Idempotency-Key was used with another event. This one was not kept: send it with a key of its own."""

    code = "key_reused"
    retry_helps = False


class DuplicateKeys(IngestError):
    """Events with these keys are there already. Nothing of the batch was stored.

    `same` tells for each of the batch's positions that is one whether the key was given to the same event.
    """

    code = "repeats"

    def __init__(self, same: Mapping[int, bool]) -> None:
        super().__init__()
        self.same = same


class SpoolFull(StoreUnavailable):
    """The database is not available, and the spool is full. The event was not acknowledged: send it again."""

    code = "spool_full"


class SpoolDamaged(StoreUnavailable):
    """The spool's file is damaged. It is set aside, and what is whole in it is read out of it."""

    code = "spool_damaged"


class SchemaError(StoreError):
    """The database's tables are missing or older than this version: run `ingest migrate`."""

    code = "schema"
    retry_helps = False

    def __init__(self, message: str | None = None, *, unmigrated: bool = False) -> None:
        """`unmigrated`: `ingest migrate` is all that is needed."""
        super().__init__(message)
        self.unmigrated = unmigrated or message is None


class PublishError(IngestError):
    """The broker did not confirm the messages. They are stored and will be published later."""

    code = "publish"
    retry_helps = True


class BrokerUnavailable(PublishError):
    """The broker is not available. The messages are stored and will be published later."""

    code = "broker_unavailable"


class NotConfirmed(PublishError):
    """The broker refused or returned some messages of a batch.

    `positions` are the indexes, within the published batch, of the messages that it did not take, and `never` those
    among them that it will not take however often they are sent. It has not decided about those `undecided`: they are
    sent again, and never given up. `reasons` tells why by position, where that is another reason than the message.
    """

    code = "not_confirmed"

    def __init__(
        self,
        message: str,
        positions: Sequence[int],
        never: Sequence[int] = (),
        undecided: Sequence[int] = (),
        reasons: Mapping[int, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(message)
        self.positions = positions
        self.never = never
        self.undecided = undecided
        self.reasons = reasons

    def among(self, picked: Sequence[int]) -> "NotConfirmed":
        """The same of the batch that the published one's events were picked of, at these positions."""

        def of(positions: Sequence[int]) -> list[int]:
            return [picked[at] for at in positions]

        reasons = {picked[at]: reason for at, reason in self.reasons.items()}
        return NotConfirmed(str(self), of(self.positions), of(self.never), of(self.undecided), reasons)
