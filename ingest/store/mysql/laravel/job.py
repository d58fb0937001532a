"""Reads Laravel's queued jobs: the event of a `SendCallEventToRabbitJob`, or the id of its row.

Nobody prescribed how the original's job holds its event, so its properties are the evidence. They are an array, a JSON
text or single values with `call_id` and `event_type`. Or they are the model that `SerializesModels` keeps by its id.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from ingest.store.mysql.laravel.options import JOB
from ingest.store.mysql.laravel.php import PhpError, PhpObject, PhpValue, unserialize

MODEL = "ModelIdentifier"
"""Laravel's class for a model that a job keeps by its id, without its namespace."""
OF_LARAVEL = frozenset(
    (
        *("job", "connection", "queue", "delay", "afterCommit", "middleware", "chained", "chainConnection"),
        *("chainQueue", "chainCatchCallbacks", "batchId", "tries", "maxExceptions", "timeout", "backoff"),
        *("failOnTimeout", "uniqueId", "uniqueFor", "deleteWhenMissingModels", "retryUntil", "fakeBatch"),
    )
)
"""Properties of every job."""
NEEDED = ("call_id", "event_type")


class UnreadableJob(ValueError):
    """The job is the original's, but holds no event that this service finds."""


class PendingEvent(msgspec.Struct, frozen=True):
    """The event as JSON, or the id of its row in the original's table, or both."""

    body: bytes | None = None
    row_id: int | None = None

    @property
    def fields(self) -> dict[str, Any]:
        return fields_of(self.body) or {} if self.body else {}


def event_in(payload: str, job: str = JOB) -> PendingEvent | None:
    """Return what the job sends; None if it is another job. Raises `UnreadableJob`.

    `payload` is the column of `jobs` or `failed_jobs`, and `job` a class name without its namespace.
    """
    envelope = fields_of(payload.encode(errors="surrogatepass"))
    data = envelope.get("data") if envelope else None
    if envelope is None or not isinstance(data, dict):
        return None
    names = (data.get("commandName"), envelope.get("displayName"))
    if job not in {str(name).rpartition("\\")[2] for name in names}:
        return None
    command = data.get("command")
    if not isinstance(command, str) or not command.startswith("O:"):
        raise UnreadableJob("its command is encrypted (ShouldBeEncrypted) or no object")
    try:
        found = unserialize(command.encode())
    except (PhpError, UnicodeEncodeError) as exc:
        raise UnreadableJob(f"its command cannot be read: {exc}") from exc
    if not isinstance(found, PhpObject) or found.name.rpartition("\\")[2] != job:
        raise UnreadableJob("its command is an object of another class")
    return _of_properties({name: value for name, value in found.fields.items() if name not in OF_LARAVEL})


def fields_of(text: bytes) -> dict[str, Any] | None:
    """The JSON object in a text. None if it is none."""
    try:
        found = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def same_event(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """All fields that both have are equal, and both name the call and the type."""
    shared = one.keys() & other.keys()
    return shared.issuperset(NEEDED) and all(one[name] == other[name] for name in shared)


def as_php_json(value: PhpValue) -> bytes:
    """The JSON that PHP's `json_encode` writes by default: slashes and other than ASCII characters are escaped."""
    return json.dumps(_plain(value), separators=(",", ":"), allow_nan=False).replace("/", "\\/").encode()


def _of_properties(properties: Mapping[str, PhpValue]) -> PendingEvent:
    body = next(_bodies(properties), None)
    row_ids = {row_id for value in properties.values() if (row_id := _model_id(value)) is not None}
    if not body and not row_ids:
        row_ids = {
            value
            for name, value in properties.items()
            if isinstance(value, int) and not isinstance(value, bool) and name.lower().endswith("id")
        }
    if len(row_ids) > 1 or not (body or row_ids):
        raise UnreadableJob(f"it has no event, and not one row: its properties are {', '.join(properties) or 'none'}")
    return PendingEvent(body, next(iter(row_ids), None))


def _bodies(properties: Mapping[str, PhpValue]) -> Iterator[bytes]:
    single: PhpValue = {name: value for name, value in properties.items()}  # noqa: C416 - for mypy
    for value in (*properties.values(), single):
        if isinstance(value, str) and (fields := fields_of(value.encode())) and _is_event(fields):
            yield value.encode()
        elif isinstance(value, dict) and _is_event(value):
            try:
                yield as_php_json(value)
            except ValueError as exc:
                raise UnreadableJob(f"its event is no JSON: {exc}") from exc


def _is_event(fields: Mapping[Any, Any]) -> bool:
    return all(isinstance(fields.get(name), str) for name in NEEDED)


def _model_id(value: PhpValue) -> int | None:
    if not isinstance(value, PhpObject) or value.name.rpartition("\\")[2] != MODEL:
        return None
    found = value.fields.get("id")
    if isinstance(found, str) and found.isascii() and found.isdigit():
        found = int(found)
    if isinstance(found, bool) or not isinstance(found, int):
        raise UnreadableJob("it holds several models, or one whose id is no number")
    return found


def _plain(value: PhpValue) -> Any:
    """An array with the keys 0, 1, 2 … is a list. A date and other objects have no JSON here."""
    if isinstance(value, dict):
        if [*value] == [*range(len(value))]:
            return [_plain(one) for one in value.values()]
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, PhpObject):
        raise ValueError(f"it holds an object of {value.name}")
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return int(value)
    return value
