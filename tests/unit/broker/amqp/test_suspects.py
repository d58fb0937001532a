"""Messages become suspects when the broker closes a channel. Some are given up after trials."""

import pytest

from ingest.broker.amqp.reasons import Closed
from ingest.broker.amqp.suspects import (
    ORDINARY_BYTES,
    PAUSE_SECONDS_MAX,
    SEEN_SECONDS,
    STRIKES_MAX,
    SUSPECTS_MAX,
    Suspects,
    halves,
)
from ingest.events.batch import Batch
from ingest.events.event import Event
from tests.unit.fakes import FakeClock
from tests.unit.making import NOW_US, batch

LIMIT = ORDINARY_BYTES + 1000
UNNAMED = Closed(406, "PRECONDITION_FAILED - invalid message", by_a_message=True)


def too_large(size: int, limit: int = LIMIT) -> Closed:
    words = f"PRECONDITION_FAILED - message size {size} is larger than configured max size {limit}"
    return Closed(406, words, by_a_message=True)


def sized(*sizes: int, us: int = NOW_US) -> Batch:
    return batch([Event("call-1", "x", b"x" * size) for size in sizes], us=us)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def suspects(clock: FakeClock) -> Suspects:
    return Suspects(clock.monotonic)


def struck(suspects: Suspects, clock: FakeClock, made: Batch, at: int, closed: Closed, times: int) -> None:
    for _ in range(times):
        suspects.strike(made.ids[at], len(made.events[at].payload), closed)
        clock.advance(PAUSE_SECONDS_MAX)


def test_there_are_no_suspects_at_first(suspects: Suspects) -> None:
    assert list(suspects.among(sized(10, LIMIT * 9))) == []
    assert suspects.problem is None


def test_only_messages_above_the_named_limit_become_suspects(suspects: Suspects) -> None:
    made = sized(10, LIMIT + 1, LIMIT, LIMIT + 2)
    accused = suspects.accuse(made, range(4), too_large(LIMIT + 1), sizes_explain=True)
    assert list(accused) == [1, 3]
    assert suspects.groups(made, accused) == [[1], [3]]
    assert list(suspects.among(sized(LIMIT, LIMIT + 7, us=NOW_US + 1000))) == [1]  # though never in flight


def test_all_in_flight_become_suspects_without_a_named_limit(suspects: Suspects) -> None:
    made = sized(30, 10, 20)
    assert list(suspects.accuse(made, [0, 2], UNNAMED, sizes_explain=True)) == [0, 2]
    assert suspects.groups(made, [0, 2]) == [[0, 2]]
    assert list(suspects.among(made)) == [0, 2]


def test_all_in_flight_become_suspects_if_sizes_did_not_explain_it(suspects: Suspects) -> None:
    made = sized(10, 20)
    assert list(suspects.accuse(made, [0, 1], too_large(LIMIT + 1), sizes_explain=True)) == []
    assert list(suspects.accuse(made, [0, 1], too_large(LIMIT + 1), sizes_explain=False)) == [0, 1]


def test_one_of_a_thousand_is_found_by_halves_within_the_tries() -> None:
    made = sized(*range(1, 1001))
    poison, tries, groups = 613, 0, [list(range(1000))]
    while groups:
        group = groups.pop(0)
        tries += 1
        if poison in group and len(group) > 1:
            groups[:0] = [list(half) for half in halves(made, group) if half]
    assert tries <= 21


def test_halves_are_the_small_and_the_large_ones_each_in_order() -> None:
    assert halves(sized(5, 1, 4, 2, 3), range(5)) == ([1, 3], [0, 2, 4])


def test_message_is_given_up_after_its_strikes_while_others_were_confirmed(
    suspects: Suspects, clock: FakeClock
) -> None:
    made = sized(10, 20)
    suspects.accuse(made, [0, 1], UNNAMED, sizes_explain=True)
    for _ in range(STRIKES_MAX):
        assert suspects.give_up(made.ids[1]) is None
        suspects.confirmed(1)
        struck(suspects, clock, made, 1, UNNAMED, 1)
    reason = suspects.give_up(made.ids[1]) or ""
    assert "406 PRECONDITION_FAILED - invalid message" in reason
    assert suspects.give_up(made.ids[1]) is None, "told once: the same event may be sent again later"


