"""The unit file in docs/ fits the service's own settings and limits."""

import re
from configparser import ConfigParser
from pathlib import Path

from ingest.cli.main import COMMANDS
from ingest.server.granian import stop_seconds_max
from ingest.settings import PREFIX, Settings
from tests.paths import DOCS

UNIT = DOCS / "systemd" / "call-events.service"


def unit() -> ConfigParser:
    parser = ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign] # as its documentation says
    parser.read_string(UNIT.read_text())
    return parser


def test_it_is_started_again_whatever_ends_it() -> None:
    assert (unit()["Service"]["Restart"], unit()["Unit"]["StartLimitIntervalSec"]) == ("always", "0")


def test_it_has_the_time_to_stop_that_the_service_takes() -> None:
    assert int(unit()["Service"]["TimeoutStopSec"]) > stop_seconds_max(Settings())


def test_its_command_and_its_settings_are_the_services() -> None:
    program, command = unit()["Service"]["ExecStart"].split()
    assert (Path(program).name, command in COMMANDS) == ("ingest", True)
    named = set(re.findall(rf"{PREFIX}([A-Z_]+)", UNIT.read_text()))
    assert {name.lower() for name in named} <= set(Settings.__struct_fields__)
