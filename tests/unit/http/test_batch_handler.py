import asyncio
import json
from collections.abc import Sequence

import pytest

from ingest.errors import BodyTooLarge, Malformed, Overloaded, StoreUnavailable
from ingest.http.admission import Admission
from ingest.http.batch_body import split
from ingest.http.batch_handler import ITEM_OVERHEAD_BYTES, TURN_BYTES_MAX, BatchHandler, BatchLimits
from ingest.http.body_reader import BodyReader
from ingest.http.event_handler import EventHandler
from ingest.pipeline.batcher import Batcher
from tests.unit.conftest import QUEUE_EVENTS_MAX, TOKEN, Sample
from tests.unit.fakes import Answered, FakeStore, request, until
from tests.unit.making import body, call_ids, event

ITEMS_MAX = 20
BODY_BYTES_MAX = 10_000
ITEM_BYTES_MAX = 500


@pytest.fixture
def batches(admission: Admission, bodies: BodyReader, batcher: Batcher) -> BatchHandler:
    return BatchHandler(admission, bodies, batcher, BatchLimits(BODY_BYTES_MAX, ITEMS_MAX, ITEM_BYTES_MAX))


async def post(batches: BatchHandler, items: Sequence[bytes]) -> Answered:
    return await request(batches, b"\n".join(items), x_api_token=TOKEN)


def rejected(answered: Answered) -> dict[int, dict[str, list[str]]]:
    return {entry["index"]: entry["errors"] for entry in answered.json["rejected"]}


@pytest.mark.parametrize(
    ("text", "items"),
    [
        (b"[]", None),
        (b"", None),
        (b" \n ", None),
        (b"[1, 2", None),
        (b"[1] 2", None),
        (b"[" * 100_000, None),
        (b'[{"a": 1}, [2] ,3]', [b'{"a": 1}', b"[2]", b"3"]),
        (b'{"a": 1}', [b'{"a": 1}']),
        (b'{"a": 1}\r\n\n  \n{"b": 2}\n', [b'{"a": 1}', b'{"b": 2}']),
    ],
)
def test_items_are_elements_of_an_array_or_lines(text: bytes, items: list[bytes] | None) -> None:
    if items is None:
        with pytest.raises(Malformed):
            split(text, ITEMS_MAX)
    else:
        assert [*split(text, ITEMS_MAX)] == items


def test_number_of_items_is_limited() -> None:
    assert split(b"1\n" * ITEMS_MAX, ITEMS_MAX).count() == ITEMS_MAX
    with pytest.raises(BodyTooLarge):
        split(b"1\n" * (ITEMS_MAX + 1), ITEMS_MAX)


async def test_array_keeps_the_bytes_of_each_event(batches: BatchHandler, store: FakeStore) -> None:
    texts = [body(call_id="a", note=" [1 , 2] "), json.dumps(json.loads(body(call_id="b")), indent=2).encode()]
    answered = await request(batches, b"[" + b" , ".join(texts) + b"]", x_api_token=TOKEN)

    assert (answered.status, answered.json) == (200, {"status": "queued", "accepted": 2, "rejected": []})
    assert [made.payload for made in store.commits[0].batch.events] == texts


async def test_valid_events_are_stored_and_others_reported(batches: BatchHandler, store: FakeStore) -> None:
    store.poison.add("poison")
    answered = await post(
        batches, [body(call_id="a"), body(duration=-1), body(call_id="poison"), b"{", body(call_id="b")]
    )

    assert (answered.status, answered.json["accepted"]) == (200, 2)
    assert list(rejected(answered)) == [1, 2, 3]
    assert rejected(answered)[1] == {"duration": ["The duration must be at least 0."]}
    assert sorted(name for commit in store.commits for name in call_ids(commit.batch)) == ["a", "b"]


async def test_batch_without_a_valid_event_is_invalid(batches: BatchHandler, store: FakeStore) -> None:
    answered = await post(batches, [b"{}", b"1"])

    assert (answered.status, answered.json["accepted"], list(rejected(answered))) == (422, 0, [0, 1])
    assert store.tried == []


async def test_whole_batch_fails_while_the_database_is_down(batches: BatchHandler, store: FakeStore) -> None:
    store.errors.append(StoreUnavailable())

    assert (await post(batches, [b"{}", body()])).status == 500


async def keep_busy(batcher: Batcher, store: FakeStore) -> None:
    """Give the writer a commit that does not end before the gate is opened."""
    store.gate.clear()
    batcher.submit(event("busy"))
    await until(lambda: store.tried)


