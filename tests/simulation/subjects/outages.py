"""A worker with a spool that knows of an outage of the database keeps no client waiting for the database."""

from collections.abc import Callable, Sequence

from ingest.clock import Monotonic
from ingest.events.batch import Batch
from ingest.store.base import Store

KNOWN_SECONDS = 3.0
"""Commits that began before the outage have ended by then, with all further tries."""


def watch_commits(
    store: Store, is_away: Callable[[], bool], monotonic: Monotonic, breaks: Callable[[str], None]
) -> None:
    """Break the promise if new events are committed long after the worker has learned of the outage.

    The drainer, which finds out when the outage is over, commits without a lease.
    """
    commit = store.commit
    since: float | None = None

    async def watched(batch: Batch, *, lease_seconds: float, settled: Sequence[int]) -> bool:
        nonlocal since
        now = monotonic()
        since = (now if since is None else since) if is_away() else None
        if lease_seconds and since is not None and now - since > KNOWN_SECONDS:
            breaks(f"new events wait for the database {now - since:.1f} s after its outage was known")
        relay_mode = await commit(batch, lease_seconds=lease_seconds, settled=settled)
        since = None
        return relay_mode

    store.commit = watched  # type: ignore[method-assign]
