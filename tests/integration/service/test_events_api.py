"""The API of stored events, over HTTP, on MySQL and RabbitMQ."""

import json
from functools import partial
from urllib.parse import quote

import pytest

from tests.conftest import StartService
from tests.raw_http import Reply, ask, head
from tests.running import EVENT, ServiceProcess
from tests.services import wait_until

HOSTILE = "x' OR 1=1; DROP TABLE call_event_logs; -- \\\"\u0259\U0001f4de<script>"
PUBLISHED_SECONDS = 60.0
KNOWN_SECONDS = 60.0
ASKED = 12
"""Requests after which both workers have answered, with one exception in 2000 runs."""


@pytest.fixture
def service(start_service: StartService) -> ServiceProcess:
    running = start_service(WORKERS="2")
    running.wait_for_status("ready")
    return running


@pytest.fixture
def tokens(service: ServiceProcess) -> dict[str, str]:
    """Tokens that both workers know."""
    scopes = {"alice": ["read"], "bob": ["read-numbers", "operate"]}
    made = {
        name: service.command("tokens", "create", name, *(f"--scope={scope}" for scope in of_name)).stdout.strip()
        for name, of_name in scopes.items()
    }
    for token in made.values():
        assert wait_until(partial(all_workers_know, service, token), KNOWN_SECONDS)
    return made


def all_workers_know(service: ServiceProcess, token: str) -> bool:
    return all(request(service, token, "/api/events").status == 200 for _ in range(ASKED))


def request(service: ServiceProcess, token: str, path: str, method: str = "GET") -> Reply:
    return ask(service.port, head(method, path, f"X-API-TOKEN: {token}"), to=method)


def listed(service: ServiceProcess, token: str, call: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = request(service, token, f"/api/events?call={quote(call)}").json["events"]
    return found


def test_events_are_found_shown_and_resent(service: ServiceProcess, tokens: dict[str, str]) -> None:
    for call in "one", HOSTILE:
        assert service.post({**EVENT, "call_id": call, "notes": HOSTILE})[0] == 200

    (masked,), (hostile,) = listed(service, tokens["alice"], "one"), listed(service, tokens["bob"], HOSTILE)
    assert "15551230001" not in json.dumps(masked)
    assert hostile["payload"] == {**EVENT, "call_id": HOSTILE, "notes": HOSTILE}
    assert listed(service, tokens["bob"], "' OR '1'='1") == []

    path = f"/api/events/{masked['id']}"
    assert wait_until(lambda: request(service, tokens["alice"], path).json["place"] == "published", PUBLISHED_SECONDS)
    assert request(service, tokens["alice"], f"{path}/resend", "POST").status == 403
    assert request(service, tokens["bob"], f"{path}/resend", "POST").json["outcome"] == "resent"
    ids = [json.loads(line)["message_id"] for line in tail(service, 3)]
    assert ids.count(str(masked["id"])) == 2
    assert "token:bob  127.0.0.1  events.resend" in service.command("audit").stdout


def tail(service: ServiceProcess, messages: int) -> list[str]:
    return service.command("tail", "--properties", "--limit", str(messages), "--timeout", "50").stdout.splitlines()


def test_token_that_reads_cannot_post_and_one_that_posts_cannot_read(
    service: ServiceProcess, tokens: dict[str, str]
) -> None:
    for token in tokens.values():
        assert service.post(EVENT, **{"X-API-TOKEN": token})[0] == 401
    posting = service.command("tokens", "create", "pbx").stdout.strip()
    assert wait_until(lambda: service.post(EVENT, **{"X-API-TOKEN": posting})[0] == 200, KNOWN_SECONDS)
    assert wait_until(lambda: request(service, posting, "/api/events").status == 403, KNOWN_SECONDS)
    assert request(service, "wrong", "/api/events").status == 401
