"""Cuts pages of rows by their bytes, as a payload may have a megabyte."""

from collections.abc import Sequence

from ingest.store.mysql.connection import Row

PAGE_BYTES_MAX = 8_388_608
"""Payloads of a page. A single larger row is a page of its own."""


def last_id_of_page(sizes: Sequence[Row], bytes_max: int = PAGE_BYTES_MAX) -> int:
    """Return the last id that fits. `sizes` has the ids and bytes of the next rows, at least one, in their order."""
    total = 0
    last: int = sizes[0][0]
    for event_id, size in sizes:
        total += size
        if total > bytes_max:
            break
        last = event_id
    return last
