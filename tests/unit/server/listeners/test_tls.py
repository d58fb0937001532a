from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from ingest.errors import SettingsError
from ingest.server.listeners.tls import COPIES_MAX, Certificates, Renewals, check_tls
from ingest.settings import Settings
from tests.certificates import Authority


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The files ca, cert and key, and another pair."""
    authority = Authority(tmp_path / "ca")
    authority.sign_for("localhost", tmp_path / "cert", tmp_path / "key")
    authority.sign_for("localhost", tmp_path / "other-cert", tmp_path / "other-key")
    return tmp_path


def settings(folder: Path, cert: str = "cert", key: str = "key", client_ca: str = "ca") -> Settings:
    return Settings(tls_cert=str(folder / cert), tls_key=str(folder / key), tls_client_ca=str(folder / client_ca))


def test_matching_files_are_accepted(files: Path) -> None:
    assert check_tls(settings(files)).endswith(f"clients need a certificate of {files / 'ca'}")
    assert Certificates(settings(files)).context()[-1] is True


def test_without_tls_no_file_is_read() -> None:
    assert check_tls(Settings()) == "off"


@pytest.mark.parametrize(
    ("changed", "variable"),
    [
        ({"cert": "none"}, "INGEST_TLS_CERT"),
        ({"key": "none"}, "INGEST_TLS_KEY"),
        ({"client_ca": "none"}, "INGEST_TLS_CLIENT_CA"),
        ({"client_ca": ""}, "INGEST_TLS_CLIENT_CA"),
    ],
    ids=["certificate", "key", "authority", "folder"],
)
def test_file_that_cannot_be_read_is_named_with_its_variable(
    files: Path, changed: dict[str, str], variable: str
) -> None:
    with pytest.raises(SettingsError, match=f"{variable}=.* cannot be read"):
        check_tls(settings(files, **changed))


@pytest.mark.parametrize("changed", [{"key": "other-key"}, {"cert": "key"}, {"key": "cert"}], ids=str)
def test_certificate_and_key_must_belong_together(files: Path, changed: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="are not a certificate and its own key"):
        check_tls(settings(files, **changed))


def test_encrypted_key_is_refused_without_asking_for_its_password(files: Path) -> None:
    key = load_pem_private_key((files / "key").read_bytes(), None)
    (files / "key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password"))
    )

    with pytest.raises(SettingsError, match="INGEST_TLS_KEY is encrypted"):
        check_tls(settings(files))


def test_authority_must_be_a_certificate(files: Path) -> None:
    with pytest.raises(SettingsError, match=r"INGEST_TLS_CLIENT_CA=.* holds no certificate"):
        check_tls(settings(files, client_ca="key"))


def served(certificates: Certificates) -> tuple[bytes, bytes]:
    """Return certificate and key of a worker that starts now."""
    _, certificate, key, *_ = certificates.context()
    return Path(certificate).read_bytes(), Path(key).read_bytes()


def content(folder: Path, *names: str) -> tuple[bytes, ...]:
    return tuple((folder / name).read_bytes() for name in names)


def link(folder: Path, version: str) -> None:
    """Replace the folder of the secret in one step, as Kubernetes does. The folder is a link, and so are the files."""
    (folder / "..new").symlink_to(version)
    (folder / "..new").replace(folder / "..data")


@pytest.fixture
def secret(files: Path) -> Path:
    """A folder like a secret of Kubernetes. It has the first pair; the second pair is in `v2`."""
    for version, names in (("v1", ("cert", "key")), ("v2", ("other-cert", "other-key"))):
        (files / version).mkdir()
        for name, source in zip(("tls.crt", "tls.key"), names, strict=True):
            (files / version / name).write_bytes((files / source).read_bytes())
    link(files, "v1")
    for name in ("tls.crt", "tls.key"):
        (files / name).symlink_to(f"..data/{name}")
    return files


class Replacing:
    """Counts how often the workers are replaced. The first `failing` times fail."""

    def __init__(self, certificates: Certificates, failing: int = 0) -> None:
        self._renewals = Renewals(certificates, self._replace)
        self._failing = failing
        self._times = 0

    def times_after_checks(self, number: int) -> int:
        for _ in range(number):
            self._renewals.check()
        return self._times

    def _replace(self) -> None:
        if self._failing:
            self._failing -= 1
            raise OSError("no process")
        self._times += 1


def test_renewed_files_behind_links_are_reported_once(secret: Path) -> None:
    certificates = Certificates(settings(secret, "tls.crt", "tls.key", "ca"))
    replacing = Replacing(certificates)
    assert served(certificates) == content(secret, "cert", "key")
    assert replacing.times_after_checks(1) == 0

    link(secret, "v2")

    assert replacing.times_after_checks(2) == 1
    assert served(certificates) == content(secret, "other-cert", "other-key")


def test_renewal_is_reported_even_if_a_worker_started_after_it(secret: Path) -> None:
    certificates = Certificates(settings(secret, "tls.crt", "tls.key", "ca"))
    replacing = Replacing(certificates)
    link(secret, "v2")

    assert served(certificates) == content(secret, "other-cert", "other-key")

    assert replacing.times_after_checks(1) == 1


def test_workers_that_could_not_be_replaced_are_replaced_at_the_next_check(secret: Path) -> None:
    replacing = Replacing(Certificates(settings(secret, "tls.crt", "tls.key", "ca")), failing=1)
    link(secret, "v2")

    with pytest.raises(OSError, match="no process"):
        replacing.times_after_checks(1)

    assert replacing.times_after_checks(2) == 1


def test_files_that_do_not_match_are_not_served_and_logged_once(files: Path, caplog: pytest.LogCaptureFixture) -> None:
    certificates = Certificates(settings(files))
    replacing = Replacing(certificates)
    before = content(files, "cert", "key")

    (files / "cert").write_bytes((files / "other-cert").read_bytes())

    assert replacing.times_after_checks(2) == 0
    assert served(certificates) == before
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        "the changed TLS files are not used"
    ]

    (files / "key").write_bytes((files / "other-key").read_bytes())

    assert replacing.times_after_checks(1) == 1
    assert served(certificates) == content(files, "cert", "key")


def test_last_certificate_is_kept_if_a_file_is_missing(files: Path) -> None:
    certificates = Certificates(settings(files))
    before = content(files, "cert", "key")

    (files / "key").unlink()

    assert Replacing(certificates).times_after_checks(1) == 0
    assert served(certificates) == before


def test_number_of_copies_is_limited_and_the_last_ones_stay_readable(files: Path) -> None:
    certificates = Certificates(settings(files))
    opened = len(list(Path("/proc/self/fd").iterdir()))
    contexts = []
    for number in range(2 * COPIES_MAX):
        (files / "ca").write_bytes((files / "ca").read_bytes() + b"\n" * number)
        contexts.append(certificates.context())

    assert len(list(Path("/proc/self/fd").iterdir())) <= opened + 3 * COPIES_MAX
    assert all(Path(context[1]).exists() for context in contexts[-COPIES_MAX + 1 :])
