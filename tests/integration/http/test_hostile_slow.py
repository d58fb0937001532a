"""Hundreds of slow or vanished clients do not delay other clients."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.integration.hostile import count_of, unharmed
from tests.integration.http.conftest import is_direct
from tests.raw_http import RawConnection, chunk, chunked_head, post, post_head
from tests.running import ServiceProcess
from tests.services import wait_until
from tests.unit.making import body

CLIENTS = 250
PART_BYTES = 5
"""A slow head comes in parts of this size. A busy machine sends all of them within the deadline of a head."""
IDLE_CLIENTS = 4_000
CONNECTION_BYTES_MAX, GRANIAN_CONNECTION_BYTES_MAX = 8 << 10, 32 << 10
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
def patient(listener: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    settings = {"BODY_TIMEOUT_SECONDS": "2", "LISTENER": listener}
    with ServiceProcess(tmp_path_factory.mktemp("patient"), settings) as running:
        yield running


def test_500_slow_clients_delay_nobody(patient: ServiceProcess) -> None:
    """Half of the clients send a slow head, within its deadline. The others send a slow body, beyond its deadline."""
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

        for at in range(0, len(head), PART_BYTES):
            for connection in heads:
                connection.send(head[at : at + PART_BYTES])
            dribble()
        for connection in heads:
            connection.send(rest)
        assert {connection.reply().status for connection in heads} == {200}
        assert wait_until(dribble, seconds=60)
        assert {connection.reply().status for connection in bodies} == {408}

    assert count_of(patient, "slow") == CLIENTS


def test_silent_clients_delay_nobody(patient: ServiceProcess) -> None:
    before = count_of(patient, "slow")
    with unharmed(patient) as client, ExitStack() as stack:
        for _ in range(CLIENTS // len(STARTS)):
            for start in STARTS:
                stack.enter_context(RawConnection(patient.port)).send(start)
                client.ask()
    assert count_of(patient, "slow") == before


def test_idle_connections_take_little_memory(patient: ServiceProcess) -> None:
    growth_bytes_max = IDLE_CLIENTS * (CONNECTION_BYTES_MAX if is_direct(patient) else GRANIAN_CONNECTION_BYTES_MAX)
    with unharmed(patient, growth_bytes_max) as client, ExitStack() as stack:
        for _ in range(IDLE_CLIENTS // CLIENTS):
            connections = [stack.enter_context(RawConnection(patient.port)) for _ in range(CLIENTS)]
            for connection in connections:
                connection.send(post(EVENT))
            assert {connection.reply().status for connection in connections} == {200}
            client.ask()


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
