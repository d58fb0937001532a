"""Output and exit status of the commands, run as users run them."""

import re
import socket
from pathlib import Path

import pytest

from ingest import __version__
from ingest.settings import WELL_KNOWN_TOKEN
from ingest.store.migrations import migrations
from tests.commands import PASSWORD, TOKENS, Ingest, nowhere, one_line

COMMANDS = (
    *("adopt", "audit", "check", "clients", "cluster", "config", "dead", "demo", "doctor", "erase", "events"),
    *("healthcheck", "log-level", "migrate", "replay", "retention", "send", "serve", "spool", "tail", "tokens", "top"),
)


def test_version_is_printed(ingest: Ingest) -> None:
    for words in (["--version"], ["--env-file", "none", "--version"]):
        assert re.fullmatch(
            rf"ingest, version {__version__}(?: \(commit [0-9a-f]{{12}}(?:-dirty)?\))?\n", ingest(*words).stdout
        )


def test_help_shows_the_first_steps_and_every_command(ingest: Ingest) -> None:
    text = ingest("--help").stdout

    assert "ingest migrate " in text
    assert "ingest tail --limit 1 " in text
    assert [line.split()[0] for line in text.partition("Commands:\n")[2].splitlines()] == list(COMMANDS)
    assert "..." not in text.partition("Commands:\n")[2]  # no summary is cut


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_needs_no_settings_for_it(ingest: Ingest, command: str) -> None:
    ran = ingest(command, "--help", PORT="none")

    assert (ran.returncode, ran.stderr) == (0, "")
    assert len(ran.stdout.splitlines()) >= 5


def test_config_shows_every_setting_and_no_secret(ingest: Ingest) -> None:
    ran = ingest(
        "config",
        API_TOKENS=TOKENS,
        DATABASE_URL=f"mysql://ingest:{PASSWORD}@db:3306/calls?ssl-mode=REQUIRED",
        BROKER_URL=f"amqp://ingest:{PASSWORD}@mq/%2F",
        STREAM_URL=f"rabbitmq-stream://ingest:{PASSWORD}@mq:5552/",
    )

    shown = dict(line.split("=", 1) for line in ran.stdout.splitlines())
    assert shown["INGEST_DATABASE_URL"] == "mysql://ingest:***@db:3306/calls?ssl-mode=REQUIRED"
    assert shown["INGEST_BROKER_URL"] == "amqp://ingest:***@mq/%2F"
    assert shown["INGEST_STREAM_URL"] == "rabbitmq-stream://ingest:***@mq:5552/"
    assert shown["INGEST_API_TOKENS"] == "***,***"
    assert shown["INGEST_PORT"] == "8000"
    assert not [secret for secret in (PASSWORD, *TOKENS.split(",")) if secret in ran.stdout + ran.stderr]


@pytest.mark.parametrize("password", ["a/secret", "12/secret", "a@secret"])
def test_a_url_that_would_show_its_password_is_refused(ingest: Ingest, password: str) -> None:
    ran = ingest("config", API_TOKENS=TOKENS, DATABASE_URL=f"mysql://ingest:{password}@db:3306/calls")

    if ran.returncode == 0:  # the service understood the URL
        assert "INGEST_DATABASE_URL=mysql://ingest:***@db:3306/calls\n" in ran.stdout
    else:
        assert "%2F" in one_line(ran)
    assert "secret" not in ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"PROT": "8000"}, "INGEST_PROT is not a setting. `ingest config` lists all settings."),
        ({"PORT": "eight"}, "INGEST_PORT='eight': "),
        ({"DATABASE_URL": "mysql://u:p@db:no/calls"}, "INGEST_DATABASE_URL is not of the form "),
        ({"DATABASE_URL": "mysql://u:p@db", "API_TOKENS": "t"}, "INGEST_DATABASE_URL needs a host and a database"),
        ({"DATABASE_URL": "mysql://u:p@db/calls"}, "INGEST_API_TOKENS is empty"),
        (
            {"BROKER_URL": "amqp://mq", "API_TOKENS": f"mine,{WELL_KNOWN_TOKEN}"},
            "INGEST_API_TOKENS holds the well-known",
        ),
        ({"HOST": "no-such-host.invalid"}, "INGEST_HOST=no-such-host.invalid: no such address"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
)
def test_wrong_settings_end_the_service_with_one_line(ingest: Ingest, settings: dict[str, str], told: str) -> None:
    assert one_line(ingest("serve", **settings)).startswith(f"ingest: {told}")


def test_serve_reports_a_port_in_use(ingest: Ingest) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        told = one_line(ingest("serve", HOST="127.0.0.1", PORT=str(port)))

    assert told == f"ingest: INGEST_HOST, INGEST_PORT: cannot listen on 127.0.0.1:{port} (Address already in use)."


@pytest.mark.parametrize("command", ["serve", "tail"])
def test_data_folder_that_is_a_file_is_reported(ingest: Ingest, tmp_path: Path, command: str) -> None:
    (tmp_path / "var").write_text("a file")

    assert "var" in one_line(ingest(command, PORT="0"))


def test_migrate_on_sqlite_may_be_repeated(ingest: Ingest) -> None:
    assert ingest("migrate").stdout == "".join(f"applied {one.name}\n" for one in migrations("sqlite"))
    assert ingest("migrate").stdout == "the schema is up to date\n"


def test_migrate_on_mysql_may_be_repeated(ingest: Ingest, real: dict[str, str]) -> None:
    assert ingest("migrate", **real).stdout == "".join(f"applied {one.name}\n" for one in migrations("mysql"))
    assert ingest("migrate", **real).stdout == "the schema is up to date\n"


def test_migrate_reports_a_missing_database(ingest: Ingest) -> None:
    told = one_line(ingest("migrate", API_TOKENS=TOKENS, DATABASE_URL=nowhere("mysql", "calls")))

    assert "MySQL" in told
    assert PASSWORD not in told


def test_token_is_hashed_for_the_configuration(ingest: Ingest) -> None:
    ran = ingest("tokens", "hash", typed="abc\n")

    assert (ran.returncode, ran.stdout) == (
        0,
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n",
    )
