"""The tests of HTTP run against both listeners."""

from collections.abc import Iterator

import pytest

from tests.integration.conftest import OTHER_TOKEN
from tests.running import TOKEN, ServiceProcess


@pytest.fixture(scope="session", params=["granian", "direct"])
def listener(request: pytest.FixtureRequest) -> str:
    """The value of `INGEST_LISTENER`."""
    return str(request.param)


@pytest.fixture(scope="session")
def service(listener: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A shared service with each listener. Its rows stay, so tests find their own rows by `call_id`."""
    settings = {"API_TOKENS": f"{TOKEN}, {OTHER_TOKEN}", "LISTENER": listener}
    with ServiceProcess(tmp_path_factory.mktemp("embedded"), settings) as running:
        yield running


def is_direct(service: ServiceProcess) -> bool:
    return service.environment["INGEST_LISTENER"] == "direct"
