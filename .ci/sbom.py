"""Makes a list of all packages of the service (an SBOM, CycloneDX in JSON) from the locks, and compares it with what is
installed.

`python .ci/sbom.py --output sbom.cdx.json` describes the packages of requirements.lock; `--otel` adds those of
requirements-otel.lock. The exit code is 1 if a locked package is absent, if its version differs, or if its licence is
not allowed. `--site-packages FOLDER` compares with another installation, which must have no other packages. The same
locks, packages and commit give the same bytes.
"""

import argparse
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from importlib.metadata import Distribution
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model import Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.contact import OrganizationalEntity
from cyclonedx.model.license import DisjunctiveLicense, License, LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packages import canonical, forbidden, installed, licence, locked
from packageurl import PackageURL
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ingest import __version__  # noqa: E402 - the checkout, whatever is installed
from ingest.commit import commit_of  # noqa: E402

NAME = "call-events-ingest"
LOCKS = ("requirements.lock", "requirements-otel.lock")

Packages = Mapping[str, Distribution]


def problems(wanted: Mapping[str, str], there: Packages, *, alone: bool) -> Iterator[str]:
    """Yield what differs between locks and installation. With `alone` no other package may be installed."""
    for name, version in wanted.items():
        if name not in there:
            yield f"{name} {version} is locked, but not installed."
        elif there[name].version != version:
            yield f"{name} is locked as {version}, but {there[name].version} is installed."
        elif wrong := forbidden(licence(there[name])):
            yield f"{name} has {', '.join(sorted(wrong))}, which `.ci/packages.py` does not allow."
    if alone:
        yield from (
            f"{name} {there[name].version} is installed, but in no lock." for name in {*there} - {*wanted, NAME}
        )


def bom(wanted: Mapping[str, str], there: Packages, locks: Sequence[Path]) -> Bom:
    """Describe the wanted packages, all of which are installed."""
    made = Bom()
    own = Component(
        type=ComponentType.APPLICATION,
        name=NAME,
        version=__version__,
        purl=PackageURL("pypi", name=NAME, version=__version__),
        bom_ref=NAME,
        licenses=[DisjunctiveLicense(id="MIT")],
        supplier=OrganizationalEntity(name="The Call Events Service authors"),
        properties=[Property(name="call-events:commit", value=commit_of(str(ROOT / "ingest")) or "unknown")],
    )
    components = {name: component(there[name]) for name in wanted}
    made.metadata.component = own
    made.metadata.properties = [
        Property(name=f"call-events:sha256:{lock.name}", value=sha256(lock.read_bytes()).hexdigest()) for lock in locks
    ]
    made.components = components.values()
    for name, one in components.items():
        made.register_dependency(one, [components[other] for other in needs(there[name]) if other in components])
    made.register_dependency(own, [components[name] for name in direct() if name in components])
    digests = [str(one.value) for one in [*made.metadata.properties, *own.properties]]
    made.serial_number = uuid5(NAMESPACE_URL, " ".join([NAME, __version__, *digests]))
    made.metadata.timestamp = None  # type: ignore[assignment] # the same locks give the same bytes
    return made


def component(package: Distribution) -> Component:
    name = canonical(package.metadata["Name"])
    purl = PackageURL("pypi", name=name, version=package.version)
    return Component(
        type=ComponentType.LIBRARY,
        name=name,
        version=package.version,
        purl=purl,
        bom_ref=purl.to_string(),
        description=package.metadata.get("Summary"),
        licenses=[licence_choice(licence(package))],
    )


def licence_choice(expression: str) -> License:
    return LicenseExpression(expression) if " " in expression else DisjunctiveLicense(id=expression)


def needs(package: Distribution) -> set[str]:
    """Return the names of the packages that a package requires on this Python, without extras."""
    found = map(Requirement, package.requires or ())
    return {canonical(one.name) for one in found if one.marker is None or one.marker.evaluate({"extra": ""})}


def direct() -> set[str]:
    """Return the names of the packages that the service itself requires, with those of its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    required = [
        *project["dependencies"],
        *(one for extra in project["optional-dependencies"].values() for one in extra),
    ]
    return {canonical(Requirement(one).name) for one in required}


def main() -> int:
    parser = argparse.ArgumentParser(description="Make an SBOM from the locks, and compare it with what is installed.")
    parser.add_argument("--otel", action="store_true", help="add the packages of requirements-otel.lock")
    parser.add_argument("--output", type=Path, help="write the SBOM to this file")
    parser.add_argument("--site-packages", help="compare with the packages of this folder")
    options = parser.parse_args()
    locks = [ROOT / name for name in LOCKS[: 1 + options.otel]]
    wanted = {name: version for lock in locks for name, version in locked(lock).items()}
    there = installed([options.site_packages] if options.site_packages else sys.path)
    found = sorted(problems(wanted, there, alone=bool(options.site_packages)))
    for problem in found:
        sys.stderr.write(f"sbom: {problem}\n")
    if found:
        return 1
    text = JsonV1Dot6(bom(wanted, there, locks)).output_as_string(indent=2)
    if options.output:
        options.output.write_text(f"{text}\n", "utf-8")
    sys.stderr.write(f"sbom: {len(wanted)} packages are installed as locked, with licences that are allowed.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
