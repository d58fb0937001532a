"""Locks of rows, tables and names: shared or exclusive, granted in the order of the requests."""

import asyncio
from collections.abc import Iterator
from typing import Any

from tests.simulation.mysql.errors import DEADLOCK, LOCK_WAIT, error


class Owner:
    """A transaction, or a session for the locks that are its own."""

    def __init__(self) -> None:
        self.locks: dict[Lock, None] = {}
        self.waits_for: Request | None = None

    @property
    def weight(self) -> int:
        """InnoDB ends the lighter one of a deadlock. It counts the locks of a table's rows as one for each mode."""
        return len(
            {(lock.group, exclusive) for lock in self.locks if (exclusive := lock.holders.get(self)) is not None}
        )

    def release_locks(self) -> None:
        locks, self.locks = self.locks, {}
        for lock in locks:
            lock.release(self)


class Request:
    """One owner's wait for a lock."""

    __slots__ = ("done", "exclusive", "lock", "owner")

    def __init__(self, lock: "Lock", owner: Owner, exclusive: bool, done: "asyncio.Future[None]") -> None:
        self.lock = lock
        self.owner = owner
        self.exclusive = exclusive
        self.done = done

    def blockers(self) -> Iterator[Owner]:
        """Those whose locks or earlier requests this one must wait for."""
        yield from self.lock.conflicting(self.owner, self.exclusive)
        for request in self.lock.queue:
            if request is self:
                return
            if request.owner is not self.owner and (request.exclusive or self.exclusive):
                yield request.owner


class Lock:
    """`group` is the same object for the rows of a table."""

    __slots__ = ("group", "holders", "queue")

    def __init__(self, group: object) -> None:
        self.group = group
        self.holders: dict[Owner, bool] = {}
        """True for an exclusive one."""
        self.queue: list[Request] = []

    def conflicting(self, owner: Owner, exclusive: bool) -> Iterator[Owner]:
        for holder, holds_exclusively in self.holders.items():
            if holder is not owner and (exclusive or holds_exclusively):
                yield holder

    def has(self, owner: Owner, exclusive: bool) -> bool:
        held = self.holders.get(owner)
        return held is not None and (held or not exclusive)

    @property
    def is_unused(self) -> bool:
        """True if nobody has it or waits for it."""
        return not self.holders and not self.queue

    def is_free_for(self, owner: Owner, exclusive: bool) -> bool:
        """False if it must wait: also behind those that wait, even if the owner has a shared lock already."""
        if self.is_unused:
            return True
        if any(self.conflicting(owner, exclusive)):
            return False
        return not any((one.exclusive or exclusive) and one.owner is not owner for one in self.queue)

    def grant(self, owner: Owner, exclusive: bool) -> None:
        self.holders[owner] = self.holders.get(owner, False) or exclusive
        owner.locks[self] = None

    def release(self, owner: Owner) -> None:
        self.holders.pop(owner, None)
        owner.locks.pop(self, None)
        if self.queue:
            self.grant_next()

    def grant_next(self) -> None:
        """Grant what no earlier request and no holder forbids."""
        passed: list[Request] = []
        for request in list(self.queue):
            if request.done.done():  # it waits no more, and its task has only to find out
                continue
            blocked = any(self.conflicting(request.owner, request.exclusive)) or any(
                (one.exclusive or request.exclusive) and one.owner is not request.owner for one in passed
            )
            if blocked:
                passed.append(request)
                continue
            self.queue.remove(request)
            self.grant(request.owner, request.exclusive)
            request.owner.waits_for = None
            request.done.set_result(None)


async def acquire(lock: Lock, owner: Owner, exclusive: bool, timeout_seconds: float) -> None:
    """Raises 1205 after the timeout, and 1213 if a deadlock ends this owner's transaction."""
    if lock.has(owner, exclusive):
        return
    if lock.is_free_for(owner, exclusive):
        lock.grant(owner, exclusive)
        return
    loop = asyncio.get_running_loop()
    request = Request(lock, owner, exclusive, loop.create_future())
    lock.queue.append(request)
    owner.waits_for = request
    _end_deadlock(owner)
    timer = loop.call_later(timeout_seconds, _fail, request, LOCK_WAIT)
    try:
        await request.done
    finally:
        timer.cancel()
        if request in lock.queue:
            lock.queue.remove(request)
            owner.waits_for = None
            lock.grant_next()


def _fail(request: Request, number: int) -> None:
    if not request.done.done():
        request.done.set_exception(error(number))


def _end_deadlock(owner: Owner) -> None:
    """If this owner's wait closes a circle, fail the lightest one in it. If they are equal, it is this owner."""
    while circle := _circle(owner):
        victim = min(circle, key=lambda one: (one.weight, one is not owner))
        if victim.waits_for is None or victim.waits_for.done.done():
            return
        _fail(victim.waits_for, DEADLOCK)
        if victim is owner:
            return
        victim.waits_for = None


def _circle(owner: Owner) -> list[Owner]:
    """The owners that wait for each other; empty if `owner` is not among such."""
    seen: set[Any] = set()

    def search(at: Owner, path: list[Owner]) -> list[Owner]:
        if at.waits_for is None or at.waits_for.done.done():
            return []
        for blocker in at.waits_for.blockers():
            if blocker is owner:
                return path
            if blocker not in seen:
                seen.add(blocker)
                if found := search(blocker, [*path, blocker]):
                    return found
        return []

    return search(owner, [owner])
