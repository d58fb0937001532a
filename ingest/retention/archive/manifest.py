"""The manifest of an archive: which events it has, and the checksums that prove it. It is a JSON file beside it."""

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import msgspec

from ingest.errors import IngestError, StoreError

NAME = "call_event_logs"
"""The folder of the archives, and the begin of their names."""
DATA, MANIFEST = ".ndjson.zst", ".ndjson.zst.json"
FORMAT = 1
MANIFEST_BYTES_MAX = 1 << 20
_name = re.compile(rf"{NAME}-(\d{{4}}-\d\d-\d\d)(?:\.(\d{{1,6}}))?\.ndjson\.zst")


class ArchiveFailed(StoreError):
    """The archive could not be written. No event was dropped."""


class ArchiveDamaged(IngestError):
    """The archive is damaged."""

    code = "archive_damaged"


class Manifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`sha256` and `bytes` are of the file, `content_sha256` and `content_bytes` of the lines in it.

    `ids_xor` is the XOR of all ids. `replaces` names the archive without whose `erased` events this one was written.
    """

    format: int = FORMAT
    file: str
    day: str
    events: int
    first_id: str
    last_id: str
    ids_xor: str
    bytes: int
    sha256: str
    content_bytes: int
    content_sha256: str
    written_time: str
    replaces: str = ""
    erased: int = 0


def data_name(day: date | str, part: int) -> str:
    """Late events of an archived day follow in further parts, from 2 on."""
    return f"{NAME}-{day}{f'.{part}' if part > 1 else ''}{DATA}"


def day_and_part(name: str) -> tuple[str, int] | None:
    """Return the day and the part of an archive's name; None for another name."""
    match = _name.fullmatch(name)
    return (match[1], int(match[2] or 1)) if match else None


def manifest_of(data: Path) -> Path:
    return data.with_name(f"{data.name}.json")


def read_manifest(path: Path) -> Manifest:
    """Raises `OSError`, or `ArchiveDamaged` if the file is no manifest of this version."""
    with path.open("rb") as file:
        content = file.read(MANIFEST_BYTES_MAX + 1)
    try:
        found = msgspec.json.decode(content, type=Manifest)
    except msgspec.MsgspecError as exc:
        raise ArchiveDamaged(f"{path} is no manifest of an archive: {exc}.") from exc
    if found.format > FORMAT:
        raise ArchiveDamaged(f"{path} has format {found.format}: a newer version of this service wrote it.")
    return found


def data_files(folder: Path) -> list[Path]:
    """The archives of a folder by day and part, also those without a manifest. Raises `OSError`."""
    found = ((day_and_part(path.name), path) for path in folder.iterdir())
    return [path for _, path in sorted((key, path) for key, path in found if key)]


def manifests(folder: Path) -> Iterator[tuple[Path, Manifest]]:
    """Yield each archive that has a manifest. Raises `OSError` and `ArchiveDamaged`."""
    for data in data_files(folder):
        if manifest_of(data).exists():
            yield data, read_manifest(manifest_of(data))
