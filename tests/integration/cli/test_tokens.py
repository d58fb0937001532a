"""Tokens are created, rotated and revoked under load. Rates hold over all workers."""

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import StartService
from tests.exposition import scrape
from tests.raw_http import ask, post
from tests.running import TOKEN, ServiceProcess
from tests.services import wait_until
from tests.unit.making import body

WORKERS = 2
CLIENTS = 8
REVOKED_SECONDS_MAX = 1.0
RATE = 50
BATCH = "/api/call-events/batch"


@pytest.fixture
def service(start_service: StartService) -> ServiceProcess:
    running = start_service(WORKERS=str(WORKERS))
    running.wait_for_status("ready")
    return running


def made(service: ServiceProcess, *words: str) -> str:
    """Return the token that `ingest tokens` prints."""
    return service.command("tokens", *words).stdout.strip()


def status_with(service: ServiceProcess, token: str) -> int:
    """Send one event on a new connection, which may reach either worker."""
    return ask(service.port, post(body(), token=token)).status


class Clients:
    """`with Clients(send) as clients:` several clients call `send` repeatedly until the block ends."""

    def __init__(self, send: Callable[[], int]) -> None:
        self._send = send
        self._pool = ThreadPoolExecutor(CLIENTS)
        self._running = True
        self.seen: Counter[int] = Counter()
        """Status → number of answers, after the block."""

    def __enter__(self) -> "Clients":
        self._ended = [self._pool.submit(self._run) for _ in range(CLIENTS)]
        return self

    def __exit__(self, *_: object) -> None:
        self._running = False
        for one in self._ended:
            self.seen += one.result(30)
        self._pool.shutdown()

    def _run(self) -> Counter[int]:
        seen: Counter[int] = Counter()
        while self._running:
            seen[self._send()] += 1
        return seen


def test_rotation_under_load_refuses_no_event(service: ServiceProcess) -> None:
    used = [made(service, "create", "pbx")]
    with Clients(lambda: status_with(service, used[-1])) as clients:
        for _ in range(3):
            used.append(made(service, "rotate", "pbx", "--grace", "1h"))

    assert set(clients.seen) == {200}
    assert {status_with(service, token) for token in used} == {200}


def test_revoked_token_is_refused_by_all_workers_within_a_second(service: ServiceProcess) -> None:
    token = made(service, "create", "pbx")
    assert {status_with(service, token) for _ in range(20)} == {200}

    said = service.command("tokens", "revoke", "pbx").stdout

    assert said.startswith("revoked ")
    assert {status_with(service, token) for _ in range(20)} == {401}
    assert status_with(service, TOKEN) == 200


def test_old_tokens_expire_after_the_grace(service: ServiceProcess) -> None:
    old = made(service, "create", "pbx", "--events-per-second", "100", "--burst", "300")
    new = made(service, "rotate", "pbx", "--grace", "0s")

    assert {status_with(service, old) for _ in range(20)} == {401}
    assert status_with(service, new) == 200
    listed = service.command("tokens", "list").stdout.splitlines()
    assert [line.split()[1] for line in listed[1:]] == ["pbx", "pbx"]
    assert [line.split()[-2:] for line in listed[1:]] == [["100", "300"]] * 2
    assert "(expired)" in listed[1]
    assert old not in "".join(listed)


def test_rate_holds_over_all_workers_and_other_tokens_are_not_affected(service: ServiceProcess) -> None:
    noisy = made(service, "create", "noisy", "--events-per-second", str(RATE))
    began = time.monotonic()
    with Clients(lambda: status_with(service, noisy)) as clients:
        assert wait_until(lambda: time.monotonic() - began > 5, seconds=20)
        assert {status_with(service, TOKEN) for _ in range(20)} == {200}
    seconds = time.monotonic() - began

    assert set(clients.seen) == {200, 429}
    # At the start each worker allows the whole burst of one second, until it learns the use of the other worker.
    assert RATE * seconds / 2 <= clients.seen[200] <= RATE * seconds + WORKERS * RATE + CLIENTS
    for metric, status in (("ingest_token_events_total", 200), ("ingest_token_limited_total", 429)):
        assert wait_until(lambda: token_metric(service, metric) == clients.seen[status], seconds=10)  # noqa: B023 - called at once


def token_metric(service: ServiceProcess, metric: str) -> float | None:
    return scrape(service).value(metric, token="noisy")


def test_refusal_says_when_to_retry(service: ServiceProcess) -> None:
    token = made(service, "create", "slow", "--events-per-second", "1", "--burst", "1")
    assert status_with(service, token) == 200

    replies = [ask(service.port, post(body(), token=token)) for _ in range(4)]

    refused = [reply for reply in replies if reply.status == 429]
    assert refused
    assert {reply.headers["retry-after"] for reply in refused} <= {"1", "2"}
    assert refused[0].json["message"].startswith("The rate limit of this token is exceeded")


def test_batch_above_the_rate_is_accepted_and_then_delays_the_next_event(service: ServiceProcess) -> None:
    token = made(service, "create", "batches", "--events-per-second", "100", "--burst", "1")
    batch = b"\n".join([body()] * 1000)

    first = ask(service.port, post(batch, token=token, path=BATCH))
    assert (first.status, first.json["accepted"]) == (200, 1000)

    # Then both workers know about the batch.
    assert wait_until(lambda: {status_with(service, token) for _ in range(5)} == {429}, seconds=5)


def test_tokens_work_while_the_database_is_down(
    service: ServiceProcess, restarted: Callable[[ServiceProcess], ServiceProcess]
) -> None:
    token = made(service, "create", "pbx")

    again = restarted(service)

    assert status_with(again, token) == 200


@pytest.fixture
def restarted() -> Callable[[ServiceProcess], ServiceProcess]:
    """Restart a service with a database that does not exist."""

    def restart(service: ServiceProcess) -> ServiceProcess:
        service.stop()
        service.environment["INGEST_DATABASE_URL"] = "mysql://nobody:nothing@127.0.0.1:9/away"
        service.start()
        service.wait_for_status("degraded")
        return service

    return restart


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["create", "a name"], "is no name"),
        (["create", "configured"], "is no name"),
        (["create", "pbx", "--expires", "soon"], "is no time"),
        (["create", "pbx", "--burst", "5"], "--burst needs a rate"),
        (["rotate", "nobody"], "There is no valid token named 'nobody'"),
        (["revoke", "nobody"], "No token has the name or short id 'nobody'"),
    ],
)
def test_failures_are_explained(embedded_service: ServiceProcess, words: list[str], said: str) -> None:
    done = embedded_service.command("tokens", *words, check=False)

    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
