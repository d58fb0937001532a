"""The programs of Debian's unstable suite."""

import pytest

from tests.services.places import Place, SidChroot, sid_root


@pytest.fixture(scope="session")
def sid() -> Place:
    """The chroot that `make sid-telephony` makes. Needs root."""
    return SidChroot(sid_root())
