"""Tokens are created, rotated and revoked under load. Rates hold over all workers."""

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.conftest import StartService, settings_of
from tests.exposition import scrape
from tests.raw_http import Reply, ask, post
from tests.running import TOKEN, ServiceProcess
from tests.services import MySQLServer, RabbitMQServer, wait_until
from tests.unit.making import body

WORKERS = 2
CLIENTS = 8
SECONDS = 60.0
ASKED = 20
"""Requests after which both workers have answered, with one exception in 500,000 runs."""
RATE = 5
"""Low, so that clients on a busy machine exceed it, too."""
BATCH = "/api/call-events/batch"


@pytest.fixture(scope="module")
def service(
    mysql: MySQLServer, rabbitmq: RabbitMQServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceProcess]:
    """A service for all tests of this module: each has tokens of its own."""
    settings = {**settings_of(mysql, rabbitmq), "WORKERS": str(WORKERS)}
    with ServiceProcess(tmp_path_factory.mktemp("tokens"), settings) as running:
        running.wait_for_status("ready")
        yield running


@pytest.fixture
def name() -> str:
    """The name of a token that no other test has."""
    return f"pbx-{secrets.token_hex(4)}"


def made(service: ServiceProcess, *words: str) -> str:
    """Return the token that `ingest tokens` prints."""
    return service.command("tokens", *words).stdout.strip()


def status_with(service: ServiceProcess, token: str) -> int:
    """Send one event on a new connection, which may reach either worker."""
    return ask(service.port, post(body(), token=token)).status


def all_answer(service: ServiceProcess, token: str, status: int) -> bool:
    """Return True if each worker answers so. A worker reads the tokens twice a second, and a busy one later."""
    return all(status_with(service, token) == status for _ in range(ASKED))


def known(service: ServiceProcess, *words: str) -> str:
    """Make a token, and wait until each worker knows it."""
    token = made(service, *words)
    assert wait_until(lambda: all_answer(service, token, 200), SECONDS)
    return token


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
            self.seen += one.result(SECONDS)
        self._pool.shutdown()

    def _run(self) -> Counter[int]:
        seen: Counter[int] = Counter()
        while self._running:
            seen[self._send()] += 1
        return seen


def test_rotation_under_load_refuses_no_event(service: ServiceProcess, name: str) -> None:
    used = [known(service, "create", name)]
    with Clients(lambda: status_with(service, used[-1])) as clients:
        for _ in range(3):
            used.append(known(service, "rotate", name, "--grace", "1h"))

    assert set(clients.seen) == {200}
    assert {status_with(service, token) for token in used} == {200}


def test_revoked_token_is_refused_by_all_workers(service: ServiceProcess, name: str) -> None:
    token = known(service, "create", name)

    said = service.command("tokens", "revoke", name).stdout

    assert said.startswith("revoked ")
    assert wait_until(lambda: all_answer(service, token, 401), SECONDS)
    assert status_with(service, TOKEN) == 200


def test_old_tokens_expire_after_the_grace(service: ServiceProcess, name: str) -> None:
    old = made(service, "create", name, "--events-per-second", "100", "--burst", "300")
    new = made(service, "rotate", name, "--grace", "0s")

    assert wait_until(lambda: all_answer(service, old, 401), SECONDS)
    assert wait_until(lambda: all_answer(service, new, 200), SECONDS)
    listed = service.command("tokens", "list").stdout
    own = [line for line in listed.splitlines() if line.split()[1] == name]
    assert [line.split()[-3:] for line in own] == [["100", "300", "post"]] * 2
    assert "(expired)" in own[0]
    assert old not in listed


def test_rate_holds_over_all_workers_and_other_tokens_are_not_affected(service: ServiceProcess) -> None:
    noisy = made(service, "create", "noisy", "--events-per-second", str(RATE))
    before: Counter[int] = Counter()

    def is_known() -> bool:
        statuses = Counter(status_with(service, noisy) for _ in range(ASKED))
        before.update(statuses)
        return set(statuses) <= {200, 429}

    assert wait_until(is_known, SECONDS)
    began = time.monotonic()
    with Clients(lambda: status_with(service, noisy)) as clients:
        assert wait_until(lambda: time.monotonic() - began > 5, SECONDS)
        assert {status_with(service, TOKEN) for _ in range(20)} == {200}
    seconds = time.monotonic() - began

    assert set(clients.seen) == {200, 429}
    # At the start each worker allows the whole burst of one second, until it learns the use of the other worker.
    assert RATE * seconds / 2 <= clients.seen[200] <= RATE * seconds + WORKERS * RATE + CLIENTS
    for metric, status in (("ingest_token_events_total", 200), ("ingest_token_limited_total", 429)):
        assert wait_until(partial(token_metric_is, service, metric, before[status] + clients.seen[status]), SECONDS)


def token_metric_is(service: ServiceProcess, metric: str, events: int) -> bool:
    return scrape(service).value(metric, token="noisy") == events


def test_refusal_says_when_to_retry(service: ServiceProcess) -> None:
    token = made(service, "create", "slow", "--events-per-second", "1", "--burst", "1")
    replies: list[Reply] = []

    def is_refused() -> bool:
        """A busy machine may answer so late that the rate is not exceeded."""
        replies.append(ask(service.port, post(body(), token=token)))
        return replies[-1].status == 429

    assert wait_until(is_refused, SECONDS)

    assert 200 in {reply.status for reply in replies}
    assert replies[-1].headers["retry-after"] in ("1", "2")
    assert replies[-1].json["message"].startswith("The rate limit of this token is exceeded")


def test_batch_above_the_rate_is_accepted_and_then_delays_the_next_event(service: ServiceProcess) -> None:
    token = made(service, "create", "batches", "--events-per-second", "1", "--burst", "1")
    batch = b"\n".join([body()] * 1000)
    replies: list[Reply] = []

    def is_accepted() -> bool:
        replies.append(ask(service.port, post(batch, token=token, path=BATCH)))
        return replies[-1].status == 200

    assert wait_until(is_accepted, SECONDS)
    assert replies[-1].json["accepted"] == 1000

    # Then both workers know about the batch, whose events take the rate of 1000 s.
    assert wait_until(lambda: all_answer(service, token, 429), SECONDS)


def test_tokens_work_while_the_database_is_down(start_service: StartService) -> None:
    service = start_service(WORKERS=str(WORKERS))
    service.wait_for_status("ready")
    token = known(service, "create", "pbx")
    service.stop()
    service.environment["INGEST_DATABASE_URL"] = "mysql://nobody:nothing@127.0.0.1:9/away"

    service.start()

    service.wait_for_status("degraded")
    assert wait_until(lambda: all_answer(service, token, 200), SECONDS)


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
def test_failures_are_explained(service: ServiceProcess, words: list[str], said: str) -> None:
    done = service.command("tokens", *words, check=False)

    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
