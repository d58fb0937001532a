"""SECURITY.md and the compose file: what they promise is there."""

import re

import pytest
import yaml

from ingest.settings import Settings
from tests.paths import ROOT

TEXT = (ROOT / "SECURITY.md").read_text("utf-8")
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))


def test_each_threat_names_tests_that_are_there() -> None:
    table = TEXT.partition("## What is defended")[2].partition("\n## ")[0]
    rows = [line.split("|")[3] for line in table.splitlines() if line.startswith("|")][2:]
    named = [re.findall(r"`([\w/]+\.py)`", row) for row in rows]

    assert all(named)
    assert [file for files in named for file in files if not (ROOT / file).exists()] == []


def test_settings_that_are_named_exist() -> None:
    named = set(re.findall(r"`INGEST_(\w+)`", TEXT))

    assert named <= {name.upper() for name in Settings.__struct_fields__}


@pytest.mark.parametrize("name", ["app", "migrate"])
def test_compose_file_hardens_what_is_ours(name: str) -> None:
    service = COMPOSE["services"][name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["volumes"] == ["ingest-data:/data"]
