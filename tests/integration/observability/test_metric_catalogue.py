"""The tables of docs/metrics.md and docs/errors.md equal what the service really shows."""

from tests.conftest import StartService
from tests.observability import Catalogue, catalogue, described, granian_catalogue, rows, status_of_codes
from tests.services import free_port, wait_until

SECONDS = 60.0
"""Granian's workers report their figures once a second."""
UNITS = {
    *("bytes", "seconds", "microseconds", "events", "batches", "requests", "connections", "processes", "threads"),
    *("tasks", "failures", "files", "collections", "days", "checks", "0 or 1", "1"),
}


def test_every_metric_is_in_the_table_and_no_other(start_service: StartService) -> None:
    service = start_service(LISTENER="granian", WORKERS="2", SERVER_METRICS_PORT=str(free_port()))
    service.wait_for_status("ready")

    def shown() -> Catalogue:
        return granian_catalogue(service.request("GET", "/metrics")[1])

    assert wait_until(lambda: described() == catalogue() | shown(), SECONDS), shown()


def test_every_metric_has_a_unit_a_meaning_and_advice() -> None:
    for name, _, unit, _, meaning, advice in rows("metrics.md", "Metrics", 6):
        assert unit in UNITS, name
        assert (unit == "seconds") == ("_seconds" in name or name == "granian_worker_lifetime"), name
        assert meaning, name
        assert advice, name


def test_every_code_of_a_refusal_is_in_the_table_with_its_status() -> None:
    assert {code: int(status) for code, status, _ in rows("errors.md", "Codes of refusals", 3)} == status_of_codes()
