"""All errors of the service. Each class has a stable code.

The first line of a class's docstring is its default message. Clients see it, so it says if a retry helps.
`ingest.http.responses` maps errors to HTTP statuses; this module does not know HTTP.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

FieldErrors = Mapping[str, Sequence[str]]


class IngestError(Exception):
    """The service failed."""

    code: ClassVar[str] = "error"
    _message: ClassVar[str] = "The service failed."
    """The first line of the class's docstring."""

    def __init_subclass__(cls) -> None:
        cls._message = (cls.__doc__ or "").splitlines()[0]

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self._message)


class SettingsError(IngestError):
    """The settings contradict each other."""

    code = "settings"


class Rejected(IngestError):
    """The request was refused; nothing was stored."""

    code = "rejected"


class Unauthenticated(Rejected):
    """Unauthenticated."""

    code = "unauthenticated"


class UnknownSource(Rejected):
    """There is no such source."""

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
    """The body is larger than the limit."""

    code = "body_too_large"


class BodyTimeout(Rejected):
    """The body did not arrive in time. Nothing was stored; retry."""

    code = "body_timeout"


class RateLimited(Rejected):
    """The rate limit of this token is exceeded. Nothing was stored; retry later."""

    code = "rate_limited"

    def __init__(self, wait_seconds: float) -> None:
        super().__init__()
        self.wait_seconds = wait_seconds


class MethodNotAllowed(Rejected):
    """This path does not allow the method."""

    code = "method_not_allowed"

    def __init__(self, allow: str) -> None:
        super().__init__()
        self.allow = allow


class UnsupportedEncoding(Rejected):
    """The Content-Encoding of the body is not supported; use gzip or zstd, or send it uncompressed."""

    code = "unsupported_encoding"


class Unforeseen(IngestError):
    """The service failed on this request. The event was not acknowledged; retry."""

    code = "unforeseen"


class Overloaded(IngestError):
    """The service is overloaded. The event was not stored; retry."""

    code = "overloaded"


class Draining(Overloaded):
    """The service is stopping. The event was not stored; retry."""

    code = "draining"


class StoreError(IngestError):
    """The event could not be made durable; retry."""

    code = "store"


class StoreUnavailable(StoreError):
    """The database is unavailable. The event was not acknowledged; retry."""

    code = "store_unavailable"


class BatchRefused(StoreError):
    """The database refused the batch.

    One of the rows may be the reason. The committer blames a row only if the database accepts its neighbors.
    """

    code = "batch_refused"


class RowRefused(BatchRefused):
    """The database refuses the content of this event; a retry does not help.

    `rows` maps the ids of a batch's refused events to the reasons, as far as they are known. Nothing of the batch was
    stored.
    """

    code = "row_refused"

    def __init__(self, message: str | None = None, rows: Mapping[int, str] | None = None) -> None:
        super().__init__(message)
        self.rows = rows or {}


class IdsTaken(StoreError):
    """Other events have the ids of this batch. Nothing of the batch was stored."""

    code = "ids_taken"

    def __init__(self, slot: int) -> None:
        super().__init__(f"Another worker issued ids of slot {slot}. Nothing of this batch was stored.")


class KeyReused(StoreError):
    """The Idempotency-Key was used with another event. This event was not stored; send it with a new key."""

    code = "key_reused"


class DuplicateKeys(IngestError):
    """These idempotency keys were already used. Nothing of the batch was stored.

    `same` maps the positions of the batch's duplicates to True if the key belongs to the same event, else to False.
    `originals` are the ids of the events that have the keys.
    """

    code = "repeats"

    def __init__(self, same: Mapping[int, bool], originals: Sequence[int] = ()) -> None:
        super().__init__()
        self.same = same
        self.originals = originals


class SpoolFull(StoreUnavailable):
    """The database is unavailable and the spool is full. The event was not acknowledged; retry."""

    code = "spool_full"


class SchemaError(StoreError):
    """The database tables are missing or older than this version; run `ingest migrate`."""

    code = "schema"

    def __init__(self, message: str | None = None, *, unmigrated: bool = False) -> None:
        """`unmigrated` says that `ingest migrate` solves the problem."""
        super().__init__(message)
        self.unmigrated = unmigrated or message is None


class PublishError(IngestError):
    """The broker did not confirm the messages. They are stored and will be published later."""

    code = "publish"


class BrokerUnavailable(PublishError):
    """The broker is unavailable. The messages are stored and will be published later."""

    code = "broker_unavailable"


class NotConfirmed(PublishError):
    """The broker refused or returned some messages of a batch.

    All positions are indexes in the published batch. `positions` are the messages that the broker did not confirm.
    `never` are those that it will always refuse. `undecided` are those that it has not decided about: the relay sends
    them again and never gives up. `reasons` maps positions to reasons that differ from the message.
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
        """Translate the positions to the batch from which the published events were picked, at indexes `picked`."""

        def of(positions: Sequence[int]) -> list[int]:
            return [picked[at] for at in positions]

        reasons = {picked[at]: reason for at, reason in self.reasons.items()}
        return NotConfirmed(str(self), of(self.positions), of(self.never), of(self.undecided), reasons)
