"""The headers that protect responses to browsers."""

import pytest

from tests.running import ServiceProcess

PAGES = ["/", "/docs", "/runbooks", "/events"]
PATHS = [*PAGES, "/api/events", "/openapi.json", "/status.json", "/metrics", "/healthz", "/readyz", "/nowhere"]


@pytest.mark.parametrize("path", PATHS)
def test_response_forbids_sniffing_frames_caching_and_referrers(service: ServiceProcess, path: str) -> None:
    headers = service.request("GET", path)[2]

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "frame-ancestors 'none'" in policy
    assert ("script-src" in policy) == (path in PAGES)


def test_refused_method_has_the_same_headers(service: ServiceProcess) -> None:
    status, _, headers = service.request("DELETE", "/metrics")

    assert (status, headers["allow"]) == (405, "GET, HEAD")
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", PATHS)
def test_only_the_server_name_is_revealed(service: ServiceProcess, path: str) -> None:
    headers = service.request("GET", path)[2]

    assert headers.get("server") in (None, "granian")  # the direct listener has no name
    assert "x-powered-by" not in headers
