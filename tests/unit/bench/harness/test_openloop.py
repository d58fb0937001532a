"""The open loop: due times of requests, and the failures of unanswered ones."""

import math
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import msgspec
import pytest

from bench.openloop.generator import generator, run
from bench.openloop.plan import Plan, Recording, schedule
from tests.running import TOKEN, ServiceProcess

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
PLAN = Plan(port=0, token="a-token", per_second=1000.0, seconds=0.05, arrivals="even", connections_max=2)
"""The plan has fifty requests."""

Answering = Callable[[socket.socket], None]


@contextmanager
def server(answering: Answering, accepts: int = 1_000) -> Iterator[int]:
    """Serve `accepts` connections, each in its own thread, then stop listening. Yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept, args=(listener, answering, accepts))
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            with suppress(OSError):  # it is closed already
                listener.shutdown(socket.SHUT_RDWR)
            accepting.join()


def accept(listener: socket.socket, answering: Answering, accepts: int) -> None:
    threads = []
    for _ in range(accepts):
        try:
            connection, _ = listener.accept()
        except OSError:
            break
        threads.append(threading.Thread(target=serve, args=(connection, answering)))
        threads[-1].start()
    listener.close()
    for thread in threads:
        thread.join()


def serve(connection: socket.socket, answering: Answering) -> None:
    with connection, suppress(ConnectionError):
        answering(connection)


def always(answer: bytes) -> Answering:
    def answering(connection: socket.socket) -> None:
        while connection.recv(65_536):
            connection.sendall(answer)

    return answering


def never(connection: socket.socket) -> None:
    while connection.recv(65_536):
        pass


def in_single_bytes(connection: socket.socket) -> None:
    while connection.recv(65_536):
        for number in range(len(OK)):
            connection.sendall(OK[number : number + 1])


def once_then_gone(connection: socket.socket) -> None:
    connection.recv(65_536)
    connection.sendall(OK)
    connection.recv(65_536)


def recorded(answering: Answering, accepts: int = 1_000, **changes: object) -> Recording:
    with server(answering, accepts) as port:
        return run(msgspec.structs.replace(PLAN, port=port, **changes))


def answered(recording: Recording) -> int:
    return sum(not math.isnan(latency) for latency in recording.latency)


def test_even_arrivals_are_equally_far_apart() -> None:
    assert list(schedule(msgspec.structs.replace(PLAN, per_second=4.0, seconds=1.0))) == [0.0, 0.25, 0.5, 0.75]


def test_poisson_arrivals_keep_the_rate_and_are_the_same_for_the_same_seed() -> None:
    plan = msgspec.structs.replace(PLAN, arrivals="poisson", per_second=1000.0, seconds=10.0)
    due = schedule(plan)

    assert len(due) == pytest.approx(10_000, rel=0.05)
    assert due == schedule(plan)
    assert due != schedule(msgspec.structs.replace(plan, seed=2))
    assert list(due) == sorted(due)
    assert due[-1] < 10.0


@pytest.mark.parametrize("answering", [always(OK), in_single_bytes], ids=["whole", "in single bytes"])
def test_every_request_that_is_due_is_sent_and_timed(answering: Answering) -> None:
    recording = recorded(answering)

    assert answered(recording) == len(recording.lateness) == len(recording.due) == 50
    assert min(recording.lateness) >= 0
    assert recording.failures == {}


def test_latency_counts_from_the_due_time_not_from_the_send() -> None:
    """One connection stalls until all fifty requests are due, so the first request has the longest latency."""
    stalled = threading.Event()

    def answering(connection: socket.socket) -> None:
        connection.recv(65_536)
        stalled.wait(0.1)
        connection.sendall(OK)
        always(OK)(connection)

    recording = recorded(answering, connections_max=1)

    assert answered(recording) == 50
    for due, latency in zip(schedule(PLAN), recording.latency, strict=True):
        assert latency >= 0.1 - due


def test_refusals_are_failures_by_their_status() -> None:
    recording = recorded(always(BUSY))

    assert recording.failures == {"503": 50}
    assert answered(recording) == 0


def test_requests_beyond_the_pending_limit_are_failures_not_skipped() -> None:
    recording = recorded(never, pending_max=10, answer_seconds_max=0.05)

    assert recording.failures == {"unanswered": 2, "unsent": 48}
    assert len(recording.latency) == len(recording.lateness) == 50


def test_lost_connection_fails_the_request_on_it_and_is_replaced() -> None:
    recording = recorded(once_then_gone)

    assert recording.failures["lost"] >= 1
    assert answered(recording) + sum(recording.failures.values()) == 50
    assert answered(recording) > PLAN.connections_max


def test_service_that_stops_fails_all_remaining_requests() -> None:
    recording = recorded(once_then_gone, accepts=PLAN.connections_max)

    assert answered(recording) == 2
    assert recording.failures == {"lost": 2, "unsent": 46}


def test_missing_service_is_an_error() -> None:
    with server(always(OK)) as port:
        pass

    with pytest.raises(ConnectionRefusedError):
        run(msgspec.structs.replace(PLAN, port=port))


def test_generator_in_its_own_process_gives_the_whole_recording_back() -> None:
    with server(always(OK)) as port, generator() as started:
        recording = started.start(msgspec.structs.replace(PLAN, port=port)).result()

    assert answered(recording) == 50
    assert recording.cpu_seconds > 0


def test_service_itself_answers_all(embedded_service: ServiceProcess) -> None:
    recording = run(Plan(port=embedded_service.port, token=TOKEN, per_second=200.0, seconds=0.5))

    assert recording.failures == {}
    assert answered(recording) == len(recording.due) > 0
