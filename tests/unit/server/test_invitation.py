"""The first lines of `ingest serve`: the URLs, who sees them, and how to call the command."""

import io
from pathlib import Path

import msgspec
import pytest

from ingest.server.invitation import invitation, invite, own_command
from ingest.settings import Settings

REAL = Settings(database_url="mysql://db/calls", broker_url="amqp://mq", api_tokens=("mine",))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(settings: Settings, output: io.StringIO) -> str:
    invite(settings, settings.port, output)
    return output.getvalue()


def urls(settings: Settings, port: int = 0) -> list[str]:
    return [line.split()[-1] for line in invitation(settings, port, "ingest").splitlines()[:3]]


@pytest.mark.parametrize(
    ("changes", "pages", "events"),
    [
        ({}, "http://localhost:8000", "http://localhost:8000"),
        ({"host": "::"}, "http://localhost:8000", "http://localhost:8000"),
        ({"host": "192.0.2.1", "port": 80}, "http://192.0.2.1:80", "http://192.0.2.1:80"),
        ({"host": "2001:db8::1"}, "http://[2001:db8::1]:8000", "http://[2001:db8::1]:8000"),
        ({"tls_cert": "c", "tls_key": "k"}, "https://localhost:8000", "https://localhost:8000"),
        ({"admin_port": 9000}, "http://localhost:9000", "http://localhost:8000"),
        (
            {"admin_port": 9000, "admin_host": "192.0.2.1", "tls_cert": "c"},
            "http://192.0.2.1:9000",
            "https://localhost:8000",
        ),
    ],
)
def test_urls_are_those_of_the_service(changes: dict[str, object], pages: str, events: str) -> None:
    settings = msgspec.structs.replace(Settings(), **changes)

    assert urls(settings) == [f"{pages}/", f"{pages}/docs", f"{events}/api/call-events"]


def test_port_that_the_system_chose_is_shown() -> None:
    assert urls(Settings(port=0), 54_321)[0] == "http://localhost:54321/"


def test_own_token_is_not_printed_and_the_known_one_comes_with_a_warning() -> None:
    assert "X-API-TOKEN: super-secret-token" in invitation(Settings(), 0, "ingest")
    assert "Set INGEST_API_TOKENS" in invitation(Settings(), 0, "ingest")
    own = invitation(Settings(api_tokens=("mine",)), 0, "ingest")
    assert "X-API-TOKEN: YOUR-TOKEN" in own
    assert "mine" not in own
    assert "INGEST_API_TOKENS" not in own


def test_production_prints_nothing_but_its_log() -> None:
    assert printed(REAL, io.StringIO()) == ""
    assert printed(REAL, Terminal()).startswith("Status page:")
    assert printed(Settings(), io.StringIO()).startswith("Status page:")


def test_command_is_shown_as_the_user_can_type_it(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "ingest"
    program.parent.mkdir()
    program.touch(0o755)

    assert own_command(program, "/nowhere", tmp_path) == "bin/ingest"
    assert own_command(program, "/nowhere", tmp_path / "bin" / "below") == str(program)
    assert own_command(program, str(program.parent), tmp_path) == "ingest"
    assert own_command(Path("/lib/ingest/__main__.py"), "/nowhere", tmp_path) == "python -m ingest"
