"""A real queue refuses events for good. They become dead letters, which `ingest dead` handles."""

from collections.abc import Mapping

from tests.conftest import StartService
from tests.exposition import scrape
from tests.faults.reading import backlog_of, declare_full_queue, delete_queue, fill_queue, take_messages
from tests.running import ServiceProcess
from tests.services import wait_until
from tests.unit.making import body

SECONDS = 60.0
REFUSED_SECONDS = "1"
"""And ten tries, half a second apart."""


def dead(service: ServiceProcess) -> list[str]:
    return service.command("dead", "ls").stdout.splitlines()


def test_refused_event_becomes_a_dead_letter_and_comes_back(
    start_service: StartService, full_settings: Mapping[str, str]
) -> None:
    url, queue = full_settings["BROKER_URL"], full_settings["QUEUE"]
    declare_full_queue(url, queue, 1)
    fill_queue(url, queue)
    service = start_service(DEAD_LETTER_SECONDS=REFUSED_SECONDS, RELAY_POLL_SECONDS="0.2", LEASE_SECONDS="2")
    service.wait_for_status("ready")
    assert dead(service) == ["There are no dead letters."]
    calls = [f"call-{number}" for number in range(4)]
    for call in calls:
        assert service.post(body(call_id=call))[0] == 200

    assert wait_until(lambda: any(call in line for line in dead(service) for call in calls), SECONDS), service.log()
    assert wait_until(lambda: (scrape(service).value("ingest_dead_letters") or 0) > 0, SECONDS)
    assert wait_until(lambda: (scrape(service).value("ingest_events_dead_total") or 0) > 0, SECONDS)
    assert wait_until(lambda: service.status() == "ready", SECONDS), "dead letters hold nobody up"
    lines = dead(service)
    assert {"RabbitMQ refused" in line and "call_started" in line for line in lines} == {True}

    taken = take_messages(url, queue)
    delete_queue(url, queue)
    declare_full_queue(url, queue, 1000)
    one = lines[0].split()[0]
    assert service.command("dead", "retry", one).stdout.startswith("1 are in the outbox again")
    came: set[str] = set()  # events that were still being tried come too

    def comes_back() -> bool:
        came.update(str(row_id) for row_id, _ in take_messages(url, queue))
        return one in came

    assert wait_until(comes_back, SECONDS), service.log()
    assert one not in " ".join(dead(service))

    def all_dropped() -> bool:
        """An event that was tried for the last time may become a letter at any time."""
        if dead(service) != ["There are no dead letters."]:
            assert "are removed from the list" in service.command("dead", "drop", "--all").stdout
        return dead(service) == ["There are no dead letters."] and backlog_of(full_settings["DATABASE_URL"]) == 0

    assert wait_until(all_dropped, SECONDS), service.log()
    assert taken


def test_ids_that_are_no_dead_letters_are_reported(start_service: StartService) -> None:
    service = start_service()
    for words in (("retry", "7"), ("drop", "7")):
        ran = service.command("dead", *words, check=False)
        assert (ran.returncode, "1 of these are no dead letters" in ran.stderr) == (1, True), ran.stderr
    ran = service.command("dead", "drop", check=False)
    assert "Give ids of `ingest dead ls`, or --all." in ran.stderr
