"""The query of `GET /api/events` is parsed strictly, and every search has a bound."""

import pytest

from ingest.events.ids import ID_MAX, first_id_of
from ingest.http.reading.query import DEAD_LETTERS_MAX, LIMIT_DEFAULT, BadQuery, event_id_of, page_of, search_of
from ingest.reading.base import EventQuery

SECOND = first_id_of(1_738_331_100_000)
HOSTILE = "x%27%20OR%201%3D1%3B%20--%20%00%F0%9F%93%9E"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", EventQuery(newest=True)),
        ("call=a", EventQuery("a")),
        ("call=a&type=b", EventQuery("a", "b")),
        ("since=2025-01-31T13:45:00Z", EventQuery(first_id=SECOND, newest=True)),
        ("since=2025-01-31T13:45:00&type=b", EventQuery(event_type="b", first_id=SECOND, newest=True)),
        ("until=2025-01-31T14:45:00%2B01:00", EventQuery(last_id=SECOND - 1, newest=True)),
        ("call=a&cursor=7", EventQuery("a", first_id=8)),
        ("cursor=7", EventQuery(last_id=6, newest=True)),
        ("since=9999-01-01", EventQuery(first_id=ID_MAX, newest=True)),
        (f"call={HOSTILE}", EventQuery("x' OR 1=1; -- \x00📞")),
    ],
)
def test_query_selects_events(query: str, found: EventQuery) -> None:
    assert search_of(query).query == found
    assert search_of(query).limit == LIMIT_DEFAULT


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("type=b", "`type` has no index"),
        ("type=b&until=2025-01-31", "`type` has no index"),
        ("call=", "`call` has 1 to 255"),
        (f"call={'x' * 256}", "`call` has 1 to 255"),
        ("call=a&call=b", "more than once"),
        ("calls=a", "may have only"),
        ("call", "cannot be parsed"),
        ("&".join(f"a{number}=1" for number in range(20)), "cannot be parsed"),
        ("call=" + "%41" * 5000, "more than 8192 bytes"),
        *(
            (f"{name}={value}", "`limit` is|`cursor` is")
            for name in ("limit", "cursor")
            for value in ("0", "-1", "x", "")
        ),
        ("limit=501", "`limit` is"),
        (f"cursor={2**63}", "`cursor` is"),
        *((f"since={value}", "is no time") for value in ("x", "2025-13-01", "")),
    ],
)
def test_wrong_query_says_what_is_wrong(query: str, problem: str) -> None:
    with pytest.raises(BadQuery, match=problem):
        search_of(query)


def test_page_of_dead_letters() -> None:
    assert page_of("cursor=7&limit=3") == (7, 3)
    assert page_of("") == (0, DEAD_LETTERS_MAX)
    with pytest.raises(BadQuery):
        page_of(f"limit={DEAD_LETTERS_MAX + 1}")
    with pytest.raises(BadQuery):
        page_of("call=a")


@pytest.mark.parametrize("text", ["", "0", "-1", "1e3", " 1", "²", "٣", "9" * 19, "1" * 20, "1;DROP"])
def test_text_that_is_no_id(text: str) -> None:
    assert event_id_of(text) is None
