"""Reads which packages are locked and which are installed, and their licences. `sbom.py` and the tests use it."""

import re
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path

from license_expression import get_spdx_licensing

ALLOWED = frozenset(("Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "MIT", "MIT-0", "MPL-2.0", "PSF-2.0"))
"""Licences that permit to use, change and distribute the service without its source. MPL-2.0 asks for the source of
changes to the package's own files."""
KNOWN = {
    "itsdangerous": "BSD-3-Clause",
    "uvloop": "Apache-2.0 OR MIT",
}
"""Licences by the package's own licence files, where the metadata does not tell which."""
NAMES = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "The MIT License (MIT)": "MIT",
}
"""Names in older metadata, before licences were SPDX expressions."""
_spdx = get_spdx_licensing()


def canonical(name: str) -> str:
    """Return a package's name as locks and package URLs write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(lock: Path) -> dict[str, str]:
    """Return name → version of a lock file."""
    found = re.findall(r"^([\w.-]+)==([^\s\\]+)", lock.read_text("utf-8"), re.MULTILINE)
    return {canonical(name): version for name, version in found}


def installed(folders: Iterable[str]) -> dict[str, Distribution]:
    """Return name → distribution of the packages in these folders. The first folder wins, as when Python imports."""
    found: dict[str, Distribution] = {}
    for one in distributions(path=[*folders]):
        found.setdefault(canonical(one.metadata["Name"]), one)
    return found


def licence(package: Distribution) -> str:
    """Return an SPDX expression, or an empty text if the metadata names no licence that is known here."""
    name = canonical(package.metadata["Name"])
    if name in KNOWN:
        return KNOWN[name]
    classifiers = package.metadata.get_all("Classifier", [])
    candidates = [
        package.metadata.get("License-Expression"),
        (package.metadata.get("License") or "").partition("\n")[0].strip(),
        *(one.rpartition(" :: ")[2] for one in classifiers if one.startswith("License ::")),
    ]
    for text in filter(None, candidates):
        expression = NAMES.get(re.sub(r"  .*", "", text), text)
        if not _spdx.validate(expression).errors:
            return str(_spdx.parse(expression))
    return ""


def forbidden(expression: str) -> set[str]:
    """Return the licences of an SPDX expression that are not allowed."""
    return set(_spdx.license_keys(expression)) - ALLOWED if expression else {"an unknown licence"}
