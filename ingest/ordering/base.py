"""What keeping order asks of the database."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from ingest.events.batch import Batch
from ingest.store.base import Store


class OrderedStore(Store, Protocol):
    """A database that several workers and nodes agree in on the order of what they publish.

    `claim` gives entries so that none overtakes another of its slot; while all are behind, of any.
    """

    async def enter_relay_mode(self, now: Sequence[int], later: Sequence[int], lease_seconds: float) -> None:
        """From now on every new entry is left to the relays, and so are these.

        The `later` ones only their own worker may leave to them, by another call, within `lease_seconds`.
        """

    async def leave_to_relays(self, now: Sequence[int], later: Sequence[int], lease_seconds: float) -> bool:
        """Whether all are behind still; then these entries are left to the relays, as by `enter_relay_mode`."""

    async def hold_back(self, first_ids: Sequence[int], lease_seconds: float) -> None:
        """Renew the leases of `later` entries."""

    async def has_older(self, event_id: int) -> bool:
        """Whether an older entry of the same slot is in the outbox."""

    async def leave_relay_mode(self, publish: Callable[[Sequence[Batch]], Awaitable[None]]) -> bool:
        """Let all workers publish by themselves again, unless much is left; whether they do.

        What little is left is passed to `publish` first, while no commit can be made.
        """
