import logging

import pytest

from ingest.telemetry.outage import PUBLISH, SUMMARY_SECONDS, Outage
from tests.unit.fakes import FakeClock


@pytest.fixture
def outage(clock: FakeClock) -> Outage:
    return Outage(PUBLISH, clock.monotonic)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records]


def test_outage_is_logged_once(outage: Outage, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(100):
        outage.record(5, "RabbitMQ is not reachable")

    (record,) = caplog.records
    assert (record.message, record.levelno) == ("RabbitMQ publish failed", logging.WARNING)
    assert vars(record)["reason"] == "RabbitMQ is not reachable"


def test_long_outage_is_summed_up_every_minute(
    outage: Outage, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    outage.record(1, "away")
    for _ in range(4):
        clock.advance(SUMMARY_SECONDS / 2)
        outage.record(10, "away")

    first, *summaries = caplog.records
    assert first.message == "RabbitMQ publish failed"
    assert [(vars(one)["seconds"], vars(one)["events"]) for one in summaries] == [(60, 21), (120, 41)]


def test_end_is_logged_with_its_figures(outage: Outage, clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    outage.record(3, "away")
    clock.advance(12.34)
    outage.record(4, "away")
    outage.recovered()

    last = vars(caplog.records[-1])
    assert (last["message"], last["seconds"], last["events"]) == ("RabbitMQ publish works again", 12.3, 7)


def test_nothing_is_said_when_all_is_well(outage: Outage, caplog: pytest.LogCaptureFixture) -> None:
    outage.recovered()
    outage.recovered()

    assert said(caplog) == []


def test_a_second_outage_counts_from_zero(outage: Outage, caplog: pytest.LogCaptureFixture) -> None:
    outage.record(3, "away")
    outage.recovered()
    outage.record(1, "away")
    outage.recovered()

    assert said(caplog) == ["RabbitMQ publish failed", "RabbitMQ publish works again"] * 2
    assert vars(caplog.records[-1])["events"] == 1
