"""Reports what differs between the lock files of two folders: packages, versions, and hashes of the same version.

`python .ci/lock_changes.py OLD NEW` prints a line for each change. New hashes alone mean that the index has further
files of a version. A hash that went means that it took a file back: look at that package.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ENTRY = re.compile(r"^([\w.-]+)==([^\s\\]+)((?:[\s\\]+--hash=\S+)*)", re.MULTILINE)
STEPS = ("major", "minor", "patch")


class Locked(NamedTuple):
    version: str
    hashes: frozenset[str]


def read(path: Path) -> dict[str, Locked]:
    text = path.read_text("utf-8") if path.exists() else ""
    return {
        name: Locked(version, frozenset(re.findall(r"--hash=(\S+)", rest)))
        for name, version, rest in ENTRY.findall(text)
    }


def changes(old: Mapping[str, Locked], new: Mapping[str, Locked]) -> Iterator[str]:
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if after is None:
            yield f"- {name} {before.version if before else ''}"
        elif before is None:
            yield f"+ {name} {after.version}"
        elif before.version != after.version:
            yield f"  {name} {before.version} -> {after.version} ({step(before.version, after.version)})"
        elif gone := len(before.hashes - after.hashes):
            yield f"! {name} {after.version}: {gone} of {len(before.hashes)} hashes went"
        elif before.hashes != after.hashes:
            yield f"  {name} {after.version}: {len(after.hashes - before.hashes)} hashes more"


def step(before: str, after: str) -> str:
    """Return which part of the number changed. An older version is a step back."""
    numbers = [[int(part) for part in re.findall(r"\d+", version)[:3]] for version in (before, after)]
    if numbers[1] < numbers[0]:
        return "back"
    for name, one, other in zip(STEPS, *numbers, strict=False):
        if one != other:
            return name
    return "other"


def main(old: Path, new: Path) -> None:
    names = sorted(
        {str(path.relative_to(folder)) for folder in (old, new) for path in folder.glob("**/requirements*.lock")}
    )
    found = {name: [*changes(read(old / name), read(new / name))] for name in names}
    for name, lines in found.items():
        if lines:
            sys.stdout.write("\n".join([f"{name}:", *lines]) + "\n")
    if not any(found.values()):
        sys.stdout.write("No lock has changed.\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
