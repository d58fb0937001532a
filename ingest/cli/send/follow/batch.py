"""Cuts a part of a file into lines, and these into the events of one request."""

from codecs import BOM_UTF8
from collections.abc import Sequence
from typing import Any, NamedTuple

from ingest.cli.send.event_file import LINE_BYTES_MAX
from ingest.cli.send.follow.mark import PART_BYTES, digest_of

BLANKS = b" \t\r\n\0"
"""Around an event. A writer that does not append leaves zeros where its file was truncated."""
ARRAY = "The line is a JSON array. Write one event, a JSON object, per line."
TOO_LONG = f"The line has more than {LINE_BYTES_MAX >> 20} MiB, too long for an event."
SHOWN_BYTES_MAX = 1000
"""The part of a line that is too long, for FILE.rejected."""


class RefusedLine(NamedTuple):
    """A line for FILE.rejected: its number, its content, and the errors by field."""

    line: int
    event: bytes
    errors: Any


class Batch(NamedTuple):
    """The lines from an offset on. The key of the request depends only on the offset, and not on the number of lines.

    The service finds a duplicate by the key and the position in the request. So a batch may be sent again with more
    lines than before, and nothing is stored twice.
    """

    offset: int
    end: int
    """The offset behind the last line."""
    line: int
    """Number of the last line."""
    tail: str
    """Digest of the last bytes before `end`."""
    numbers: Sequence[int] = ()
    """The lines of the events."""
    events: Sequence[bytes] = ()
    refused: Sequence[RefusedLine] = ()
    """Lines that would spoil the request of the others."""


def cut(content: bytes, before: int, offset: int, line: int, lines_max: int, *, whole: bool = False) -> Batch | None:
    """Return the next lines, or None if no line is complete. With `whole`, the end of the content ends a line.

    `content` is a part of the file, whose first `before` bytes are done. The offset and the line are those behind them.
    """
    numbers, events, refused = [], [], []
    at = before
    for _ in range(lines_max):
        end = content.find(b"\n", at) + 1 or (len(content) if whole else 0)
        if end <= at:
            break
        event = content[at:end].strip(BLANKS)
        if at == before and not offset:
            event = event.removeprefix(BOM_UTF8)
        line, at = line + 1, end
        if event.startswith(b"["):  # the service would take the whole request for an array
            refused.append(RefusedLine(line, event, {"event": [ARRAY]}))
        elif event:
            numbers.append(line)
            events.append(event)
    if at == before:
        return None
    tail = digest_of(content[max(0, at - PART_BYTES) : at])
    return Batch(offset, offset + at - before, line, tail, numbers, events, refused)
