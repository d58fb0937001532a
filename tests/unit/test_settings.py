import re
from pathlib import Path

import pytest

from ingest.auth.tokens import entry_of
from ingest.errors import SettingsError
from ingest.settings import WELL_KNOWN_TOKEN, Settings, mask_url, masked, read_settings

MYSQL = {"INGEST_DATABASE_URL": "mysql://ingest:secret@db:3306/calls", "INGEST_API_TOKENS": "a-token"}
AMQP = {"INGEST_BROKER_URL": "amqp://guest:secret@rabbit/", "INGEST_API_TOKENS": "a-token"}
STREAM = {"INGEST_PUBLISH_TO": "stream", "INGEST_STREAM_URL": "rabbitmq-stream://guest:secret@rabbit:5552/"}


def test_no_setting_is_required() -> None:
    settings = read_settings({})

    assert settings == Settings()
    assert settings.embedded
    assert settings.tokens == (WELL_KNOWN_TOKEN,)


def test_each_setting_is_read_as_its_type() -> None:
    environ = {"INGEST_PORT": " 9000 ", "INGEST_BODY_TIMEOUT_SECONDS": "0.5", "INGEST_DATA_DIR": "/srv/calls"}

    settings = read_settings({**environ, "INGEST_QUEUE_TYPE": "classic", "INGEST_API_TOKENS": "one, two ,,three"})

    assert (settings.port, settings.body_timeout_seconds) == (9000, 0.5)
    assert settings.data_dir == Path("/srv/calls")
    assert settings.queue_type == "classic"
    assert settings.tokens == ("one", "two", "three")


def test_empty_variable_means_the_default() -> None:
    assert read_settings({"INGEST_PORT": " ", "INGEST_DATABASE_URL": ""}) == Settings()


def test_other_variables_are_ignored() -> None:
    assert read_settings({"PORT": "x", "INGESTION": "x", "INGEST_TEST_SERVERS": "sid"}) == Settings()


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("INGEST_PORT", "http"),
        ("INGEST_PORT", "65536"),
        ("INGEST_WORKERS", "0"),
        ("INGEST_WORKERS", "1.5"),
        ("INGEST_BATCH_EVENTS_MAX", "-1"),
        ("INGEST_COMMIT_TIMEOUT_SECONDS", "0"),
        ("INGEST_COMMIT_TIMEOUT_SECONDS", "nan"),
        ("INGEST_COMMIT_TIMEOUT_SECONDS", "inf"),
        ("INGEST_CHANNELS_MAX", "1"),
        ("INGEST_QUEUE_TYPE", "mirrored"),
        ("INGEST_PUBLISH_TO", "nowhere"),
        ("INGEST_LOG_LEVEL", "loud"),
        ("INGEST_DATABASE_URL", "postgres://db/calls"),
        ("INGEST_DATABASE_URL", "calls.db"),
        ("INGEST_BROKER_URL", "redis://broker"),
        ("INGEST_BROKER_URL", "embedded"),
        ("INGEST_PROT", "8000"),
        ("INGEST_RETENTION_DAYS", "-1"),
        ("INGEST_RETENTION_DAYS", "30"),  # with SQLite
        ("INGEST_RETENTION_BYTES_MAX", "1000000000"),
    ],
)
def test_wrong_setting_is_refused_by_its_name(variable: str, text: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        read_settings({variable: text})


@pytest.mark.parametrize("environ", [MYSQL, AMQP, MYSQL | AMQP], ids=["mysql", "amqp", "both"])
def test_real_servers_need_own_tokens(environ: dict[str, str]) -> None:
    assert read_settings(environ).tokens == ("a-token",)
    assert not read_settings(environ).embedded

    for tokens in ("", " , ", WELL_KNOWN_TOKEN, f"a-token,{WELL_KNOWN_TOKEN}", entry_of(WELL_KNOWN_TOKEN)):
        with pytest.raises(SettingsError, match="INGEST_API_TOKENS"):
            read_settings({**environ, "INGEST_API_TOKENS": tokens})


@pytest.mark.parametrize("token", ["Tökén", "two\twords", "\x7f"])
def test_token_that_does_not_fit_a_header_is_refused(token: str) -> None:
    with pytest.raises(SettingsError, match="INGEST_API_TOKENS: a token may have only visible ASCII"):
        read_settings({"INGEST_API_TOKENS": f"a-token,{token}"})


def test_hashed_and_plain_tokens_may_be_mixed() -> None:
    entry = entry_of("another")

    assert read_settings({"INGEST_API_TOKENS": f"a-token, {entry}"}).tokens == ("a-token", entry)


def test_malformed_hash_is_refused_by_its_variable_and_not_shown() -> None:
    entry = entry_of("another")[:-1]

    with pytest.raises(SettingsError, match="INGEST_API_TOKENS: sha256: must be followed by 64") as refused:
        read_settings({**MYSQL, "INGEST_API_TOKENS": f"a-token,{entry}"})
    assert entry.removeprefix("sha256:") not in str(refused.value)


@pytest.mark.parametrize(
    ("environ", "variable"),
    [
        ({"INGEST_TLS_CERT": "cert.pem"}, "INGEST_TLS_KEY"),
        ({"INGEST_TLS_KEY": "key.pem"}, "INGEST_TLS_CERT"),
        ({"INGEST_TLS_CLIENT_CA": "ca.pem"}, "INGEST_TLS_CLIENT_CA needs TLS"),
        ({"INGEST_ADMIN_PORT": "8000"}, "INGEST_ADMIN_PORT"),
        ({"INGEST_ADMIN_PORT": "-1"}, "INGEST_ADMIN_PORT"),
    ],
)
def test_settings_of_tls_and_admin_port_must_fit_together(environ: dict[str, str], variable: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        read_settings(environ)


def test_stream_mode_needs_the_streams_url() -> None:
    assert read_settings({**AMQP, **STREAM}).publish_to == "stream"

    for url in ("", "amqp://rabbit/"):
        with pytest.raises(SettingsError, match="INGEST_STREAM_URL"):
            read_settings({**AMQP, **STREAM, "INGEST_STREAM_URL": url})


def test_effective_settings_are_shown_without_secrets() -> None:
    shown = masked(read_settings({**MYSQL, **AMQP, **STREAM, "INGEST_API_TOKENS": f"token-1,{entry_of('t')}"}))

    assert shown["INGEST_DATABASE_URL"] == "mysql://ingest:***@db:3306/calls"
    assert shown["INGEST_API_TOKENS"] == "***,***"
    assert shown["INGEST_PORT"] == "8000"
    assert not [text for text in shown.values() if "secret" in text or "token-" in text or "sha256" in text]
    assert set(shown) == {"INGEST_" + name.upper() for name in Settings.__struct_fields__}


def test_the_well_known_token_is_masked_too() -> None:
    assert masked(Settings())["INGEST_API_TOKENS"] == "***"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://user:p%40ss@host:5672/%2F", "amqp://user:***@host:5672/%2F"),
        ("amqp://user:p@ss@host/", "amqp://user:***@host/"),
        ("amqp://user@host/", "amqp://user@host/"),
        ("sqlite:///var/call-events.db", "sqlite:///var/call-events.db"),
        ("embedded:", "embedded:"),
    ],
)
def test_only_the_password_of_a_url_is_masked(url: str, shown: str) -> None:
    assert mask_url(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:secret/1@db:3306/calls",
        "mysql://u:12/secret@db/calls",
        "mysql://u:secret?1@db/calls",
        "mysql://u:secret#1@db/calls",
        "mysql://u:[secret@db/calls",
        "mysql://u:secret@db:port/calls",
        "mysql://u:secret@db:99999/calls",
        "mysql://u:secret@db:0/calls",
        "mysql://u:secret@/calls",
    ],
)
def test_url_with_an_unescaped_password_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(SettingsError, match="INGEST_DATABASE_URL is not of the form") as refused:
        read_settings({"INGEST_DATABASE_URL": url, "INGEST_API_TOKENS": "a-token"})
    assert "secret" not in str(refused.value)