async def test_batch_larger_than_the_queue_waits_for_its_own_events(
    batches: BatchHandler, batcher: Batcher, store: FakeStore
) -> None:
    await keep_busy(batcher, store)

    answering = asyncio.create_task(post(batches, [body()] * ITEMS_MAX))
    await until(lambda: batcher.queued_events == QUEUE_EVENTS_MAX)
    store.gate.set()
    answered = await answering

    assert ITEMS_MAX > QUEUE_EVENTS_MAX
    assert answered.json == {"status": "queued", "accepted": ITEMS_MAX, "rejected": []}


async def test_whole_batch_is_refused_when_others_fill_the_queue(
    batches: BatchHandler, batcher: Batcher, store: FakeStore
) -> None:
    await keep_busy(batcher, store)
    for number in range(QUEUE_EVENTS_MAX):
        batcher.submit(event(str(number)))

    answered = await post(batches, [b"{}", body()])
    store.gate.set()

    assert (answered.status, answered.json["message"]) == (503, str(Overloaded()))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"x_api_token": TOKEN, "content_length": str(BODY_BYTES_MAX + 1)}, 413),
        ({"x_api_token": TOKEN, "content_encoding": "br"}, 415),
    ],
)
async def test_batch_is_admitted_like_an_event(batches: BatchHandler, headers: dict[str, str], status: int) -> None:
    assert (await request(batches, body(), **headers)).status == status
    assert (await request(batches, b"", "GET", **headers)).status == 405


async def test_item_has_the_size_limit_of_a_single_event(batches: BatchHandler) -> None:
    large = body(note="x" * ITEM_BYTES_MAX)
    answered = await post(batches, [body(), large])

    assert rejected(answered) == {1: {"event": [f"The event has {len(large)} bytes; the limit is 500."]}}


OUTCOMES = ("queued", "refused", "unavailable")


async def test_large_batch_yields_to_other_events(
    handler: EventHandler, admission: Admission, bodies: BodyReader, batcher: Batcher, store: FakeStore
) -> None:
    wrong = [b"{}"] * (TURN_BYTES_MAX // ITEM_OVERHEAD_BYTES)
    batches = BatchHandler(admission, bodies, batcher, BatchLimits(BODY_BYTES_MAX, len(wrong) + 1, ITEM_BYTES_MAX))
    large = asyncio.create_task(post(batches, [*wrong, body(call_id="the last of many")]))
    other = asyncio.create_task(request(handler, body(call_id="another"), x_api_token=TOKEN))

    assert [(await answering).status for answering in (large, other)] == [200, 200]

    assert [name for commit in store.commits for name in call_ids(commit.batch)] == ["another", "the last of many"]


async def test_each_refused_item_is_counted_by_its_code(batches: BatchHandler, sample: Sample) -> None:
    await post(batches, [body(), b"{", body(call_id=""), body(call_id=7)])

    assert sample("ingest_requests_refused_total", code="malformed") == 1
    assert sample("ingest_requests_refused_total", code="invalid") == 2


async def test_batch_with_a_retryable_item_counts_as_not_served(
    batches: BatchHandler, store: FakeStore, sample: Sample
) -> None:
    async def counted(items: list[bytes]) -> list[float]:
        before = [sample("ingest_requests_total", endpoint="batch", outcome=outcome) for outcome in OUTCOMES]
        await post(batches, items)
        after = [sample("ingest_requests_total", endpoint="batch", outcome=outcome) for outcome in OUTCOMES]
        return [later - earlier for later, earlier in zip(after, before, strict=True)]

    assert await counted([body(), b"{"]) == [1, 0, 0]
    assert await counted([b"{"]) == [0, 1, 0]
    store.errors.append(StoreUnavailable())  # fails the first commit
    assert await counted([body()] * (QUEUE_EVENTS_MAX + 1)) == [0, 0, 1]


async def test_batch_that_fails_as_a_whole_is_counted_once(
    batches: BatchHandler, store: FakeStore, sample: Sample
) -> None:
    store.errors.append(StoreUnavailable())
    await post(batches, [body(), body()])

    assert sample("ingest_requests_refused_total", code="store_unavailable") == 1


async def test_retryable_items_are_marked(batches: BatchHandler, store: FakeStore) -> None:
    store.errors.append(StoreUnavailable())  # fails the first commit

    answered = await post(batches, [b"{", *[body()] * (QUEUE_EVENTS_MAX + 1)])

    first, *others = answered.json["rejected"]
    assert "retry" not in first
    assert {item["retry"] for item in others} == {True}
