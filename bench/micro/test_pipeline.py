"""The cost of an event from the socket's bytes to the confirm, in this process: drivers and servers cost nothing."""

import asyncio
from collections.abc import Callable, Iterator, Sequence

import pytest
from prometheus_client import CollectorRegistry

from bench.harness import noops
from bench.harness.events import bodies
from bench.harness.null_metrics import null_metrics
from bench.micro.conftest import Beside
from bench.micro.pipeline import Pipeline, Request, at_once
from ingest.events.batch import Batch
from ingest.events.event import Event, decode
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.multiprocess import MetricFiles

BATCH_EVENTS = 500
"""As many as a batch takes."""
USUAL_EVENTS = 50
"""The size of a batch under a usual load. The metrics of a small batch cost more an event."""
REQUESTS = 256
"""At once: the connections of the saturation."""

MakePipeline = Callable[[Metrics], Pipeline]


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> Metrics:
    """In files, as a worker has them."""
    MetricFiles(tmp_path_factory.mktemp("metrics")).use_worker_index(0)
    return Metrics(CollectorRegistry())


@pytest.fixture
def make_pipeline() -> Iterator[MakePipeline]:
    made: list[Pipeline] = []

    def make(metrics: Metrics) -> Pipeline:
        made.append(Pipeline(metrics))
        return made[-1]

    yield make
    for pipeline in made:
        pipeline.close()


def events(count: int) -> list[Event]:
    return [decode(body) for body in bodies(count)]


async def collect(some: Sequence[Event]) -> Batch:
    """The least of a batch: a list, its size, and a future for all."""
    collected: list[Event] = []
    size = 0
    done = asyncio.get_running_loop().create_future()
    for event in some:
        size += len(event.payload)
        collected.append(event)
    done.set_result(None)
    await done
    return Batch(range(len(collected)), collected, size)


def test_assembly_of_a_batch_beside_a_list(beside: Beside, make_pipeline: MakePipeline) -> None:
    pipeline, some = make_pipeline(null_metrics()), events(BATCH_EVENTS)

    beside("assembly", lambda: pipeline.run(pipeline.submit(some)), lambda: pipeline.run(collect(some)))

    assert pipeline.database.last is not None
    assert list(pipeline.database.last.events) == some


def test_metrics_of_a_batch_beside_none(beside: Beside, make_pipeline: MakePipeline, metrics: Metrics) -> None:
    observed, silent, some = make_pipeline(metrics), make_pipeline(null_metrics()), events(USUAL_EVENTS)

    beside("metrics", lambda: observed.run(observed.submit(some)), lambda: silent.run(silent.submit(some)))


def test_endpoint_beside_a_coroutine_that_reads_and_answers(
    beside: Beside, make_pipeline: MakePipeline, metrics: Metrics
) -> None:
    pipeline, requests = make_pipeline(metrics), [Request(body) for body in bodies(REQUESTS)]

    beside(
        "endpoint",
        lambda: pipeline.run(at_once(pipeline.handler, requests)),
        lambda: pipeline.run(at_once(noops.rsgi, requests)),
    )
    assert {request.status for request in requests} == {200}
