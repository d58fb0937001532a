"""The unit file in docs/ agrees with the service's settings and limits."""

import re
from pathlib import Path

from ingest.cli.main import COMMANDS
from ingest.server.granian import stop_seconds_max
from ingest.settings import PREFIX, Settings
from tests.systemd_unit import UNIT, read_unit


def test_service_is_restarted_after_any_exit() -> None:
    assert (read_unit()["Service"]["Restart"], read_unit()["Unit"]["StartLimitIntervalSec"]) == ("always", "0")


def test_stop_timeout_is_long_enough_for_the_service() -> None:
    assert int(read_unit()["Service"]["TimeoutStopSec"]) > stop_seconds_max(Settings())


def test_files_are_for_the_services_user_only() -> None:
    service = read_unit()["Service"]
    assert (service["UMask"], service["StateDirectoryMode"]) == ("0077", "0700")


def test_command_and_settings_exist() -> None:
    program, command = read_unit()["Service"]["ExecStart"].split()
    assert (Path(program).name, command in COMMANDS) == ("ingest", True)
    named = set(re.findall(rf"{PREFIX}([A-Z_]+)", UNIT.read_text()))
    assert {name.lower() for name in named} <= set(Settings.__struct_fields__)
