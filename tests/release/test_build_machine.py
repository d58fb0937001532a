"""The release workflow's commands build the Debian package on a bare Debian 13, where it is then installed."""

import os
import shutil
from collections.abc import Iterator

import pytest
import yaml

from tests.paths import ROOT
from tests.release.chroots import ENVIRONMENT, Chroot, make_minimal
from tests.release.events import post
from tests.release.packages import copy_of_checkout
from tests.release.test_debian_package import install, served

WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text("utf-8"))
CHECKOUT = "/root/service"

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chroot]:
    folder = tmp_path_factory.mktemp("machine")
    chroot = Chroot(make_minimal("trixie"), folder / "debian")
    shutil.move(copy_of_checkout(folder / "clone"), chroot.path(CHECKOUT))
    yield chroot
    chroot.remove()


def test_commands_of_the_workflow_build_a_package_of_debian_13(machine: Chroot) -> None:
    pip = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_CERT_"))}
    environment = {**ENVIRONMENT, **pip, "HOME": "/root", "GITHUB_WORKSPACE": CHECKOUT}
    for step in WORKFLOW["jobs"]["debian"]["steps"]:
        if command := step.get("run"):
            # The index brings authorities of its own, in the folder into which apt installs its.
            index = command.startswith("make ")
            machine.run("sh", "-ec", f"cd {CHECKOUT}; {command}", environment=environment, index=index)

    (package,) = machine.path(f"{CHECKOUT}/dist").glob("*.deb")
    assert "-1~deb13_" in package.name
    install(machine, package)
    with served(machine) as port:
        assert post(port) == 200
