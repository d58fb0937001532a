"""One hint for each cause of a failed connection, found by the words of the server, the driver or the system. Pure."""

import re
from collections.abc import Callable, Mapping
from urllib.parse import unquote, urlsplit

from ingest.cli.doctor.finding import SILENT
from ingest.failover import each_host

Url = str
Hint = str | Callable[[Url], str]

_LOGIN = "Check user and password in the URL; write / ? # @ : % [ ] in them as %2F and so on."


def _first(url: Url) -> Url:
    """Return the URL of the first host. The others have the same user and name."""
    return next(iter(each_host(url)))


def _database(url: Url) -> str:
    return unquote(urlsplit(_first(url)).path.strip("/"))


def _user(url: Url) -> str:
    return unquote(urlsplit(_first(url)).username or "")


def _vhost(url: Url) -> str:
    return unquote(urlsplit(_first(url)).path[1:]) or "/"


def _create(url: Url) -> str:
    return f"Create the database: CREATE DATABASE `{_database(url)}` CHARACTER SET utf8mb4; then run `ingest migrate`."


def _grant(url: Url) -> str:
    return (
        f"The database is missing, or the user has no rights there: CREATE DATABASE IF NOT EXISTS `{_database(url)}`; "
        f"GRANT ALL ON `{_database(url)}`.* TO '{_user(url)}'@'%';"
    )


def _vhost_missing(url: Url) -> str:
    return (
        f"Create the virtual host: rabbitmqctl add_vhost '{_vhost(url)}'; or correct the URL's path: /%2F is the "
        "default one."
    )


def _vhost_refused(url: Url) -> str:
    return f"Allow it: rabbitmqctl set_permissions -p '{_vhost(url)}' '{_user(url)}' '.*' '.*' '.*'."


_HOST = "The name of the host is unknown here: check its spelling in the URL, and the name server."
_PORT = "Nothing listens there: check host and port in the URL, and that the server runs."
_PLAIN = "The port does not speak TLS: leave TLS out of the URL, or use the server's port for TLS."
_AUTHORITY = "Nobody known here signed the server's certificate: name the authority's file in the URL with "
_UNTRUSTED = r"CERTIFICATE_VERIFY_FAILED.*(authority|issuer|self.signed)|certificate verify failed$"
_NAME = "The server's certificate is for another name: use that name as the host in the URL."

DATABASE: Mapping[str, Hint] = {
    r"error 1049\b": _create,
    r"error (1044|1142|1143|1227|1370)\b": _grant,
    r"error (1045|1698|3118)\b": _LOGIN,
    r"error 1251\b|caching_sha2|authentication plugin": "Set an authentication plugin that the driver knows.",
    r"error 3159\b|insecure transport": "Add ?ssl-mode=REQUIRED to INGEST_DATABASE_URL.",
    r"error (1040|1203)\b": "Raise max_connections on the server, or lower INGEST_WORKERS.",
    _UNTRUSTED: f"{_AUTHORITY}?ssl-mode=VERIFY_CA&ssl-ca=FILE.",
    r"error 1129\b": "The server blocks this host after failed connections: run FLUSH HOSTS there.",
}
BROKER: Mapping[str, Hint] = {
    r"vhost .*not found|VirtualHostAccessFailure": _vhost_missing,
    r"access to vhost .*refused|access to vhost": _vhost_refused,
    r"user can only log in via localhost|loopback": "The user guest may connect from the broker's host only: add one.",
    r"ACCESS_REFUSED - Login|AuthenticationFailure|SASLAuthenticationFailure|Login was refused": _LOGIN,
    r"ACCESS_REFUSED|AccessRefused": _vhost_refused,
    _UNTRUSTED: f"{_AUTHORITY}?cafile=FILE.",
    r"connection limit": "Raise the limit of connections of the virtual host or user, or close others.",
}
NETWORK: Mapping[str, Hint] = {
    r"Name or service not known|nodename nor|failure in name resolution|No address assoc|getaddrinfo": _HOST,
    r"refused|Errno 111|Connect call failed": _PORT,
    r"[Hh]ostname mismatch|IP address mismatch|not valid for": _NAME,
    r"CERTIFICATE_VERIFY_FAILED": "The server's certificate is not valid: check its dates and names.",
    r"WRONG_VERSION_NUMBER|wrong version number|record layer|not support SSL|n't support SSL|no TLS": _PLAIN,
    r"did not answer|[Tt]imed? ?out|TimeoutError|no answer": SILENT,
    r"reset by peer|ConnectionReset|EOF|closed|Lost connection|lost": (
        "The server ended the connection at once: does the port expect TLS, no TLS, or another protocol?"
    ),
    r"unreachable|No route": "There is no route to that host: check the address and the network.",
}


def database_hint(reason: str, url: Url) -> str:
    """Return the hint for the first cause whose words are in the reason; empty if there is none."""
    return _hint({**DATABASE, **NETWORK}, reason, url)


def broker_hint(reason: str, url: Url) -> str:
    return _hint({**BROKER, **NETWORK}, reason, url)


def _hint(hints: Mapping[str, Hint], reason: str, url: Url) -> str:
    for words, hint in hints.items():
        if re.search(words, reason):
            return hint if isinstance(hint, str) else hint(url)
    return ""
