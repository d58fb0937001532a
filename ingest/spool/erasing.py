"""Finds and erases events in the files of a spool: each file is written anew, and replaced in one step.

All entries count, also those of events that are in the database already: their bytes are in the file until it goes. A
tombstone stands in an erased event's place, so ids, numbers and marks of the spool stay right.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import mkstemp
from typing import BinaryIO

import msgspec

from ingest.events.batch_codec import unpack_one, why_unreadable
from ingest.files.atomic import sync_folder
from ingest.spool.files import LOG, damaged, is_held, legacy, mark_of, segments_of, spools, take
from ingest.spool.segments.format import (
    BATCHES,
    ENTRY_BYTES,
    HEAD_BYTES,
    KEYED,
    SYNCED_OFFSET,
    Entry,
    Gap,
    Kind,
    aside_content,
    aside_of,
    entries,
    entry_of,
    head_of,
    read_at,
    synced_of,
)

Matches = Callable[[bytes, str], bool]
"""Takes a payload and a call's id."""
Replace = Callable[[bytes, set[int]], bytes | None]
"""Returns the packed batch with a tombstone in the place of each of these events."""
Reached = Callable[[str], object]


class SpoolSearch(msgspec.Struct):
    """`found` has the ids of matching events. `held` is True if a running service has the spool."""

    number: int
    held: bool
    events: int = 0
    found: list[int] = []
    problems: list[str] = []


def search(folder: Path, matches: Matches) -> Iterator[SpoolSearch]:
    """Search each spool that is not empty. Raises `OSError`; `FileNotFoundError` means that its owner drained it."""
    for number in spools(folder):
        found = SpoolSearch(number, is_held(folder, number))
        for path in segments_of(folder, number):
            _search(path, matches, found)
        yield found


def unsearchable(folder: Path) -> list[str]:
    """Files that may hold events and cannot be searched, each with what to do."""
    return [
        *(f"{path}: a damaged file of the spool; delete it when you no longer need it." for path in damaged(folder)),
        *(f"{path}: of an older version; start the service, which takes it over, first." for path in legacy(folder)),
    ]


def rewrite(folder: Path, number: int, matches: Matches, replace: Replace, reached: Reached = lambda _: None) -> bool:
    """Erase the events from a spool that no process has. Return False if one has it. Raises `OSError`."""
    taken = take(folder, number)
    if taken is None:
        return False
    try:
        for draft in folder.glob(f".spool-{number}.*{LOG}.*"):
            draft.unlink()  # of a killed process
        for path in taken.segments():
            found = SpoolSearch(number, held=False)
            _search(path, matches, found)
            if found.found:
                _rewrite(path, set(found.found), replace)
                reached("segment")
    finally:
        taken.release()
    return True


def _search(path: Path, matches: Matches, found: SpoolSearch) -> None:
    with path.open("rb") as file:
        for entry in entries(file.fileno(), mark_of(path)):
            if isinstance(entry, Gap) or not entry.whole:
                found.problems.append(f"{path}: damaged bytes, which cannot be searched; see `ingest spool verify`.")
                continue
            if (packed := _packed_in(entry)) is None:
                continue
            batch = unpack_one(packed)
            if batch is None:
                why = why_unreadable(packed)
                found.problems.append(f"{path}: batch {entry.first_id} cannot be searched: {why}.")
                continue
            found.events += len(batch)
            pairs = zip(batch.ids, batch.events, strict=True)
            found.found += [one for one, event in pairs if matches(event.payload, event.call_id)]


def _rewrite(path: Path, event_ids: set[int], replace: Replace) -> None:
    """Write the file anew under a temporary name, and give it the old name. Damaged bytes are copied as they are."""
    descriptor, draft = mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as new, path.open("rb") as old:
            mark = mark_of(path)
            new.write(head_of(mark))
            _copy(old, new, mark, event_ids, replace)
            end = new.tell()
            new.seek(SYNCED_OFFSET)
            new.write(synced_of(end))
            new.flush()
            os.fsync(descriptor)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _copy(old: BinaryIO, new: BinaryIO, mark: bytes, event_ids: set[int], replace: Replace) -> None:
    for one in entries(old.fileno(), mark):
        if isinstance(one, Gap):
            if one.offset >= HEAD_BYTES:
                new.write(read_at(old.fileno(), one.offset, one.size))
            continue
        changed = _changed(one, event_ids, replace) if one.whole else None
        if changed is None:
            new.write(read_at(old.fileno(), one.offset - ENTRY_BYTES, ENTRY_BYTES + len(one.content)))
        else:
            new.write(entry_of(mark, one.kind, one.first_id, one.events, changed))


def _changed(entry: Entry, event_ids: set[int], replace: Replace) -> bytes | None:
    """The content without these events. None if it has none of them."""
    packed = _packed_in(entry)
    batch = unpack_one(packed) if packed else None
    if packed is None or batch is None or event_ids.isdisjoint(batch.ids):
        return None
    new = replace(packed, event_ids)
    if new is None or entry.kind & ~KEYED != Kind.ASIDE:
        return new
    return aside_content(aside_of(entry.content)[0], new)


def _packed_in(entry: Entry) -> bytes | None:
    kind = entry.kind & ~KEYED
    if kind in BATCHES:
        return entry.content
    return entry.content[aside_of(entry.content)[1] :] if kind == Kind.ASIDE else None
