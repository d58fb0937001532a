"""`ingest check` against a real service, and the recipes of docs/check.md."""

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from tests.commands import Ran
from tests.paths import ROOT
from tests.running import TOKEN, ServiceProcess
from tests.services import free_port

GENEROUS = ("--p50", "60000", "--p99", "60000")
SHORT = ("--rate", "20", "--duration", "1s")


def check(url: str, *options: str, token: str = TOKEN) -> Ran:
    argv = [sys.executable, "-m", "ingest", "check", "--url", url, *options]
    environment = {"CALL_EVENTS_TOKEN": token}
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=100, check=False)


def url_of(service: ServiceProcess) -> str:
    return f"http://127.0.0.1:{service.port}"


def stored(service: ServiceProcess, sql: str) -> int:
    """Run a statement in the service's database, and return the number of the checks' events there."""
    path = service.environment["INGEST_DATABASE_URL"].removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, timeout=20)) as connection:
        connection.execute(sql)
        connection.commit()
        (count,) = connection.execute("SELECT COUNT(*) FROM call_event_logs WHERE event_type = 'check'").fetchone()
        return int(count)


def test_exit_code_tells_if_the_budgets_are_met(service: ServiceProcess) -> None:
    met = check(url_of(service), *SHORT, *GENEROUS)
    missed = check(url_of(service), *SHORT, "--p99", "0")

    assert (met.returncode, met.stdout.splitlines()[-1]) == (0, "MET"), met
    assert (missed.returncode, missed.stdout.splitlines()[-1]) == (1, "MISSED"), missed
    assert met.stdout.startswith("20 events accepted, 0 failed; run check-")


def test_json_names_the_events_and_how_to_delete_them(service: ServiceProcess) -> None:
    done = check(url_of(service), *SHORT, *GENEROUS, "--json")

    report = json.loads(done.stdout)
    assert (report["verdict"], report["accepted"], report["errors"]) == ("met", 20, {})
    assert report["latency_ms"].keys() == {"p50", "p95", "p99", "max"}
    before = stored(service, "SELECT 1")
    assert stored(service, report["deletion"]) == before - 20


def test_nothing_is_sent_with_a_wrong_token_or_to_nobody(service: ServiceProcess) -> None:
    before = stored(service, "SELECT 1")

    refused = check(url_of(service), *SHORT, token="wrong")
    nobody = check(f"http://127.0.0.1:{free_port()}", *SHORT)
    no_service = check(f"http://127.0.0.1:{service.port}", "--rate", "2000", "--duration", "1h")

    assert refused.stderr == (
        f"ingest: {url_of(service)} refuses the token: it answered 401: Unauthenticated. Nothing was sent.\n"
    )
    assert "Connection refused. Nothing was sent." in nobody.stderr
    assert "at most 1000000 events" in no_service.stderr
    assert [ran.returncode for ran in (refused, nobody, no_service)] == [2, 2, 2]
    assert stored(service, "SELECT 1") == before


def recipes() -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the script of each recipe, without the installation, and its variables."""
    text = (ROOT / "docs" / "check.md").read_text()
    for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL):
        job = yaml.safe_load(block)["jobs"]["check"] if "jobs:" in block else yaml.safe_load(block)["check"]
        lines = job["script"] if "script" in job else [step["run"] for step in job["steps"] if "run" in step]
        script = "\n".join(line for line in lines if not line.startswith("pip "))
        yield script, {name: str(value) for name, value in (job.get("env") or job["variables"]).items()}


@pytest.mark.parametrize("number", [0, 1])
def test_recipe_of_the_document_passes(service: ServiceProcess, tmp_path: Path, number: int) -> None:
    script, variables = list(recipes())[number]
    given = {"EVENTS_URL": url_of(service), "CALL_EVENTS_TOKEN": TOKEN, "CHECK_DURATION": "1s", "CHECK_P99": "60000"}
    environment = {**variables, **given, "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}

    done = subprocess.run(
        ["sh", "-ec", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done
    assert json.loads((tmp_path / "check.json").read_text())["verdict"] == "met"
