from ingest.batches import Batch, Entry, batches_of
from ingest.events import Event
from tests.unit.making import NOW_US, batch, entry

Row = tuple[int, Event]


def rows(*of: Batch) -> list[Row]:
    return [row for made in of for row in zip(made.ids, made.events, strict=True)]


def test_batch_is_named_by_its_ids() -> None:
    made = batch(3, slot=9)

    assert (made.first_id, made.last_id, made.slot, len(made)) == (made.ids[0], made.ids[2], 9, 3)


def test_part_keeps_ids_with_their_events() -> None:
    made = batch(5)

    part = made.part(1, 3)

    assert rows(part) == rows(made)[1:3]
    assert part.created_us == made.created_us


def test_batches_come_back_from_rows_in_any_order() -> None:
    first, second = batch(3), batch(2, us=NOW_US + 5000)

    found = batches_of([entry(first), entry(second)], reversed(rows(first, second)))

    assert [rows(one) for one in found] == [rows(first), rows(second)]


def test_time_of_a_batch_read_back_is_that_of_its_ids() -> None:
    made = batch(1)

    assert batches_of([entry(made)], rows(made))[0].created_us == NOW_US // 1000 * 1000


def test_other_slots_rows_within_the_range_are_left_out() -> None:
    early, late = batch(1, slot=4), batch(1, slot=4, us=NOW_US + 9000)
    other = batch(2, slot=5, us=NOW_US + 3000)
    spanning = Entry(early.first_id, late.last_id, 4, 2, 0)

    (found,) = batches_of([spanning], rows(early, other, late))

    assert rows(found) == rows(early, late)


def test_rows_of_the_same_slot_outside_the_range_are_left_out() -> None:
    mine, theirs = batch(2), batch(2, us=NOW_US + 1000)

    (found,) = batches_of([entry(mine)], rows(mine, theirs))

    assert rows(found) == rows(mine)


def test_rows_read_twice_are_there_once() -> None:
    made = batch(2)

    (found,) = batches_of([entry(made)], rows(made, made))

    assert rows(found) == rows(made)


def test_entry_without_rows_gives_no_batch() -> None:
    gone, there = batch(1), batch(1, us=NOW_US + 1000)

    assert [found.first_id for found in batches_of([entry(gone), entry(there)], rows(there))] == [there.first_id]
