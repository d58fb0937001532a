from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from ingest.errors import SettingsError
from ingest.settings import Settings
from ingest.tls import check_tls, tls_options
from tests.certificates import Authority


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """ca, cert and key, and another pair."""
    authority = Authority(tmp_path / "ca")
    authority.sign_for("localhost", tmp_path / "cert", tmp_path / "key")
    authority.sign_for("localhost", tmp_path / "other-cert", tmp_path / "other-key")
    return tmp_path


def settings(folder: Path, cert: str = "cert", key: str = "key", client_ca: str = "ca") -> Settings:
    return Settings(tls_cert=str(folder / cert), tls_key=str(folder / key), tls_client_ca=str(folder / client_ca))


def test_files_that_fit_are_fine(files: Path) -> None:
    assert check_tls(settings(files)).endswith(f"clients need a certificate of {files / 'ca'}")
    assert tls_options(settings(files))["ssl_client_verify"] is True


def test_without_tls_no_file_is_looked_for() -> None:
    assert check_tls(Settings()) == "off"
    assert tls_options(Settings()) == {}


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
