"""Timestamps without an offset, and the zone that the service assumes."""

import json
from datetime import timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from ingest.errors import Invalid
from ingest.events.event import decode
from ingest.events.local_times import with_offset, zone_named
from tests.unit.making import body

BAKU = timezone(timedelta(hours=4))


@pytest.mark.parametrize(
    ("local", "written"),
    [
        ("2025-11-30 10:00:00", "2025-11-30T10:00:00+04:00"),
        ("2025-11-30T10:00:00.25", "2025-11-30T10:00:00.250000+04:00"),
        ("2025-11-30 10:00", "2025-11-30T10:00:00+04:00"),
    ],
)
def test_offset_is_written_into_the_event(local: str, written: str) -> None:
    content = body(timestamp=local, note=1.50)

    event = decode(content, BAKU)

    assert json.loads(event.payload) == {**json.loads(content), "timestamp": written}


def test_event_with_an_offset_is_unchanged() -> None:
    content = body(timestamp="2025-11-30T10:00:00Z", duration="5")

    assert decode(content, BAKU).payload == content


def test_zone_has_summer_time() -> None:
    berlin = ZoneInfo("Europe/Berlin")

    assert with_offset("2025-07-01 10:00:00", berlin) == "2025-07-01T10:00:00+02:00"
    assert with_offset("2025-12-01 10:00:00", berlin) == "2025-12-01T10:00:00+01:00"


def test_local_mean_time_is_written_in_utc() -> None:
    """Its offset has seconds: Berlin's was 53 minutes and 28 seconds before 1893."""
    assert with_offset("1800-01-01 10:00:00", ZoneInfo("Europe/Berlin")) == "1800-01-01T09:06:32+00:00"


@pytest.mark.parametrize("local", ["2025-02-30 10:00:00", "2025-11-30", "soon", "", "2025-11-30 24:00:00"])
def test_other_text_is_refused_with_a_zone_too(local: str) -> None:
    with pytest.raises(Invalid):
        decode(body(timestamp=local), BAKU)


def test_without_a_zone_the_refusal_names_the_setting() -> None:
    with pytest.raises(Invalid) as caught:
        decode(body(timestamp="2025-11-30 10:00:00"))

    (error,) = caught.value.errors["timestamp"]
    assert "no offset" in error
    assert "INGEST_TIMESTAMP_ZONE" in error


@pytest.mark.parametrize(("name", "hours"), [("+04:00", 4), ("-03:30", -3.5), ("Asia/Baku", 4)])
def test_zones(name: str, hours: float) -> None:
    zone = zone_named(name)

    assert zone
    assert with_offset("2025-11-30 10:00:00", zone) == with_offset(
        "2025-11-30 10:00:00", timezone(timedelta(hours=hours))
    )


@pytest.mark.parametrize("name", ["Nowhere", "../etc", "Europe", "+4", "+04:60", "/etc/passwd", "a\0b"])
def test_unknown_zones_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        zone_named(name)
