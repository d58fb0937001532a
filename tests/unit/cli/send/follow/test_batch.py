"""A part of a file becomes a request: complete lines only, and none that spoils the others."""

import pytest

from ingest.cli.send.follow.batch import ARRAY, cut


def test_incomplete_line_waits_for_its_end() -> None:
    first = cut(b'{"a":1}\n{"b"', 0, 0, 0, 10)

    assert first is not None
    assert (first.events, first.numbers, first.end, first.line) == ([b'{"a":1}'], [1], 8, 1)
    assert cut(b'{"a":1}\n{"b"', 8, 8, 1, 10) is None


def test_end_of_a_rotated_file_ends_its_last_line() -> None:
    batch = cut(b'{"a":1}\n{"b":2}', 8, 8, 1, 10, whole=True)

    assert batch is not None
    assert (batch.events, batch.numbers, batch.end) == ([b'{"b":2}'], [2], 15)
    assert cut(b'{"a":1}\n', 8, 8, 1, 10, whole=True) is None


def test_batch_has_a_limit_of_lines_and_says_where_it_ends() -> None:
    batch = cut(b"{}\n{}\n{}\n", 3, 103, 7, 1)

    assert batch is not None
    assert (batch.offset, batch.end, batch.line, batch.numbers) == (103, 106, 8, [8])


@pytest.mark.parametrize("blank", [b"\n", b" \t\r\n", b"\0\0\0\n"])
def test_blank_lines_count_but_are_no_events(blank: bytes) -> None:
    batch = cut(blank + b"{}\n", 0, 0, 0, 10)

    assert batch is not None
    assert (batch.events, batch.numbers) == ([b"{}"], [2])


def test_zeros_before_a_line_are_left_out() -> None:
    batch = cut(b"\0\0\0{}\r\n", 0, 0, 0, 10)

    assert batch is not None
    assert batch.events == [b"{}"]


def test_byte_order_mark_is_left_out_at_the_beginning_of_the_file_only() -> None:
    content = b"\xef\xbb\xbf{}\n"

    batches = cut(content, 0, 0, 0, 10), cut(b"{}\n" + content, 3, 3, 1, 10)

    assert [batch.events if batch else None for batch in batches] == [[b"{}"], [b"\xef\xbb\xbf{}"]]


def test_array_is_refused_before_the_service_takes_the_request_for_an_array() -> None:
    batch = cut(b"[{}]\n{}\n", 0, 0, 0, 10)

    assert batch is not None
    assert [(one.line, one.event, one.errors) for one in batch.refused] == [(1, b"[{}]", {"event": [ARRAY]})]
    assert (batch.events, batch.numbers) == ([b"{}"], [2])