def test_path_of_a_database_file_may_have_any_character() -> None:
    assert read_settings({"INGEST_DATABASE_URL": "sqlite:////srv/calls@pbx:1/events.db"}).embedded


def test_body_larger_than_a_frame_is_refused_for_streams() -> None:
    with pytest.raises(SettingsError, match="INGEST_BODY_BYTES_MAX=1048576"):
        read_settings({**AMQP, **STREAM, "INGEST_BODY_BYTES_MAX": "1048576"})


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"INGEST_ROUTING_KEY": "{call_id}"}, "INGEST_ROUTING_KEY='{call_id}': {call_id} is no value of an event"),
        ({"INGEST_ROUTING_KEY": "{token}"}, "INGEST_ROUTING_KEY needs INGEST_EXCHANGE"),
        ({"INGEST_EXCHANGE": "calls"}, "INGEST_EXCHANGE needs RabbitMQ"),
        ({**AMQP, **STREAM, "INGEST_EXCHANGE": "calls"}, "set INGEST_STREAM_FILTER"),
        ({**AMQP, "INGEST_EXCHANGE": "☎" * 86}, "INGEST_EXCHANGE has more than 255 bytes"),
        ({**AMQP, "INGEST_STREAM_FILTER": "token"}, "INGEST_STREAM_FILTER needs INGEST_PUBLISH_TO=stream"),
        ({**AMQP, **STREAM, "INGEST_STREAM_FILTER": "call_id"}, "INGEST_STREAM_FILTER"),
    ],
)
def test_routing_settings_that_do_not_fit_are_refused(changes: dict[str, str], problem: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(problem)):
        read_settings(changes)


def test_routing_settings_that_fit_are_read() -> None:
    routed = read_settings({**AMQP, "INGEST_EXCHANGE": "calls", "INGEST_ROUTING_KEY": "{client}.{event_type}"})
    filtered = read_settings({**AMQP, **STREAM, "INGEST_STREAM_FILTER": "token"})

    assert (routed.exchange, routed.routing_key) == ("calls", "{client}.{event_type}")
    assert filtered.stream_filter == "token"
