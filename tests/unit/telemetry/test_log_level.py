from pathlib import Path

import pytest

from ingest.cli.log_level import change
from ingest.cli.options import Duration
from ingest.errors import SettingsError
from ingest.settings import Settings
from ingest.telemetry.log_level import FILE_NAME, LevelWatch
from tests.unit.fakes import FakeClock

QUARTER = Duration.parse("15m")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


def test_level_follows_the_override_until_it_expires(settings: Settings) -> None:
    said: list[str] = []
    now_us = 0
    watch = LevelWatch(settings.run_dir, "info", lambda: now_us, said.append)
    watch.look()
    assert said == []

    change(settings, "debug", QUARTER)
    watch.look()
    watch.look()
    assert said == ["DEBUG"]

    now_us = 1 << 62
    watch.look()
    assert said == ["DEBUG", "INFO"]


def test_override_is_withdrawn_and_an_invalid_file_is_ignored(settings: Settings, clock: FakeClock) -> None:
    said: list[str] = []
    watch = LevelWatch(settings.run_dir, "warning", clock.now_us, said.append)
    change(settings, "error", QUARTER)
    watch.look()
    assert change(settings, "usual", QUARTER) == "the log level is info again"
    watch.look()
    (settings.run_dir / FILE_NAME).write_text("loud")
    watch.look()
    (settings.run_dir / FILE_NAME).write_bytes(b'{"level": "\xff", "until_us": 1}')
    watch.look()
    assert said == ["ERROR", "WARNING"]


def test_malformed_duration_is_refused() -> None:
    with pytest.raises(SettingsError, match="no time"):
        Duration.parse("soon")
