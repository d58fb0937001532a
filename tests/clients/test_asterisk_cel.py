"""Real calls through Asterisk 22 with a dial plan that reports nothing, while the service is killed.

CEL writes the events to a file, and a script posts its lines.
"""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.clients.test_asterisk import CONFIGURATION, DIALED, DROPPED_USERS, HOSTILE_USERS, TYPES
from tests.faults.reading import count_rows, payloads_of
from tests.running import TOKEN, ServiceProcess
from tests.services import wait_until
from tests.services.asterisk import asterisk
from tests.services.places import Place
from tests.services.sip import call, call_as, running
from tests.telephony.answering import FAILING, answering
from tests.telephony.calls import POSTED_SECONDS

pytestmark = pytest.mark.timeout(600)

SCRIPT = CONFIGURATION / "post-cel.sh"
DIAL_PLAN = "[calls]\nexten => _X!,1,Dial(PJSIP/${FILTER(0-9,${EXTEN})}@next-hop,60)\n"
CALLS = 50
CUT_USERS = (b"a)%3A1%3A1(",)
"""Asterisk reads the colon as the begin of a substring, and the number comes out cut."""
READ_USERS = {user: text for user, text in HOSTILE_USERS.items() if user not in CUT_USERS}


def test_lines_of_cel_become_events(sid: Place, tmp_path: Path) -> None:
    configuration = tmp_path / "configuration"
    shutil.copytree(CONFIGURATION, configuration)
    (configuration / "extensions.conf").write_text(DIAL_PLAN)
    service = ServiceProcess(tmp_path, {"CLIENT_FORMS": str(CONFIGURATION)})
    database = service.environment["INGEST_DATABASE_URL"]
    url = f"http://127.0.0.1:{service.port}/in/asterisk-cel/{TOKEN}"

    with service, asterisk(configuration, tmp_path, {}, sid) as pbx:
        command = ["sh", str(SCRIPT), str(pbx.home / "cel-custom" / "call-events.form"), url]
        with running(command, tmp_path):
            call(pbx.port, CALLS, CALLS, tmp_path, DIALED)
            assert wait_until(lambda: count_rows(database) > 0, POSTED_SECONDS)
            service.kill()
        for user in (*READ_USERS, *DROPPED_USERS):
            call_as(user, pbx.port, tmp_path, DIALED)
        service.start()
        with running(command, tmp_path):
            expected = (CALLS + len(READ_USERS)) * len(TYPES)
            assert wait_until(lambda: count_rows(database) >= expected, POSTED_SECONDS)

    events = [json.loads(payload) for payload in payloads_of(database)]
    assert Counter(event["event_type"] for event in events) == dict.fromkeys(TYPES, CALLS + len(READ_USERS))
    assert Counter(Counter(event["call_id"] for event in events).values()) == {len(TYPES): CALLS + len(READ_USERS)}
    # CEL writes the end for the channel that ends last, which may be that of the called party.
    begins = [event for event in events if event["event_type"] != "call_ended"]
    callers = {"sipp": CALLS, **dict.fromkeys(READ_USERS.values(), 1)}
    assert Counter(event["from_number"] for event in begins) == {text: 2 * calls for text, calls in callers.items()}
    assert {event["to_number"] for event in begins} == {DIALED}
    assert TOKEN not in str(events)


def test_script_posts_refused_lines_once_and_failing_ones_until_they_are_taken(tmp_path: Path) -> None:
    lines = tmp_path / "call-events.form"
    callers = ["sipp", "refused", "failing", "failing", *["sipp"] * 15]
    written = [
        f"call_id={n}&leg={n}&event_type=ANSWER&timestamp=1&from_number={caller}&to_number=2&end=,1\n"
        for n, caller in enumerate(callers)
    ]
    of_another_leg = written[0].replace("leg=0", "leg=1")
    unfinished = "call_id=20&leg=20"
    lines.write_text("".join([*written, of_another_leg, unfinished]))

    with answering() as (noted, port):
        with running(["sh", str(SCRIPT), str(lines), f"http://127.0.0.1:{port}/"], tmp_path):
            taken = callers.count("sipp") + callers.count("failing")
            assert wait_until(lambda: len(noted.taken()) == taken, POSTED_SECONDS)
        assert [len(posts) for posts in noted.of("refused").values()] == [1]
        assert [tuple(post.status for post in posts) for posts in noted.of("failing").values()] == [FAILING] * 2
        assert [len(posts) for posts in noted.of("sipp").values()] == [1] * callers.count("sipp")
    assert int((tmp_path / "call-events.form.posted").read_text()) == lines.stat().st_size - len(unfinished)
