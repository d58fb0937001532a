"""Names the servers, files and services that a command uses, so that it never looks elsewhere silently."""

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Concatenate, Literal, ParamSpec, TypeVar

from ingest.cli.shell.output import warn
from ingest.errors import SettingsError
from ingest.settings import Settings, mask_url, read_settings
from ingest.sqlite import file_of

P = ParamSpec("P")
T = TypeVar("T")
Part = Literal["database", "broker", "data folder"]

OTHER_SETTINGS = "Run the command with the service's settings, such as `ingest --env-file FILE …`."


def using(*parts: Part) -> Callable[[Callable[Concatenate[Settings, P], T]], Callable[P, T]]:
    """Read the settings when the command runs, and name what it uses on standard error. `--help` needs no settings."""

    def decorate(command: Callable[Concatenate[Settings, P], T]) -> Callable[P, T]:
        @wraps(command)
        def run(*args: P.args, **kwargs: P.kwargs) -> T:
            settings = read_settings()
            announce(settings, *parts)
            if "database" in parts:
                check_database(settings)
            return command(settings, *args, **kwargs)

        return run

    return decorate


def announce(settings: Settings, *parts: Part) -> None:
    for part in parts:
        warn(f"{part}: {_name(settings, part)}")


def _name(settings: Settings, part: Part) -> str:
    if part == "database":
        file = file_of(settings.database_url)
        return f"{file.absolute()} (SQLite)" if file else mask_url(settings.database_url)
    if part == "data folder":
        return str(settings.data_dir.absolute())
    if settings.publish_to == "stream":
        return f"{mask_url(settings.stream_url)}, stream {settings.queue}"
    if settings.broker_url == "embedded:":
        return f"the embedded queue in {settings.data_dir.absolute()}"
    return f"{mask_url(settings.broker_url)}, queue {settings.queue}"


def check_database(settings: Settings) -> None:
    """Raises `SettingsError` for a SQLite file that is missing, which a command must not create."""
    file = file_of(settings.database_url)
    if file is None:
        return
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise SettingsError(
            f"{file.absolute()}: there is no database file; `ingest migrate` creates it. {OTHER_SETTINGS}"
        ) from exc
    except OSError:
        return  # the command opens it as its owner, or says why it cannot


def check_data_folder(settings: Settings, *below: str) -> Path:
    """Return a folder in the data folder, which may be missing there. Raises `SettingsError` if none can be read."""
    folder = settings.data_dir
    for path in (folder, folder.joinpath(*below)):
        try:
            with os.scandir(path):
                pass
        except FileNotFoundError as exc:
            if path == folder:
                raise SettingsError(
                    f"INGEST_DATA_DIR: there is no folder {folder.absolute()}. {OTHER_SETTINGS}"
                ) from exc
        except OSError as exc:
            raise SettingsError(
                f"INGEST_DATA_DIR: {path.absolute()} cannot be read: {exc.strerror}. {OTHER_SETTINGS}"
            ) from exc
    return folder.joinpath(*below)
