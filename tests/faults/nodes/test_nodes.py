"""Two nodes with separate data folders, on the same database and queue."""

from collections.abc import Iterator

import pytest

from tests.faults.form import Form
from tests.faults.harness.ledger import joined
from tests.faults.harness.scene import Scene, scene
from tests.faults.report import Report


@pytest.fixture
def other(here: Scene) -> Iterator[Scene]:
    """The second node."""
    own = ("INGEST_HOST", "INGEST_PORT", "INGEST_DATA_DIR")
    settings = {
        name.removeprefix("INGEST_"): value
        for name, value in here.service.environment.items()
        if name.startswith("INGEST_") and name not in own
    }
    with scene(here.mysql, here.rabbitmq, settings) as made:
        yield made


def test_killed_node_does_not_disturb_the_other_and_loses_nothing(
    here: Scene, other: Scene, form: Form, report: Report
) -> None:
    with here.load() as kept, other.load() as killed:
        for _ in range(form.restarts):
            other.wait_for_steady(killed)
            other.kill_service()
            here.wait_for_steady(kept)
        other.wait_for_steady(killed)
    other.wait_until_drained()
    both = joined(kept.ledger, killed.ledger)
    result = report.add("kill -9 of one of two nodes", form.restarts, here.account(both))
    assert not result.faults, result
    assert not result.refused, result
    assert not kept.ledger.unknown, result