def test_nothing_is_given_up_while_the_broker_takes_nothing(suspects: Suspects, clock: FakeClock) -> None:
    made = sized(10, 20)
    suspects.confirmed(1000)  # before
    suspects.accuse(made, [0, 1], UNNAMED, sizes_explain=True)
    for at in (0, 1):
        struck(suspects, clock, made, at, UNNAMED, 2000)  # a day and a half
    assert [suspects.give_up(event_id) for event_id in made.ids] == [None, None]


def test_strikes_in_a_row_between_two_confirms_prove_it_once(suspects: Suspects, clock: FakeClock) -> None:
    """The broker may be overloaded, accept one message, and be overloaded again."""
    made = sized(10)
    suspects.accuse(made, [0], UNNAMED, sizes_explain=True)
    suspects.confirmed(1)
    struck(suspects, clock, made, 0, UNNAMED, STRIKES_MAX + 1)
    assert suspects.give_up(made.first_id) is None


@pytest.mark.parametrize(
    ("size", "closed", "given_up"),
    [
        (LIMIT + 1, too_large(LIMIT + 1), True),
        (LIMIT + 1, too_large(LIMIT + 2), False),  # the size is that of another message
        (900, too_large(900, limit=100), False),  # it would refuse every event
        (LIMIT - 1, too_large(LIMIT - 1), False),
    ],
)
def test_single_message_is_given_up_if_the_broker_names_its_size(
    suspects: Suspects, clock: FakeClock, size: int, closed: Closed, given_up: bool
) -> None:
    made = sized(size)
    suspects.accuse(made, [0], closed, sizes_explain=False)
    struck(suspects, clock, made, 0, closed, STRIKES_MAX)
    assert (suspects.give_up(made.first_id) is not None) == given_up


def test_message_pauses_longer_after_each_strike(suspects: Suspects, clock: FakeClock) -> None:
    made = sized(10)
    suspects.accuse(made, [0], UNNAMED, sizes_explain=True)
    waits = []
    for _ in range(12):
        suspects.strike(made.first_id, 10, UNNAMED)
        waited = 0.0
        while not suspects.groups(made, [0]):
            clock.advance(0.1)
            waited += 0.1
        waits.append(waited)
    assert waits[0] < waits[1] < waits[2]
    assert waits[-1] <= PAUSE_SECONDS_MAX + 1
    assert waits == sorted(waits)


def test_confirmed_suspect_is_cleared_and_what_the_broker_takes_is_learned_anew(suspects: Suspects) -> None:
    made = sized(10, LIMIT + 1)
    suspects.accuse(made, [0, 1], too_large(LIMIT + 1), sizes_explain=True)
    suspects.strike(made.ids[1], LIMIT + 1, too_large(LIMIT + 1))
    assert "is larger than" in (suspects.problem or "")
    suspects.clear(made, [1])
    assert suspects.problem is None
    assert list(suspects.among(made)) == []


def test_problem_of_what_another_worker_gave_up_is_forgotten(suspects: Suspects, clock: FakeClock) -> None:
    made = sized(10)
    struck(suspects, clock, made, 0, UNNAMED, 1)
    suspects.strike(made.first_id, 10, UNNAMED)
    assert suspects.problem
    clock.advance(PAUSE_SECONDS_MAX + SEEN_SECONDS)
    assert suspects.problem is None


def test_broker_that_takes_one_larger_message_clears_all_that_it_refused_before(suspects: Suspects) -> None:
    made = sized(LIMIT + 1, LIMIT + 2)
    suspects.accuse(made, [0, 1], too_large(LIMIT + 1), sizes_explain=True)
    for at in (0, 1):
        suspects.strike(made.ids[at], LIMIT + 1 + at, too_large(LIMIT + 1 + at))
    suspects.clear(made, [0])
    assert suspects.problem is None
    assert list(suspects.among(made)) == []


def test_suspects_are_bounded(suspects: Suspects) -> None:
    for number in range(3):
        made = batch(SUSPECTS_MAX // 2, us=NOW_US + number * 1_000_000)
        suspects.accuse(made, range(len(made)), UNNAMED, sizes_explain=True)
    first = batch(SUSPECTS_MAX // 2)
    assert list(suspects.among(first)) == []
    assert len(suspects.among(made)) == SUSPECTS_MAX // 2
