"""A file is recognized by its content: inodes are reused, and copies have others."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ingest.cli.send.follow.mark import PART_BYTES, FileMark, digest_of, is_copy

Open = Callable[[bytes], int]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    descriptors: list[int] = []

    def open_with(content: bytes) -> int:
        path = tmp_path / str(len(descriptors))
        path.write_bytes(content)
        descriptors.append(os.open(path, os.O_RDONLY))
        return descriptors[-1]

    yield open_with
    for descriptor in descriptors:
        os.close(descriptor)


def mark_of(descriptor: int, content: bytes, offset: int) -> FileMark:
    mark = FileMark("key", 0, 0)
    mark.learn(descriptor)
    mark.advance(offset, 1, digest_of(content[max(0, offset - PART_BYTES) : offset]))
    return mark


LONG = b"a" * PART_BYTES + b"b" * PART_BYTES + b"c" * PART_BYTES


@pytest.mark.parametrize("content", [b"one\ntwo\n", LONG])
def test_copy_and_grown_file_fit(opened: Open, content: bytes) -> None:
    mark = mark_of(opened(content), content, len(content))

    assert mark.fits(opened(content))
    assert mark.fits(opened(content + b"more"))


@pytest.mark.parametrize(
    "other",
    [
        LONG[:-1],
        b"x" + LONG[1:],
        LONG[: PART_BYTES - 1] + b"x" + LONG[PART_BYTES:],
        LONG[:-1] + b"x",
        b"",
    ],
    ids=["shorter", "other first byte", "other beginning", "other bytes before the offset", "empty"],
)
def test_file_with_other_content_does_not_fit(opened: Open, other: bytes) -> None:
    assert not mark_of(opened(LONG), LONG, len(LONG)).fits(opened(other))


def test_more_of_the_beginning_is_learned_as_the_file_grows(opened: Open) -> None:
    mark = mark_of(opened(b"one\n"), b"one\n", 4)
    mark.learn(opened(b"one\ntwo\n"))

    assert (mark.head_bytes, mark.head, mark.size, mark.unsent_bytes) == (8, digest_of(b"one\ntwo\n"), 8, 4)


def test_nothing_is_learned_from_a_file_that_begins_otherwise(opened: Open) -> None:
    mark = mark_of(opened(b"one\n"), b"one\n", 4)
    mark.learn(opened(b"two\nthree\n"))

    assert (mark.head_bytes, mark.head) == (4, digest_of(b"one\n"))


def test_copy_has_the_whole_content_of_the_original(opened: Open) -> None:
    original = opened(LONG)

    assert is_copy(opened(LONG), original)
    assert is_copy(opened(LONG + b"more"), original)
    assert not is_copy(opened(LONG[:-1]), original)
    assert not is_copy(opened(b"x" + LONG[1:]), original)
    assert not is_copy(opened(LONG), opened(b""))
