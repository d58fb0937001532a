from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from zstandard import ZstdCompressor, ZstdDecompressor

from ingest.events.batch import FORMAT, Batch
from ingest.events.batch_codec import is_newer, pack, unpack, unpack_one, why_unreadable
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


def packed_fields(*fields: object) -> bytes:
    """Pack an array as some version would."""
    return ZstdCompressor().compress(msgspec.msgpack.encode(fields))


@pytest.mark.parametrize("fields", [3, 4], ids=["without a producer", "without a format"])
def test_batch_of_an_earlier_version_is_read(fields: int) -> None:
    made = batch(2)
    packed = packed_fields(*[made.ids, made.events, made.created_us, made.producer][:fields])

    assert unpack_one(packed) == made


def test_packed_batch_names_its_format_where_earlier_versions_skip_it() -> None:
    made = batch(2)

    fields = msgspec.msgpack.decode(ZstdDecompressor().decompress(pack(made)))
    assert fields[4:] == [FORMAT]
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(fields), type=FirstBatch).ids == list(made.ids)


class FirstBatch(msgspec.Struct, array_like=True):
    """A batch as the first version reads it."""

    ids: list[int]
    events: list[Event]
    created_us: int


@pytest.mark.parametrize(
    "packed",
    [
        packed_fields(*msgspec.structs.astuple(batch(2))[:4], FORMAT + 1),
        packed_fields({"ids": []}, "other types", None, b"", FORMAT + 1, "more"),
    ],
    ids=["same array", "another array"],
)
def test_batch_of_a_newer_version_is_refused_with_what_to_do(packed: bytes, caplog: pytest.LogCaptureFixture) -> None:
    assert unpack_one(packed) is None
    assert is_newer(packed)
    assert why_unreadable(packed) == (
        f"a newer version of the service wrote it (format {FORMAT + 1}; this one reads {FORMAT}): "
        "install that version again"
    )
    assert unpack([(77, packed)]) == []
    assert [record.getMessage() for record in caplog.records] == [
        "an outbox entry is of a newer version; it stays, unpublished"
    ]


@pytest.mark.parametrize(
    "damaged", [b"", b"\xc0", pack(batch(2))[:-1], packed_fields(), packed_fields(1, 2, 3, 4, "5")]
)
def test_damaged_batch_is_not_taken_for_a_newer_one(damaged: bytes) -> None:
    assert (unpack_one(damaged), is_newer(damaged), why_unreadable(damaged)) == (None, False, "it is damaged")


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
