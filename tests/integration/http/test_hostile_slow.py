"""Hundreds of slow or vanished clients do not delay other clients."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.integration.hostile import count_of, unharmed
from tests.raw_http import RawConnection, chunk, chunked_head, post, post_head
from tests.running import ServiceProcess
from tests.services import wait_until
from tests.unit.making import body

CLIENTS = 250
EVENT = body(call_id="slow")
STARTS = [
    b"",
    b"P",
    b"POST /api/call-events HTTP/1.1\r\nHost: localhost\r\nX-",
    post_head(1_000),
    post_head(1_000) + EVENT,
]
STARTS += [chunked_head(), chunked_head() + b"5", chunked_head() + chunk(EVENT)]


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with ServiceProcess(tmp_path_factory.mktemp("patient"), {"BODY_TIMEOUT_SECONDS": "2"}) as running:
        yield running


def test_500_slow_clients_delay_nobody(patient: ServiceProcess) -> None:
    """Half of the clients send a slow head, which has no deadline. The others send a slow body, which has one."""
    head, rest = post(EVENT)[:60], post(EVENT)[60:]
    with unharmed(patient) as client, ExitStack() as stack:
        heads, bodies = ([stack.enter_context(RawConnection(patient.port)) for _ in range(CLIENTS)] for _ in range(2))
        for connection in bodies:
            connection.send(post_head(1_000_000))

        def dribble() -> bool:
            client.ask()
            waiting = [connection for connection in bodies if not connection.has_answer()]
            for connection in waiting:
                connection.flood([b" "])
            return not waiting

        for at in range(len(head)):
            for connection in heads:
                connection.send(head[at : at + 1])
            dribble()
        assert wait_until(dribble, seconds=20)
        assert {connection.reply().status for connection in bodies} == {408}
        for connection in heads:
            connection.send(rest)
        assert {connection.reply().status for connection in heads} == {200}

    assert count_of(patient, "slow") == CLIENTS


def test_silent_clients_delay_nobody(patient: ServiceProcess) -> None:
    before = count_of(patient, "slow")
    with unharmed(patient) as client, ExitStack() as stack:
        for _ in range(CLIENTS // len(STARTS)):
            for start in STARTS:
                stack.enter_context(RawConnection(patient.port)).send(start)
                client.ask()
    assert count_of(patient, "slow") == before


def test_clients_that_reset_their_connection_leave_no_events(patient: ServiceProcess) -> None:
    before = count_of(patient, "slow")
    with unharmed(patient) as client:
        for _ in range(CLIENTS // len(STARTS)):
            for start in STARTS:
                with RawConnection(patient.port) as connection:
                    connection.send(start)
                    connection.reset()
            client.ask()
    assert count_of(patient, "slow") == before
