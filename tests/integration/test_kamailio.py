"""Real calls through a real SIP proxy, configured as in docs/clients: each becomes two rows and two messages."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from tests.conftest import StartService
from tests.faults.reading import backlog_of, rows_of, take_messages
from tests.running import TOKEN
from tests.services import wait_until
from tests.services.sip import call, kamailio

CONFIGURATION = Path(__file__).parents[2] / "docs" / "clients" / "kamailio.cfg"
CALLS = 1000
CALLS_PER_SECOND = 250
POSTED_SECONDS = 60.0


def test_calls_through_a_real_proxy_are_all_told(
    start_service: StartService, full_settings: Mapping[str, str], tmp_path: Path
) -> None:
    service = start_service()
    service.wait_for_status("ready")
    defines = {
        "EVENTS_URL": f'"http://127.0.0.1:{service.port}/api/call-events"',
        "EVENTS_TOKEN": f'"{TOKEN}"',
    }
    with kamailio(CONFIGURATION, tmp_path, defines) as port:
        call(port, CALLS, CALLS_PER_SECOND, tmp_path)
        assert wait_until(lambda: len(rows_of(full_settings["DATABASE_URL"])) >= 2 * CALLS, POSTED_SECONDS)
    assert wait_until(lambda: backlog_of(full_settings["DATABASE_URL"]) == 0, POSTED_SECONDS)

    events = [json.loads(body) for _, body in take_messages(full_settings["BROKER_URL"], full_settings["QUEUE"])]
    assert Counter(event["event_type"] for event in events) == {"call_answered": CALLS, "call_ended": CALLS}
    assert Counter(Counter(event["call_id"] for event in events).values()) == {2: CALLS}
    assert len(rows_of(full_settings["DATABASE_URL"])) == 2 * CALLS
    assert {(event["from_number"], event["to_number"]) for event in events} == {("sipp", "service")}
