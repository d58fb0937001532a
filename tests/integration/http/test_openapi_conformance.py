"""The service conforms to its own `/openapi.json`, for generated valid and invalid requests."""

import os
import subprocess
import sys
from pathlib import Path

from tests.paths import ROOT
from tests.raw_http import ask, head
from tests.running import TOKEN, ServiceProcess

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
HOOKS = "tests.integration.http.schemathesis_hooks"
EXAMPLES = "25"
"""Random requests for each operation."""
PHASES = {"direct": "coverage", "granian": "fuzzing"}
"""Each listener has its phase: requests for each rule, or random ones. Both listeners use the same handlers."""


def test_generated_requests_are_answered_as_described(service: ServiceProcess, listener: str, tmp_path: Path) -> None:
    workers = service.worker_pids()
    address = f"http://127.0.0.1:{service.port}/openapi.json"
    command = [str(SCHEMATHESIS), "--config-file", str(CONFIGURATION), "run", address]
    command += ["--phases", PHASES[listener], "--max-examples", EXAMPLES]

    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": HOOKS, "SERVICE_TOKEN": TOKEN}
    run = subprocess.run(
        [*command, "--no-color"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )

    assert run.returncode == 0, run.stdout + run.stderr
    assert service.worker_pids() == workers


def test_every_operation_is_described(service: ServiceProcess) -> None:
    described = ask(service.port, head("GET", "/openapi.json")).json["paths"]

    operations = {path: sorted(item) for path, item in described.items()}

    assert operations == {
        "/api/call-events": ["post"],
        "/api/call-events/batch": ["post"],
        "/api/dead-letters": ["get"],
        "/api/dead-letters/{id}/drop": ["post"],
        "/api/dead-letters/{id}/retry": ["post"],
        "/api/events": ["get"],
        "/api/events/{id}": ["get"],
        "/api/events/{id}/resend": ["post"],
        "/api/refusals": ["get"],
        "/healthz": ["get"],
        "/in/{source}": ["post"],
        "/metrics": ["get"],
        "/readyz": ["get"],
        "/status.json": ["get"],
    }
