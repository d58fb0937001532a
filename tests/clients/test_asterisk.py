"""Real calls through Asterisk 22, while the service is killed twice. Each call becomes three rows and messages."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import StartService
from tests.paths import DOCS
from tests.running import TOKEN
from tests.services import free_port, wait_until
from tests.services.asterisk import asterisk
from tests.services.places import Place
from tests.services.sip import call
from tests.telephony.answering import answering, check_answers
from tests.telephony.calls import CALLS, HOSTILE_CALLERS, POSTED_SECONDS, Line, call_while_killed, events_left, parties

pytestmark = pytest.mark.timeout(600)

CONFIGURATION = DOCS / "clients" / "asterisk"
TYPES = ("call_started", "call_answered", "call_ended")
DIALED = "1000"
FEW_CALLS = 10
HOSTILE_USERS = {
    b"%24%7BEVENTS_URL%7D": "${EVENTS_URL}",
    b"%24%5B1%2B1%5D": "$[1+1]",
    b"%24%7BSHELL(id)%7D": "${SHELL(id)}",
    b"%22%2C%27%5C": "\",'\\",
    b"a)%3A1%3A1(": "a)%3A1%3A1(",
    b"1&PJSIP/2": "1&PJSIP/2",
    b"a%26event_type%3Dx": "a&event_type=x",
    b"a=b,c+d": "a=b,c+d",
    b"%25s%25n%": "%s%n%",
    b"caf%E9": "caf\ufffd",
    b"": "unknown",
}
"""A caller's text in From, To and Call-ID → the text in the event. The texts are variables, expressions and functions
of Asterisk, separators of its dial plan and of forms, and a byte of Latin-1."""
DROPPED_USERS = (b"$def(X)`id`", b"a%0D%0AX-API-TOKEN: b", b"caf\xe9")
"""Asterisk drops these requests, as their headers are none."""


def values_for(port: int) -> dict[str, str]:
    """The values of the configuration → those of a service on the port."""
    return {"http://127.0.0.1:8000": f"http://127.0.0.1:{port}", "super-secret-token": TOKEN}


@contextmanager
def asterisk_line(port: int, folder: Path, place: Place, dialed: str = DIALED) -> Iterator[Line]:
    """Run Asterisk, which posts to the port."""
    with asterisk(CONFIGURATION, folder, values_for(port), place) as pbx:
        yield Line(pbx.port, folder, len(TYPES), dialed)


def test_all_calls_become_events_and_hostile_callers_are_text_and_hold_nobody_up(
    sid: Place, start_service: StartService, full_settings: Mapping[str, str], tmp_path: Path
) -> None:
    service = start_service()
    users = [*HOSTILE_USERS, *DROPPED_USERS] * HOSTILE_CALLERS
    hostile = users[:HOSTILE_CALLERS]
    texts = Counter(HOSTILE_USERS[user] for user in hostile if user in HOSTILE_USERS)
    with asterisk_line(service.port, tmp_path, sid) as line:
        assert call_while_killed(line, service, full_settings["DATABASE_URL"], hostile) == texts.total()

        events = events_left(full_settings, CALLS + texts.total(), TYPES)
    expected = {(text, DIALED): count * len(TYPES) for text, count in texts.items()}
    assert parties(events) == {("sipp", DIALED): CALLS * len(TYPES), **expected}


def test_dialed_number_is_text_as_well(
    sid: Place, start_service: StartService, full_settings: Mapping[str, str], tmp_path: Path
) -> None:
    service = start_service()
    hostile = "1000&PJSIP/2,3"
    with asterisk_line(service.port, tmp_path, sid, hostile) as line:
        call(line.port, FEW_CALLS, FEW_CALLS, tmp_path, hostile)

        events = events_left(full_settings, FEW_CALLS, TYPES)
    assert parties(events) == {("sipp", hostile): FEW_CALLS * len(TYPES)}


def test_refused_event_holds_nobody_up_and_a_failing_one_is_sent_again(sid: Place, tmp_path: Path) -> None:
    with answering() as (noted, port), asterisk_line(port, tmp_path, sid) as line:
        check_answers(line, noted)


def test_events_on_disk_survive_the_death_of_asterisk(sid: Place, tmp_path: Path) -> None:
    nobody = values_for(free_port())
    with asterisk(CONFIGURATION, tmp_path, nobody, sid) as pbx:
        call(pbx.port, FEW_CALLS, FEW_CALLS, tmp_path, DIALED)
        assert wait_until(lambda: pbx.waiting() == FEW_CALLS * len(TYPES), POSTED_SECONDS)
        pbx.process.kill()

    with answering() as (noted, port), asterisk_line(port, tmp_path, sid) as line:
        call(line.port, 1, 1, tmp_path, DIALED)
        keys = (FEW_CALLS + 1) * len(TYPES)
        assert wait_until(lambda: len(noted.of("sipp")) == keys, POSTED_SECONDS)
