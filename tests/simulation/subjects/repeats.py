"""Messages that are sent again: a worker may not repeat what the broker has confirmed to it, or to another one.

A queue may have a message twice after a failure between it and its confirm. These promises say when it may not.
"""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, NamedTuple

from ingest.broker.base import Priority, Publisher
from ingest.errors import NotConfirmed
from ingest.events.batch import Batch

if TYPE_CHECKING:
    from tests.simulation.world import World

SETTLE_SECONDS = 2.5
"""Within this time without any fault a worker settles what was confirmed. A relay's claim is no older than 2 s."""


class Confirm(NamedTuple):
    """A message was confirmed to this worker, at this time."""

    worker: "Sender"
    at: float
    alone: bool
    """The broker did not take others of its batch, so its entry cannot be settled yet."""


class Sender(NamedTuple):
    """One life of a worker, as far as its promises depend on it."""

    name: str
    is_well: Callable[[], bool]
    """It lives, and was never frozen."""
    has_accepted: Callable[[Batch], bool]
    """It accepted the events itself. If not, both the spool and the database may have them for it."""


class Repeats:
    """All confirms of the queue of a world."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._confirms: dict[int, Confirm] = {}
        self._uncertain: set[int] = set()
        """Ids of messages that somebody else sent, too: that try began before the confirm and failed after it."""

    def watch(self, sender: Sender, publisher: Publisher) -> None:
        """Check each message before this worker sends it, and note the confirms that it gets."""
        publish = publisher.publish

        async def watched(batch: Batch, priority: Priority = "live") -> None:
            self._check(sender, batch)
            began = self._world.loop.time()
            try:
                await publish(batch, priority)
            except NotConfirmed as exc:
                refused = {*exc.positions}
                self._note_uncertain(batch, refused, began)
                self._note(sender, batch, refused)
                raise
            except BaseException:
                self._note_uncertain(batch, range(len(batch)), began)
                raise
            self._note(sender, batch, ())

        publisher.publish = watched  # type: ignore[method-assign]

    def _note(self, sender: Sender, batch: Batch, refused: Collection[int]) -> None:
        confirm = Confirm(sender, self._world.loop.time(), bool(refused))
        for at, event_id in enumerate(batch.ids):
            if at not in refused:
                self._confirms.setdefault(event_id, confirm)

    def _note_uncertain(self, batch: Batch, refused: Collection[int], began: float) -> None:
        for at in refused:
            confirm = self._confirms.get(batch.ids[at])
            if confirm and confirm.at > began:
                self._uncertain.add(batch.ids[at])

    def _check(self, sender: Sender, batch: Batch) -> None:
        servers = self._world.servers
        if self._confirms.keys().isdisjoint(batch.ids) or servers.went_back or servers.slots_lost:
            return
        for event_id in batch.ids:
            confirm = self._confirms.get(event_id)
            if confirm and event_id not in self._uncertain and (problem := self._problem(sender, batch, confirm)):
                self._world.promises.breaks(f"{problem}: {event_id}")

    def _problem(self, sender: Sender, batch: Batch, confirm: Confirm) -> str | None:
        """Say which promise is broken if this worker sends a message that was confirmed before."""
        world = self._world
        if not confirm.worker.is_well():
            return None
        if confirm.alone:
            again = sender is confirm.worker and sender.has_accepted(batch) and not world.copies
            return f"{sender.name} sends a part of a batch again that was confirmed to it" if again else None
        since = max(confirm.at, world.calm_since)
        if world.copies or world.loop.time() - since < SETTLE_SECONDS:
            return None
        return f"{sender.name} repeats a message that was confirmed to {confirm.worker.name}, and never settled"
