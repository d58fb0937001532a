"""The files of a followed FILE: it finds what was renamed, copied and truncated, and what is missing."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from ingest.cli.send.follow.batch import Batch
from ingest.cli.send.follow.folder import Folder, Identity, Listed, identity_of, open_listed
from ingest.cli.send.follow.followed_file import FollowedFile
from ingest.cli.send.follow.gaps import Gaps
from ingest.cli.send.follow.mark import FileMark, is_copy
from ingest.cli.send.follow.state_file import DONE_MAX, FollowState, new_key, new_mark
from ingest.cli.send.waiting import Say
from ingest.clock import Monotonic

SCAN_SECONDS = 10.0
"""Interval at which the follower lists its folder, even if nothing seems to change."""
ROTATED_SECONDS = 60.0
"""A rotated file is done if its writer adds nothing for this time."""
OPEN_FILES_MAX = 500
GAP_SECONDS = 5.0
"""A file that is not found for this time is a gap. A rotation may hide a file for a moment."""
GAPS_MAX = 16
"""Gaps for whose files the follower keeps looking."""


class FollowedFiles:
    """All files with lines that are not sent, oldest first. FILE itself is the last one."""

    def __init__(self, path: Path, state: FollowState, say: Say, monotonic: Monotonic = time.monotonic) -> None:
        self._path = path
        self._state = state
        self._folder = Folder(path)
        self._gaps = Gaps(path, self._folder, say)
        self._monotonic = monotonic
        now = monotonic()
        self._files = [FollowedFile(mark, None, now) for mark in state.files]
        self._search_at = self._scan_at = 0.0
        self._folder_ns = -1

    def look(self) -> bool:
        """Find out what happened to the files. Return True if the state must be saved. Raises `OSError`."""
        before = self._summary()
        self._check()
        self._find_missing()
        if self._is_scan_due():
            self._take_rotated()
        self._take_file()
        self._retire()
        self._state.files = [file.mark for file in self._files]
        return self._summary() != before

    def next_batch(self, lines_max: int) -> tuple[FollowedFile, Batch] | None:
        """Return the next lines of the oldest file that has any. Raises `OSError`."""
        for file in self._files:
            if batch := file.read(lines_max, whole=self._is_quiet(file)):
                return file, batch
        return None

    def close(self) -> None:
        for file in self._files:
            file.detach(self._monotonic())

    def _summary(self) -> list[tuple[str, int, int]]:
        marks = [file.mark for file in self._files] + self._state.done
        return [(mark.key, mark.device, mark.inode) for mark in marks]

    def _check(self) -> None:
        """Part from files whose content is gone: it may be in a copy now, and the file begins anew."""
        for file in list(self._files):
            if not file.is_intact(self._monotonic()):
                file.detach(self._monotonic())
                self._search_at = 0.0

    def _is_scan_due(self) -> bool:
        changed_ns, now = self._path.parent.stat().st_mtime_ns, self._monotonic()
        if changed_ns == self._folder_ns and now < self._scan_at:
            return False
        self._folder_ns, self._scan_at = changed_ns, now + SCAN_SECONDS
        return True

    def _find_missing(self) -> None:
        """Look for missing files: at once, again and again for a while, and then now and then."""
        missing, now = [file for file in self._files if file.is_missing], self._monotonic()
        if not missing or now < self._search_at:
            return
        listed, taken = self._folder.files(), self._taken()
        for file in missing:
            descriptor = self._folder.search(file.mark, taken, listed)
            if descriptor is not None:
                taken.add(identity_of(descriptor))
                self._go_on(file, descriptor)
        left = [file for file in missing if file.is_missing]
        gaps = [file for file in left if now - file.changed_at >= GAP_SECONDS]
        self._give_up(gaps)
        self._search_at = now + SCAN_SECONDS if len(gaps) == len(left) else 0.0

    def _go_on(self, file: FollowedFile, descriptor: int) -> None:
        self._gaps.close(file.mark)
        if file.mark.is_cut(descriptor):
            before = file.mark.offset
            file.mark.cut(descriptor, new_key())
            self._gaps.report_cut(before, file.mark)
        file.attach(descriptor, self._monotonic())

    def _give_up(self, gaps: Sequence[FollowedFile]) -> None:
        """Tell about files that are gone. Forget those that had no content, and the oldest above the limit."""
        for file in gaps:
            if file.mark.head_bytes:
                self._gaps.report(file.mark, self._state.since_ns)
        lost = [file for file in gaps if file.mark.head_bytes]
        forgotten = [file for file in gaps if not file.mark.head_bytes] + lost[: max(0, len(lost) - GAPS_MAX)]
        self._files = [file for file in self._files if file not in forgotten]

    def _taken(self) -> set[Identity]:
        return {identity_of(file.descriptor) for file in self._files if file.descriptor is not None}

    def _take_rotated(self) -> None:
        """Take files that were written and rotated since the last look. They come before FILE."""
        listed = self._folder.rotated(self._state.since_ns)
        for file in self._files:  # after the listing: so a copy in the list is not newer than what is learned here
            if file.descriptor is not None and file.is_intact(self._monotonic()):
                file.mark.learn(file.descriptor)
        taken = self._taken()
        new: list[FollowedFile] = []
        for one in listed:
            if one.identity not in taken and len(self._files) + len(new) < OPEN_FILES_MAX:
                new += self._opened(one)
        at = len(self._files) - (self._current() is not None)
        self._files[at:at] = new

    def _opened(self, listed: Listed) -> list[FollowedFile]:
        """Open a rotated file, unless its lines are known."""
        descriptor = open_listed(listed)
        if descriptor is None:
            return []
        mark = self._mark_of(descriptor, listed.found)
        if mark is None:
            os.close(descriptor)
            return []
        return [FollowedFile(mark, descriptor, self._monotonic())]

    def _mark_of(self, descriptor: int, found: os.stat_result) -> FileMark | None:
        """Return None if all lines are known. A file that is done but has grown goes on with its mark."""
        for mark in self._state.done:
            if mark.is_of(found) and mark.begins(descriptor):
                if found.st_size <= mark.offset or not mark.fits(descriptor):
                    return None
                self._state.done.remove(mark)
                return mark
        return None if self._is_known_copy(descriptor, found.st_size) else new_mark(descriptor)

    def _is_known_copy(self, descriptor: int, size: int) -> bool:
        """True for a copy of a file that is followed, or of one that is done. A copy has no lines of its own."""
        return any(file.mark.head_bytes and file.mark.begins(descriptor) for file in self._files) or any(
            mark.head_bytes and size <= mark.size and mark.begins(descriptor) for mark in self._state.done
        )

    def _take_file(self) -> None:
        """Take FILE if it is a new one."""
        if self._current() is not None or len(self._files) >= OPEN_FILES_MAX:
            return
        descriptor = self._folder.open_file()
        if descriptor is None:
            return
        if (last := self._last_open()) and last.descriptor is not None and is_copy(descriptor, last.descriptor):
            last.attach(descriptor, self._monotonic())  # a program replaced FILE by a copy
        else:
            self._files.append(FollowedFile(new_mark(descriptor), descriptor, self._monotonic()))

    def _last_open(self) -> FollowedFile | None:
        return next((file for file in reversed(self._files) if not file.is_missing), None)

    def _current(self) -> FollowedFile | None:
        """Return the open file that FILE is now."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        identity = (found.st_dev, found.st_ino)
        for file in self._files:
            if file.descriptor is not None and identity_of(file.descriptor) == identity:
                return file
        return None

    def _is_quiet(self, file: FollowedFile) -> bool:
        """True for a rotated file whose writer has finished. FILE is not rotated until another file replaces it."""
        is_last = file is self._last_open()
        return not is_last and self._monotonic() - file.changed_at >= ROTATED_SECONDS

    def _retire(self) -> None:
        for file in [one for one in self._files if one.is_finished and self._is_quiet(one)]:
            file.detach(self._monotonic())
            self._files.remove(file)
            self._remember(file.mark)

    def _remember(self, mark: FileMark) -> None:
        """Note a file that is done. Files that are older than those noted are not looked at any more."""
        state = self._state
        mark.points = []
        state.done.append(mark)
        while len(state.done) > DONE_MAX:
            state.since_ns = max(state.since_ns, state.done.pop(0).mtime_ns + 1)
