"""Prints the messages of the embedded queue: takes them off, or keeps them."""

import time
from collections.abc import Callable, Sequence

from ingest.broker.embedded import FILE_NAME, EmbeddedQueue, Message
from ingest.cli.shell.targets import OTHER_SETTINGS
from ingest.cli.tail.printer import Printer
from ingest.errors import SettingsError
from ingest.settings import Settings

POLL_SECONDS = 0.1
READ_AT_ONCE = 100

Read = Callable[[int], Sequence[Message]]
"""Returns at most that number of messages which were not printed yet."""


def tail_embedded(settings: Settings, limit: int | None, timeout: float | None, printer: Printer, *, keep: bool) -> int:
    """Print messages until the limit or the timeout; return their number. Raises `SettingsError`."""
    file = settings.data_dir / FILE_NAME
    if not file.exists():
        raise SettingsError(f"{file.absolute()}: there is no queue yet; `ingest serve` creates it. {OTHER_SETTINGS}")
    queue = EmbeddedQueue(file, settings.commit_timeout_seconds)
    try:
        if keep:
            return _print_all(Unseen(queue).oldest, lambda _: None, limit, timeout, printer)
        return _print_all(queue.oldest, queue.acknowledge, limit, timeout, printer)
    finally:
        queue.close()


class Unseen:
    """The messages that were not returned yet, oldest first. They stay in the queue.

    A late message may have a lower id than others before it, so this remembers each id that is still in the queue.
    """

    def __init__(self, queue: EmbeddedQueue) -> None:
        self._queue = queue
        self._seen: set[int] = set()

    def oldest(self, limit: int) -> Sequence[Message]:
        ids = self._queue.ids()
        self._seen.intersection_update(ids)
        new = [message_id for message_id in ids if message_id not in self._seen][:limit]
        self._seen.update(new)
        return self._queue.messages(new)


def _print_all(
    read: Read, done: Callable[[Message], None], limit: int | None, timeout: float | None, printer: Printer
) -> int:
    count, last = 0, time.monotonic()
    while limit is None or count < limit:
        messages = read(min(READ_AT_ONCE, limit - count) if limit else READ_AT_ONCE)
        for message in messages:
            printer.line(str(message.message_id), message.type, message.timestamp, message.body)
            done(message)
        count += len(messages)
        now = time.monotonic()
        if messages:
            last = now
        elif timeout is not None and now - last >= timeout:
            break
        else:
            time.sleep(POLL_SECONDS)
    return count
