"""Pages of rows end where their payloads have enough bytes."""

import pytest

from ingest.store.mysql.partitioning.pages import last_id_of_page


@pytest.mark.parametrize(
    ("sizes", "last"),
    [
        ([(1, 10)], 1),
        ([(1, 10), (5, 90), (9, 1)], 5),
        ([(1, 101), (2, 1)], 1),
        ([(1, 50), (2, 101), (3, 1)], 1),
    ],
)
def test_page_ends_before_it_has_too_many_bytes(sizes: list[tuple[int, int]], last: int) -> None:
    assert last_id_of_page(sizes, 100) == last
