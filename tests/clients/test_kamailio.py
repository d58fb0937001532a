"""Real calls through Kamailio 6.1, with both of its HTTP modules, while the service is killed twice."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conftest import StartService
from tests.services.places import Place
from tests.telephony.answering import answering, check_answers
from tests.telephony.kamailio import ASYNC, check_calls, kamailio_line

pytestmark = pytest.mark.timeout(600)

DEFINES = pytest.mark.parametrize("defines", [{}, ASYNC], ids=["http_client", "http_async_client"])


@DEFINES
def test_all_calls_become_events_and_hostile_callers_are_text_and_hold_nobody_up(
    sid: Place,
    start_service: StartService,
    full_settings: Mapping[str, str],
    tmp_path: Path,
    defines: Mapping[str, str],
) -> None:
    service = start_service()
    with kamailio_line(service.port, tmp_path, sid, **defines) as line:
        check_calls(line, service, full_settings)


@DEFINES
def test_refused_event_holds_nobody_up_and_a_failing_one_is_sent_again(
    sid: Place, tmp_path: Path, defines: Mapping[str, str]
) -> None:
    with answering() as (noted, port), kamailio_line(port, tmp_path, sid, **defines) as line:
        check_answers(line, noted)
