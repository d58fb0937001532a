"""Ten workers are killed under load: the metrics equal the counts of the load and the table exactly."""

import time

import pytest
import yaml

from tests.exposition import scrape
from tests.faults.harness.load import Load
from tests.faults.harness.scene import scene
from tests.faults.reading import rows_of
from tests.running import ServiceProcess
from tests.services import MySQLServer, PrometheusServer, RabbitMQServer, wait_until

KILLS = 10
WORKERS = 2
EVENTS_BETWEEN = 100
EVENTS_PER_SECOND = 300.0
SECONDS = 60.0
SCRAPE_SECONDS = 4
"""Interval of scrapes, and their timeout, which Prometheus limits to the interval. A busy machine answers within it."""
WINDOW = "[10m]"


def prometheus_of(service: ServiceProcess) -> PrometheusServer:
    job = {"job_name": "call-events", "static_configs": [{"targets": [f"127.0.0.1:{service.port}"]}]}
    return PrometheusServer(
        yaml.safe_dump({"global": {"scrape_interval": f"{SCRAPE_SECONDS}s"}, "scrape_configs": [job]})
    )


def wait_for_more(load: Load, service: ServiceProcess) -> None:
    reached = len(load.ledger.ok) + EVENTS_BETWEEN
    assert wait_until(lambda: len(load.ledger.ok) >= reached, SECONDS), service.log()


def wait_for_scrape(prometheus: PrometheusServer) -> None:
    """Wait for a scrape, so that the next one is `SCRAPE_SECONDS` away: a killed worker fails its open requests."""
    last = scraped_at(prometheus)
    assert wait_until(lambda: scraped_at(prometheus) > last, SECONDS)


def scrapes(prometheus: PrometheusServer) -> dict[float, str]:
    """Return Unix seconds of each scrape → "1", or "0" if it failed."""
    (series,) = prometheus.query(f"up{WINDOW}")
    return {float(at): value for at, value in series["values"]}


def scraped_at(prometheus: PrometheusServer) -> float:
    """Return the Unix seconds of the last scrape."""
    return float(prometheus.query("timestamp(up)")[0]["value"][1])


@pytest.mark.servers
def test_metrics_equal_load_and_table_after_ten_kills(mysql: MySQLServer, rabbitmq: RabbitMQServer) -> None:
    """Clients resend unanswered events until they are answered. Idempotency keys prevent duplicates."""
    with scene(mysql, rabbitmq, {"WORKERS": str(WORKERS), "IDEMPOTENCY_KEY": "natural"}) as here:
        service = here.service
        with prometheus_of(service) as prometheus:
            assert wait_until(
                lambda: bool(prometheus.query("up")), SECONDS
            )  # Prometheus searches for targets every 5 s
            killed: list[float] = []
            with Load(service.port, EVENTS_PER_SECOND, resending=True) as load:
                for _ in range(KILLS):
                    wait_for_more(load, service)
                    wait_for_scrape(prometheus)
                    killed.append(time.time())
                    here.kill_worker()
                wait_for_more(load, service)
            here.wait_until_drained()
            sent, rows = load.ledger.ok, rows_of(here.database_url)
            assert not load.ledger.refused
            assert sorted(key for _, key in rows) == sorted(sent)
            assert wait_until(lambda: scrape(service).value("ingest_events_stored_total") == len(rows), SECONDS)
            found = scrape(service)
            accepted, repeated = (found.total(f"ingest_events_{name}_total") for name in ("accepted", "repeated"))
            assert accepted - repeated == len(rows)
            assert repeated <= len(load.ledger.unknown)
            assert found.value("ingest_worker_restarts_total") == KILLS
            assert prometheus.query(f"min_over_time(up{WINDOW})")[0]["value"][1] == "1", (
                f"a scrape failed: {scrapes(prometheus)}; workers were killed at {killed}"
            )
            assert prometheus.query(f"count_over_time(up{WINDOW}) > {KILLS}")
            names = {name for name, _ in found.counters()}
            assert [name for name in names if prometheus.query(f"resets({name}{WINDOW}) > 0")] == [], (
                "counters decreased"
            )
