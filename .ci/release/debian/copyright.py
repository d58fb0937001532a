"""Writes the package's copyright file: the service's licence from standard input, then that of each Python package.

The only argument is the folder of these packages.
"""

import sys
from importlib.metadata import Distribution, distributions

OWN = "call-events-ingest"


def licence_of(package: Distribution) -> str:
    """Return the licence as the package itself names it: an expression, a classifier or a short text."""
    classifiers = [
        line.rpartition(" :: ")[2]
        for line in package.metadata.get_all("Classifier", [])
        if line.startswith("License ::") and not line.endswith(" OSI Approved")
    ]
    text = (package.metadata.get("License") or "").strip().partition("\n")[0]
    return package.metadata.get("License-Expression") or ", ".join(classifiers) or text or "see its files"


def main() -> None:
    out = sys.stdout.write
    out(f"The package holds the Call Events Service:\n\n{sys.stdin.read().strip()}\n\n")
    out("It also holds these Python packages, in /usr/lib/call-events. The folder *.dist-info of each package has\n")
    out("its authors and the texts of its licence. Debian has the text of the Apache License, too:\n")
    out("/usr/share/common-licenses/Apache-2.0\n\n")
    for package in sorted(distributions(path=sys.argv[1:]), key=lambda one: one.name.lower()):
        if package.name != OWN:
            out(f"{package.name} {package.version}: {licence_of(package)}\n")


main()
