"""Snapshots of data folders. A folder that goes back to one has old files, while the servers remember newer ones."""

import os
import shutil
from pathlib import Path

import msgspec

from tests.simulation.machine.nodes import Node
from tests.simulation.machine.segments import SegmentFiles


class Snapshot(msgspec.Struct, frozen=True):
    """`payloads` are on the disk under the spool. `tokens` are those that workers had saved."""

    folder: Path
    payloads: set[bytes]
    tokens: dict[bytes, int | None]


def take_snapshot(node: Node, folder: Path, segments: SegmentFiles, now: float) -> Snapshot:
    """Copy the node's folder to `folder`. `now` is the world's time."""
    copy_folder(node.folder, folder)
    return Snapshot(folder, segments.payloads_on(node), node.tokens_saved_by(now))


def go_back(node: Node, snapshot: Snapshot, segments: SegmentFiles, now: float) -> set[bytes]:
    """Put the snapshot in place of the node's folder. No worker runs there. Return the payloads that are gone."""
    gone = segments.payloads_on(node) - snapshot.payloads
    segments.replaced(node)
    shutil.rmtree(node.folder)
    copy_folder(snapshot.folder, node.folder)
    for path in sorted(node.folder.rglob("*.log")):
        with path.open("r+b") as file:
            found = os.fstat(file.fileno())
            segments.opened(node, (found.st_dev, found.st_ino), str(path), file.fileno())
    node.save_tokens(snapshot.tokens, now)
    return gone


def copy_folder(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=_gone)


def _gone(folder: str, names: list[str]) -> list[str]:
    """Drafts of files, which may vanish while the folder is copied."""
    return [name for name in names if name.startswith(".") or not (Path(folder) / name).exists()]
