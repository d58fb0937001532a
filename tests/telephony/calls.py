"""Real calls through a telephony server while the service is killed, and the rows and messages that must be left."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from tests.faults.reading import backlog_of, count_rows, rows_of, take_messages
from tests.running import TOKEN, ServiceProcess
from tests.services import wait_until
from tests.services.sip import DIALED, call, call_as

CALLS = 400
CALLS_PER_SECOND = 100
KILLED_AT = (0.1, 0.5)
"""The shares of all rows at which the service is killed."""
POSTED_SECONDS = 120.0
HOSTILE_CALLERS = 50
CALLS_AT_ONCE = 8

Event = dict[str, Any]


class Line(msgspec.Struct, frozen=True):
    """A telephony server: its UDP port, a folder for the files of calls, and the number that callers dial."""

    port: int
    folder: Path
    events_per_call: int
    dialed: str = DIALED


def call_while_killed(line: Line, service: ServiceProcess, database_url: str, hostile: Iterable[bytes]) -> int:
    """Make all calls, and kill (-9) and start the service twice meanwhile. Return how many hostile calls succeeded."""
    with ThreadPoolExecutor(CALLS_AT_ONCE + 1) as pool:
        ordinary = pool.submit(call, line.port, CALLS, CALLS_PER_SECOND, line.folder, line.dialed)
        odd = [pool.submit(call_as, user, line.port, line.folder, line.dialed) for user in hostile]
        for share in KILLED_AT:
            rows = share * CALLS * line.events_per_call
            assert wait_until(lambda rows=rows: count_rows(database_url) >= rows, POSTED_SECONDS)  # type: ignore[misc]
            service.kill()
            service.start()
            service.wait_for_status("ready")
        ordinary.result()
        return sum(one.result() for one in odd)


def events_left(settings: Mapping[str, str], calls: int, types: Iterable[str]) -> list[Event]:
    """Wait for all events, and return them. Each call must have one event of each type, as row and as message.

    A kill may leave a second message of an event. Both have the event's id, by which consumers leave out the second.
    """
    types = set(types)
    database_url, expected = settings["DATABASE_URL"], calls * len(types)
    assert wait_until(lambda: count_rows(database_url) >= expected, POSTED_SECONDS), count_rows(database_url)
    assert wait_until(lambda: backlog_of(database_url) == 0, POSTED_SECONDS)
    messages = dict(take_messages(settings["BROKER_URL"], settings["QUEUE"]))
    rows = rows_of(database_url)

    assert messages.keys() == {row_id for row_id, _ in rows}
    events = [json.loads(body) for body in messages.values()]
    of_call: dict[str, Counter[str]] = {}
    for event in events:
        of_call.setdefault(event["call_id"], Counter())[event["event_type"]] += 1
    assert len(of_call) == calls
    assert all(counted == dict.fromkeys(types, 1) for counted in of_call.values())
    assert TOKEN not in str(events)
    return events


def parties(events: Iterable[Event]) -> Counter[tuple[str, str]]:
    """Count the pairs of numbers."""
    return Counter((event["from_number"], event["to_number"]) for event in events)
