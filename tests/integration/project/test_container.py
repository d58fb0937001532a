"""The Dockerfile and the compose file, checked without a container engine."""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from ingest.errors import SettingsError
from ingest.server.granian import stop_seconds_max
from ingest.settings import Settings, read_settings
from tests.dockerfile import BUILD, IMAGE, only
from tests.paths import ROOT

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]


def test_copied_files_exist_and_are_not_ignored() -> None:
    sources = [word for step in BUILD if step.name == "COPY" for word in step.words[:-1]]
    taken = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text("utf-8"), re.MULTILINE)
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert sorted(sources) == sorted(taken)


def test_container_does_not_run_as_root_and_keeps_its_data_in_a_volume() -> None:
    user, group = only("USER").arguments.split(":")
    assert int(user) > 0
    assert int(group) > 0
    environment = dict(word.split("=", 1) for word in only("ENV").words)
    assert environment["INGEST_DATA_DIR"] == only("VOLUME").arguments == only("WORKDIR").arguments
    assert BUILD[0].words[0] == IMAGE[0].words[0]
    assert BUILD[0].words[0].endswith("-slim")


@pytest.mark.parametrize("name", ["ENTRYPOINT", "CMD", "HEALTHCHECK"])
def test_commands_are_run_without_a_shell(name: str) -> None:
    """A shell would not pass on SIGTERM."""
    assert only(name).argv


def test_compose_file_follows_the_compose_specification() -> None:
    check_schema("vendor.compose-spec", "docker-compose.yml")


def check_schema(schema: str, file: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, file]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def interpolated(text: str, given: Mapping[str, str]) -> str:
    """Replace `${NAME:-default}` and `${NAME:+if set}` as compose does, from the innermost on."""

    def value(match: re.Match[str]) -> str:
        name, kind, alternative = match.groups()
        return (given.get(name) or alternative) if kind == "-" else alternative if given.get(name) else ""

    while (done := re.sub(r"\$\{(\w+):([-+])([^${}]*)\}", value, text)) != text:
        text = done
    assert "${" not in text
    return text


def values(service: str, given: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return a service's environment variables as compose sets them; `given` is compose's own environment."""
    environment = SERVICES[service].get("environment", {})
    return {name: interpolated(text, given or {}) for name, text in environment.items()}


def effective_settings(given: Mapping[str, str] | None = None) -> Settings:
    in_image = dict(word.split("=", 1) for word in only("ENV").words)
    return read_settings(in_image | values("app", given))


def test_settings_in_the_compose_file_are_settings_of_the_service() -> None:
    settings = effective_settings()
    assert settings.tokens == ("local-compose-token",)
    assert (settings.port, settings.publish_to, settings.embedded) == (8000, "queue", False)
    assert "local-compose-token" in (ROOT / "README.md").read_text("utf-8")
    assert effective_settings({"INGEST_API_TOKENS": "one,two"}).tokens == ("one", "two")
    assert effective_settings({"INGEST_PUBLISH_TO": "stream"}).publish_to == "stream"


def test_only_this_machine_reaches_a_service_with_the_documented_token() -> None:
    (port,) = SERVICES["app"]["ports"]
    for others in ("0.0.0.0", "192.0.2.7"):
        opened = {"SERVICE_ADDRESS": others}
        assert interpolated(port, opened) == f"{others}:8000:8000"
        with pytest.raises(SettingsError, match="set your own tokens"):
            effective_settings(opened)
        assert effective_settings({**opened, "INGEST_API_TOKENS": "one"}).tokens == ("one",)
    published = [interpolated(port, {}) for service in SERVICES.values() for port in service.get("ports", [])]
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


def test_hosts_and_users_in_urls_are_those_of_the_services() -> None:
    settings, mysql, rabbitmq = effective_settings(), values("mysql"), values("rabbitmq")
    assert settings.database_url == (
        f"mysql://{mysql['MYSQL_USER']}:{mysql['MYSQL_PASSWORD']}@mysql:3306/{mysql['MYSQL_DATABASE']}"
    )
    login = f"{rabbitmq['RABBITMQ_DEFAULT_USER']}:{rabbitmq['RABBITMQ_DEFAULT_PASS']}"
    assert settings.broker_url == f"amqp://{login}@rabbitmq:5672/"
    assert settings.stream_url == f"rabbitmq-stream://{login}@rabbitmq:5552/"
    prometheus = yaml.safe_load((ROOT / "observability/prometheus.yml").read_text("utf-8"))
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in prometheus["scrape_configs"]}
    assert targets == {
        "call-events": [f"app:{settings.port}"],
        "rabbitmq": ["rabbitmq:15692"],
        "mysql": ["mysqld-exporter:9104"],
    }
    assert values("mysqld-exporter")["MYSQLD_EXPORTER_PASSWORD"] == mysql["EXPORTER_PASSWORD"]
    source = yaml.safe_load((ROOT / "observability/grafana/provisioning/datasources/prometheus.yml").read_text("utf-8"))
    assert urlsplit(source["datasources"][0]["url"]).hostname in SERVICES


def test_app_starts_after_the_migrations_and_these_after_mysql() -> None:
    assert SERVICES["app"]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert SERVICES["migrate"]["depends_on"]["mysql"] == {"condition": "service_healthy"}
    assert SERVICES["migrate"]["command"] == ["migrate"]
    depended_on = {name for service in SERVICES.values() for name in service.get("depends_on", {})}
    assert depended_on <= SERVICES.keys()


def test_services_have_health_checks_and_restart() -> None:
    for name, service in SERVICES.items():
        if name == "migrate":
            assert service["restart"] == "no"
        else:
            assert service["restart"] == "unless-stopped", name
            assert service["healthcheck"]["test"], name
    grace = int(SERVICES["app"]["stop_grace_period"].removesuffix("s"))
    assert grace > stop_seconds_max(effective_settings())


def mounts() -> Iterator[tuple[str, str]]:
    """Yield source and target of every mount."""
    for service in SERVICES.values():
        for mount in service.get("volumes", []):
            source, place = mount.split(":")[:2]
            yield source, place


def test_mounted_files_exist() -> None:
    for source, _ in mounts():
        assert (ROOT / source).exists() if source.startswith("./") else source in COMPOSE["volumes"], source
    plugins = (ROOT / "observability/rabbitmq/enabled_plugins").read_text("utf-8")
    assert {"rabbitmq_management", "rabbitmq_prometheus", "rabbitmq_stream"} <= set(re.findall(r"\w+", plugins))


def test_grafana_opens_on_the_dashboard_that_is_mounted() -> None:
    folder = ROOT / "observability/grafana/provisioning/dashboards"
    providers = yaml.safe_load((folder / "files.yml").read_text("utf-8"))["providers"]
    home = Path(values("grafana")["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    places = {place: source for source, place in mounts()}
    paths = [provider["options"]["path"] for provider in providers]
    assert str(home.parent) in paths
    assert [path for path in paths if path not in places] == []
    assert (ROOT / places[str(home.parent)] / home.name).exists()
    assert values("grafana")["GF_AUTH_ANONYMOUS_ENABLED"] == "true"


def test_ports_are_those_of_the_readme() -> None:
    published = {port.rpartition(":")[2] for service in SERVICES.values() for port in service.get("ports", [])}
    assert published == {"8000", "5672", "15672", "9090", "3000"}
