from concurrent.futures import ThreadPoolExecutor

import pytest

from ingest.events.batch import Batch
from ingest.events.batch_codec import pack, unpack, unpack_one
from ingest.events.event import Event
from tests.unit.making import batch

Row = tuple[int, Event]

PAYLOADS = [b"{}", b'{ "a" : 1.0,\n"a":12345678901234567890123456 }', '{"x": "é\x7f"}'.encode()]


def rows(of: Batch) -> list[Row]:
    return list(zip(of.ids, of.events, strict=True))


def test_batch_is_named_by_its_ids() -> None:
    made = batch(3, slot=9)

    assert (made.first_id, made.last_id, made.slot, len(made)) == (made.ids[0], made.ids[2], 9, 3)


def test_part_keeps_ids_with_their_events() -> None:
    made = batch(5)

    part = made.part(1, 3)

    assert rows(part) == rows(made)[1:3]
    assert part.created_us == made.created_us


@pytest.mark.parametrize("payload", PAYLOADS)
def test_packed_batch_comes_back_byte_for_byte(payload: bytes) -> None:
    made = batch([Event("call-1", "call_started", payload), Event("call-2", "t", b"[]")])

    (found,) = unpack([(made.first_id, pack(made))])

    assert rows(found) == rows(made)
    assert found.created_us == made.created_us


@pytest.mark.parametrize("damaged", [b"", b"\xc0", pack(batch(2))[:-1]])
def test_damaged_entry_is_reported_and_does_not_hold_up_the_others(
    damaged: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    sound = batch(2, slot=3)

    found = unpack([(77, damaged), (sound.first_id, pack(sound))])

    assert [rows(one) for one in found] == [rows(sound)]
    assert [record.first_id for record in caplog.records] == [77]  # type: ignore[attr-defined]


THREADS = 4
ROUNDS = 150


def test_threads_that_pack_and_unpack_at_once_get_their_own_bytes() -> None:
    """A thread reads dead workers' spools while the event loop commits."""
    made = [batch(200 + number, slot=number) for number in range(THREADS)]
    packed = [pack(one) for one in made]

    def is_whole(number: int) -> bool:
        at = number % THREADS
        return pack(made[at]) == packed[at] and unpack_one(packed[at]) == made[at]

    with ThreadPoolExecutor(THREADS) as threads:
        assert all(threads.map(is_whole, range(THREADS * ROUNDS)))


def test_damaged_entry_that_claims_to_be_huge_is_reported() -> None:
    packed = pack(batch(2))
    descriptor = packed[4] | 0b1100_0000  # the frame's content size has eight bytes then

    assert unpack_one(packed[:4] + bytes([descriptor]) + b"\xff" * 7 + b"\x3f" + packed[5:]) is None
