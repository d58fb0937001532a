import os
from pathlib import Path

import msgspec
import pytest

from ingest.server.file_modes import make_private
from ingest.settings import Settings

OWN = os.geteuid()
ANOTHER = 65534 if OWN == 0 else OWN
"""Tests that do not run as root have only their own user."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    data = tmp_path / "var"
    (data / "run").mkdir(parents=True, mode=0o755)
    data.chmod(0o755)
    (data / "run" / "tokens").touch(0o640)
    return msgspec.structs.replace(Settings(), data_dir=data, database_url=f"sqlite:///{tmp_path}/missing.db")


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_rights_of_others_are_removed_once(settings: Settings) -> None:
    data = settings.data_dir
    assert make_private(settings).changed == [data, data / "run", data / "run" / "tokens"]
    assert [mode_of(path) for path in (data, data / "run", data / "run" / "tokens")] == [0o700, 0o700, 0o600]
    again = make_private(settings)
    assert (again.changed, again.left) == ([], [])


def test_volume_of_another_user_keeps_its_rights(settings: Settings) -> None:
    os.chown(settings.data_dir, ANOTHER, ANOTHER)
    make_private(settings)
    assert mode_of(settings.data_dir) == (0o755 if ANOTHER != OWN else 0o700)
    assert mode_of(settings.data_dir / "run") == 0o700


def test_link_in_the_folder_changes_nothing_elsewhere(settings: Settings, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.touch(0o644)
    (settings.data_dir / "run" / "link").symlink_to(elsewhere)
    make_private(settings)
    assert mode_of(elsewhere) == 0o644


def test_folder_that_is_not_there_yet_is_nothing_to_change(settings: Settings, tmp_path: Path) -> None:
    nowhere = msgspec.structs.replace(settings, data_dir=tmp_path / "nowhere")
    assert make_private(nowhere).changed == []
