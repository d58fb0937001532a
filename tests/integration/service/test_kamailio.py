"""Real calls through Kamailio 5.6, while the service is killed twice. Each call becomes two rows and two messages."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conftest import StartService
from tests.telephony.answering import answering, check_answers
from tests.telephony.kamailio import check_calls, kamailio_line

pytestmark = pytest.mark.timeout(600)


def test_all_calls_through_a_real_proxy_become_events_and_it_does_not_interpret_a_callers_text(
    start_service: StartService, full_settings: Mapping[str, str], tmp_path: Path
) -> None:
    service = start_service()
    with kamailio_line(service.port, tmp_path) as line:
        check_calls(line, service, full_settings)


def test_refused_event_holds_nobody_up_and_a_failing_one_is_sent_again(tmp_path: Path) -> None:
    with answering() as (noted, port), kamailio_line(port, tmp_path) as line:
        check_answers(line, noted)
