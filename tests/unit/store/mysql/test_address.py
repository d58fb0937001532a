import pytest

from ingest.errors import SettingsError
from ingest.store.mysql.address import Address


def test_url_names_every_part() -> None:
    assert Address.parse("mysql://me:pass@db.example.com:3307/calls?ssl-mode=verify_ca&ssl-ca=/etc/ca.pem") == Address(
        "db.example.com", 3307, "me", "pass", "calls", "VERIFY_CA", "/etc/ca.pem"
    )


def test_port_and_tls_have_defaults() -> None:
    assert Address.parse("mysql://me@db/calls") == Address("db", 3306, "me", "", "calls", "DISABLED", None)


def test_authority_alone_asks_for_its_certificates() -> None:
    assert Address.parse("mysql://me@db/calls?ssl-ca=/ca.pem").ssl_mode == "VERIFY_CA"


def test_user_password_and_database_are_unquoted() -> None:
    address = Address.parse("mysql://m%40e:p%40%3A%2F%3F%23%25%20%D0%B6@db/ca%20lls")

    assert (address.user, address.password, address.database) == ("m@e", "p@:/?#% ж", "ca lls")


def test_at_sign_in_a_password_needs_no_quoting() -> None:
    assert Address.parse("mysql://me:p@ss@db/calls").password == "p@ss"


def test_host_may_be_an_ipv6_address() -> None:
    assert Address.parse("mysql://me@[::1]:3307/calls").host == "::1"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("mysql:///calls", "needs a host and a database"),
        ("mysql://me@db", "needs a host and a database"),
        ("mysql://me@db/", "needs a host and a database"),
        ("mysql://me@db/calls?charset=utf8", "unknown option charset"),
        ("mysql://me@db/calls?ssl-mode=PREFERRED", "ssl-mode is one of"),
        ("mysql://me@db/calls?ssl-mode=", "ssl-mode is one of"),
        ("mysql://me@db:port/calls", "cannot be read"),
        ("mysql://me@db:99999/calls", "cannot be read"),
        ("mysql://me@[::1/calls", "cannot be read"),
    ],
)
def test_url_that_does_not_fit_is_refused(url: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        Address.parse(url)


@pytest.mark.parametrize("url", ["mysql://me:secret/word@db/calls", "mysql://me:[secret@db/calls"])
def test_unquoted_password_is_not_repeated(url: str) -> None:
    with pytest.raises(SettingsError, match="%2F") as refused:
        Address.parse(url)

    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    ("mode", "verifies", "checks_name"),
    [("REQUIRED", False, False), ("VERIFY_CA", True, False), ("VERIFY_IDENTITY", True, True)],
)
def test_tls_mode_says_what_is_verified(mode: str, verifies: bool, checks_name: bool) -> None:
    context = Address.parse(f"mysql://me@db/calls?ssl-mode={mode}").ssl_context()

    assert context is not None
    assert (bool(context.verify_mode), context.check_hostname) == (verifies, checks_name)


def test_without_a_tls_mode_there_is_no_tls() -> None:
    assert Address.parse("mysql://me@db/calls").ssl_context() is None
