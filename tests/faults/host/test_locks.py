"""A cleaner deletes lock files of live workers while the database is down. Then everything is killed."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.faults.form import Form
from tests.faults.harness.load import Load
from tests.faults.harness.scene import Scene, stopped
from tests.faults.reading import spooled
from tests.faults.report import Report
from tests.services import wait_until

NOTICED_SECONDS = 60.0


def data_dir(here: Scene) -> Path:
    return Path(here.service.environment["INGEST_DATA_DIR"])


def delete_locks(folder: Path) -> None:
    """Delete as `find var -name '*.lock' -delete` does, and also the workers' beats, whose names are numbers."""
    for path in (*folder.rglob("*.lock"), *(folder / "run" / "beats").glob("*")):
        path.unlink(missing_ok=True)


def delete_run(folder: Path) -> None:
    shutil.rmtree(folder / "run", ignore_errors=True)


def delete_locks_and_slots(folder: Path) -> None:
    delete_locks(folder)
    shutil.rmtree(folder / "slots", ignore_errors=True)


def replace_folder(folder: Path) -> None:
    """Move the folder away, and create an empty one."""
    number = len(list(folder.parent.glob(f"{folder.name}.*")))
    folder.rename(folder.with_name(f"{folder.name}.{number}"))
    folder.mkdir(exist_ok=True)  # the service may have created it first


def delete_all(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("delete", [delete_locks, delete_run, delete_locks_and_slots, replace_folder, delete_all])
def test_deleted_locks_of_live_workers_lose_nothing(
    here: Scene, form: Form, report: Report, delete: Callable[[Path], None]
) -> None:
    folder = data_dir(here)
    with here.load() as load:
        for _ in range(form.rounds):
            here.wait_for_steady(load)
            with stopped(here.mysql):
                before = len(load.ledger.ok)
                here.wait_for_steady(load)
                delete(folder)
                here.wait_for_steady(load)
                noticed = wait_until(
                    lambda: here.service.status() == "degraded" and loss_is_logged(here), NOTICED_SECONDS
                )
                delete(folder)
                here.wait_for_steady(load)
                # A worker that waits for its disk may not have written its events anew yet.
                written_anew = partial(holds_all, folder, load, before)
                assert wait_until(written_anew, NOTICED_SECONDS), here.service.log()
                here.service.kill()
            here.service.start()
            here.service.wait_for_status("ready", "degraded", seconds=NOTICED_SECONDS)
        here.wait_for_steady(load)
    fault = f"{delete.__name__.replace('_', ' ')}, database down, kill -9"
    result = report.add(fault, form.rounds, here.account(load.ledger))
    assert not result.faults, result
    # The service may refuse a batch while the folder is missing, but must not lose it.
    assert result.refused.keys() <= ({500} if delete in (replace_folder, delete_all) else set()), result
    assert noticed


def holds_all(folder: Path, load: Load, before: int) -> bool:
    """Return True if the spools hold all accepted events after the first `before`."""
    accepted = len(load.ledger.ok) - before
    return spooled(folder) >= accepted


def loss_is_logged(here: Scene) -> bool:
    return "a file was deleted or replaced while in use" in here.logged("ingest.locks")
