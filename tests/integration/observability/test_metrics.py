"""`/metrics` of two workers, one killed with -9, equals the responses, the rows and the messages."""

import os
import signal
import threading
from http.client import HTTPException
from pathlib import Path
from types import TracebackType

from tests.conftest import StartService
from tests.exposition import Exposition, Key, ask_metrics, scrape
from tests.faults.harness.load import Load
from tests.faults.reading import rows_of
from tests.running import EVENT, ServiceProcess
from tests.services import wait_until

WORKERS = 2
EVENTS = 300
SECONDS = 60.0


def row_count(service: ServiceProcess) -> int:
    return len(rows_of(service.environment["INGEST_DATABASE_URL"]))


def post_some(service: ServiceProcess) -> int:
    """Load the service, and wait for every response. Return the number of events answered 200."""
    with Load(service.port, 600) as load:
        assert wait_until(lambda: len(load.ledger.ok) >= EVENTS, SECONDS), service.log()
    assert not load.ledger.refused
    assert not load.ledger.unknown
    return len(load.ledger.ok)


def kill_worker(service: ServiceProcess) -> None:
    """Kill one worker with -9, and wait until another one has replaced it."""
    victim = service.worker_pids()[0]
    os.kill(victim, signal.SIGKILL)
    replaced = wait_until(
        lambda: victim not in service.worker_pids() and scrape_or_none(service, "ingest_workers") == WORKERS, SECONDS
    )
    assert replaced, service.log()


def scrape_or_none(service: ServiceProcess, name: str) -> float | None:
    """Return the metric's value, or None if the connection ends with the killed worker."""
    try:
        return scrape(service).value(name)
    except (OSError, HTTPException):
        return None


class Scraper:
    """Scrape without a pause until the block ends. Then raise the first error."""

    def __init__(self, service: ServiceProcess) -> None:
        self.scrapes = 0
        self._service = service
        self._stopping = threading.Event()
        self._wrong: list[str] = []
        self._thread = threading.Thread(target=self._run, name="scraper")

    def __enter__(self) -> "Scraper":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        assert self._wrong == []

    def wait_for_another(self) -> None:
        """Wait until a scrape that begins now has ended, so that the steps before it were seen."""
        seen = self.scrapes
        assert wait_until(lambda: self.scrapes > seen + 1, SECONDS)

    def _run(self) -> None:
        last: dict[Key, float] = {}
        while not self._stopping.is_set():
            try:
                status, text, _ = ask_metrics(self._service)
            except (OSError, HTTPException):
                continue  # no whole response: the connection ended with the killed worker
            if status != 200:
                self._wrong.append(f"answer {status}: {text!r}")
                continue
            counters = Exposition(text).counters()
            self._wrong += [f"{key} went down" for key, value in last.items() if counters.get(key, 0.0) < value]
            last = counters
            self.scrapes += 1


def test_counters_are_exact_over_all_workers_and_one_killed_between_answers(start_service: StartService) -> None:
    service = start_service(WORKERS=str(WORKERS))
    service.wait_for_status("ready")
    with Scraper(service) as scraper:
        answered = post_some(service)
        assert wait_until(lambda: scrape(service).total("ingest_events_published_total") == answered, SECONDS)
        kill_worker(service)
        answered += post_some(service)
        scraper.wait_for_another()
    assert wait_until(lambda: scrape(service).total("ingest_events_published_total") == answered, SECONDS)
    assert wait_until(lambda: scrape(service).value("ingest_workers") == WORKERS, SECONDS)
    found = scrape(service)
    assert row_count(service) == answered
    assert found.value("ingest_events_accepted_total") == answered
    assert found.value("ingest_events_stored_total") == answered
    assert found.value("ingest_batch_events_sum") == answered
    assert found.value("ingest_commit_seconds_count") == found.value("ingest_batch_events_count")
    assert found.value("ingest_worker_restarts_total") == 1


def test_worker_killed_under_load_leaves_exact_counts(start_service: StartService) -> None:
    service = start_service(WORKERS=str(WORKERS))
    service.wait_for_status("ready")
    with Scraper(service) as scraper, Load(service.port, 600) as load:
        assert wait_until(lambda: len(load.ledger.ok) >= EVENTS, SECONDS)
        kill_worker(service)
        reached = len(load.ledger.ok) + EVENTS
        assert wait_until(lambda: len(load.ledger.ok) >= reached, SECONDS)
        scraper.wait_for_another()
    rows = row_count(service)
    assert wait_until(lambda: scrape(service).value("ingest_events_stored_total") == rows, SECONDS), service.log()
    assert scrape(service).value("ingest_events_accepted_total") == rows
    assert len(load.ledger.ok) <= rows <= len(load.ledger.ok) + len(load.ledger.unknown)


def test_every_refusal_is_counted_by_its_code(embedded_service: ServiceProcess) -> None:
    service = embedded_service
    service.post(EVENT, **{"X-API-TOKEN": "wrong"})
    service.post(b"{")
    service.post(b"{}")
    service.post(b"[]", path="/api/call-events/batch")
    service.request("GET", "/api/call-events")
    service.post(EVENT)
    found = scrape(service)
    counted = {
        dict(labels)["code"]: value
        for (name, labels), value in found.samples.items()
        if name == "ingest_requests_refused_total" and value
    }
    assert counted == {"unauthenticated": 1, "malformed": 2, "invalid": 1, "method_not_allowed": 1}
    assert found.value("ingest_events_accepted_total") == 1


def test_requests_of_a_second_share_one_exposition(embedded_service: ServiceProcess) -> None:
    shared = Path(embedded_service.environment["INGEST_DATA_DIR"]) / "run" / "exposition"
    scrape(embedded_service)
    assert b"ingest_events_accepted_total" in shared.read_bytes()

    def is_shown() -> bool:
        """A busy machine may need more than a second from the file to the answer."""
        shared.write_bytes(b"# of another worker\n")
        return embedded_service.request("GET", "/metrics")[:2] == (200, b"# of another worker\n")

    assert wait_until(is_shown, SECONDS)


def test_pages_answer_with_a_damaged_metric_file_which_is_counted(embedded_service: ServiceProcess) -> None:
    service = embedded_service
    service.post(EVENT)
    folder = Path(service.environment["INGEST_DATA_DIR"]) / "run" / "metrics"
    (folder / "counter_7.db").write_bytes((folder / "counter_0.db").read_bytes()[:1000])
    assert scrape(service).value("ingest_events_accepted_total") == 1
    assert scrape(service).value("ingest_background_failures_total", task="metrics") == 1
    assert service.request("GET", "/status.json")[0] == 200
    assert [line["file"] for line in service.log_lines() if "metric file" in line["message"]] == ["counter_7.db"]
