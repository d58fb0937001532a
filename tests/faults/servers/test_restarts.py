"""The database is restarted during commits."""

from tests.faults.form import Form
from tests.faults.harness.ledger import assert_unnoticed
from tests.faults.harness.scene import Scene
from tests.faults.report import Report

EVENTS_PER_SECOND = 1000.0
"""At this rate workers always have commits in progress."""


def test_restarted_database_is_not_noticed_by_clients_and_loses_nothing(
    here: Scene, form: Form, report: Report
) -> None:
    with here.load(EVENTS_PER_SECOND) as load:
        for _ in range(form.restarts):
            here.wait_for_steady(load)
            here.mysql.restart()
        here.wait_for_steady(load)
    result = report.add("database restarted", form.restarts, here.account(load.ledger))
    assert_unnoticed(result)
