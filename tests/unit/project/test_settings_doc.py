import subprocess
import sys

from tests.paths import ROOT


def test_document_of_the_settings_is_current() -> None:
    run = subprocess.run(
        [sys.executable, ".ci/settings_doc.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert run.returncode == 0, run.stderr
