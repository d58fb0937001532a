"""The configurations in docs/clients: each is used by a test."""

from importlib import import_module
from pathlib import Path

import pytest

from tests.paths import DOCS, ROOT
from tests.unit.project.test_documents import FILES

CLIENTS = DOCS / "clients"
USED_BY = {
    "asterisk": "tests.clients.test_asterisk",
    "freeswitch": "tests.integration.service.test_freeswitch",
    "kamailio": "tests.telephony.kamailio",
    "opensips": "tests.integration.service.test_opensips",
}
"""Folder → the module whose tests use its files. `CONFIGURATION` there is the folder, or the only file in it."""
CONFIGURATIONS = [file for file in FILES if file.is_relative_to(CLIENTS) and file.suffix != ".md"]
"""`test_documents.py` checks the pages."""


@pytest.mark.parametrize("file", CONFIGURATIONS, ids=lambda file: str(file.relative_to(ROOT)))
def test_configuration_is_used_by_a_test(file: Path) -> None:
    used = import_module(USED_BY[file.relative_to(CLIENTS).parts[0]]).CONFIGURATION

    assert file in {used, *used.glob("*")}


def test_readme_links_every_configuration() -> None:
    readme = (CLIENTS / "README.md").read_text()

    assert [file.name for file in CONFIGURATIONS if f"]({file.relative_to(CLIENTS)})" not in readme] == []
