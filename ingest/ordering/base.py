"""The database as the workers use it to agree on the order of publishing."""

from collections.abc import Awaitable, Callable, Sequence, Set
from typing import Protocol

from ingest.events.batch import Batch
from ingest.store.base import Store


class OrderedStore(Store, Protocol):
    """A database in which all workers and nodes agree on the order in which they publish.

    Normally each worker publishes its own batches. In relay mode every new entry stays in the outbox and only relays
    publish. `commit` returns True if it was made in relay mode. `claim` leases entries so that none overtakes an older
    one of its slot; in relay mode, an older one of any slot.
    """

    async def enter_relay_mode(self, now: Sequence[int], later: Sequence[int], lease_seconds: float) -> None:
        """Switch all workers to relay mode, and leave these entries to the relays.

        Entries in `now` are the relays' at once. Only their own worker may release the `later` ones. It must name them
        in another call within `lease_seconds`, as `now` or again as `later`.
        """

    async def leave_to_relays(self, now: Sequence[int], later: Sequence[int], lease_seconds: float) -> bool:
        """In relay mode, leave these entries to the relays as `enter_relay_mode` does. Return whether it is on."""

    async def unpublished(self, event_ids: Set[int]) -> Sequence[int]:
        """Return the first ids of the outbox entries that have these events.

        Empty in relay mode: relays publish them before any later ones.
        """

    async def has_older(self, event_id: int) -> bool:
        """Return whether the outbox has an older entry of the same slot."""

    async def leave_relay_mode(self, publish: Callable[[Sequence[Batch]], Awaitable[None]]) -> bool:
        """Leave relay mode unless many entries are left. Return whether it is off.

        The last few entries are passed to `publish` first, while no commit can be made.
        """
