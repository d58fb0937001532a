"""What the answers to browsers say against being misused."""

import pytest

from tests.running import ServiceProcess

PATHS = ["/", "/docs", "/openapi.json", "/status.json", "/metrics", "/healthz", "/readyz", "/nowhere"]


@pytest.mark.parametrize("path", PATHS)
def test_answer_is_neither_sniffed_framed_kept_nor_told_of(service: ServiceProcess, path: str) -> None:
    headers = service.request("GET", path)[2]

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "frame-ancestors 'none'" in policy
    assert ("script-src" in policy) == (path in ("/", "/docs"))


def test_refusal_of_a_method_has_them_too(service: ServiceProcess) -> None:
    status, _, headers = service.request("DELETE", "/metrics")

    assert (status, headers["allow"]) == (405, "GET, HEAD")
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", PATHS)
def test_only_the_servers_own_name_is_told(service: ServiceProcess, path: str) -> None:
    headers = service.request("GET", path)[2]

    assert headers["server"] == "granian"
    assert "x-powered-by" not in headers
