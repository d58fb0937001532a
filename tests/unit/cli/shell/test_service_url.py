"""Where commands find the service."""

import pytest

from ingest.cli.shell.service_url import Target, events_target, pages_target, parts_of
from ingest.errors import SettingsError


@pytest.mark.parametrize(
    ("settings", "events", "pages"),
    [
        ({}, "http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ({"PORT": "9000", "HOST": "::"}, "http://[::1]:9000", "http://[::1]:9000"),
        ({"HOST": "10.0.0.7", "ADMIN_PORT": "8001"}, "http://10.0.0.7:8000", "http://127.0.0.1:8001"),
        ({"ADMIN_HOST": "::1", "ADMIN_PORT": "8001"}, "http://127.0.0.1:8000", "http://[::1]:8001"),
    ],
)
def test_settings_of_the_service_decide(settings: dict[str, str], events: str, pages: str) -> None:
    environ = {f"INGEST_{name}": value for name, value in settings.items()}

    assert (events_target(None, environ=environ).url, pages_target(None, environ=environ).url) == (events, pages)


def test_given_url_needs_no_settings() -> None:
    environ = {"INGEST_PORT": "none"}

    assert (
        events_target("http://a:1", environ=environ)
        == pages_target("http://a:1", environ=environ)
        == Target("http://a:1")
    )


def test_unknown_port_asks_for_the_url() -> None:
    with pytest.raises(SettingsError, match="give --url"):
        pages_target(None, environ={"INGEST_PORT": "0"})


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://a", "http://", "http://a:no", "http://a:99999", "http://[::1", "http://a b"]
)
def test_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="is not of the form http://host:port"):
        parts_of(url)
