"""How sources sign their requests: Twilio's ways to write a URL, keys of Telnyx, tokens of Vonage, and Plivo."""

import base64
import hashlib
import hmac
import json
import time
from urllib.parse import urlencode

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ingest.errors import SettingsError
from ingest.sources.base import Posted
from ingest.sources.form import Signature
from ingest.sources.signatures import Verifier
from tests.unit.sources.calls import FORMS, posted

SECRET = "12345"
NOW = 1_738_331_100
FIELDS = [("CallSid", "CA1"), ("From", "+1415"), ("CallStatus", "ringing")]


def verifier(source: str, secret: str = SECRET, now: float = NOW) -> Verifier:
    rule = FORMS[source].signature
    assert rule
    return Verifier(rule, secret, lambda: now)


def twilio(url: str, fields: list[tuple[str, str]], secret: str = SECRET) -> str:
    text = url + "".join(name + value for name, value in sorted(fields))
    return base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha1).digest()).decode()


def from_twilio(called: str, signed: str, fields: list[tuple[str, str]] = FIELDS) -> bool:
    """Return True if a request to `called` is taken, whose signature is of `signed`."""
    body = urlencode(fields).encode()
    query = called.partition("?")[2]
    return verifier("twilio").is_signed(posted(body, query, called, x_twilio_signature=twilio(signed, fields)))


@pytest.mark.parametrize(
    ("called", "signed"),
    [
        ("https://a.example/in/twilio/t", "https://a.example/in/twilio/t"),
        ("https://a.example/in/twilio/t", "https://a.example:443/in/twilio/t"),
        ("https://a.example:8443/in/twilio/t", "https://a.example/in/twilio/t"),
        ("https://a.example:8443/in/twilio/t", "https://a.example:8443/in/twilio/t"),
        ("http://a.example/in/twilio/t?x=1", "http://a.example:80/in/twilio/t?x=1"),
        ("https://[::1]:8443/in/twilio/t", "https://[::1]/in/twilio/t"),
        ("https://a.example/in/twilio/a b", "https://a.example/in/twilio/a%20b"),
        ("https://a.example/in/twilio/a%2Bb", "https://a.example/in/twilio/a+b"),
    ],
)
def test_url_may_be_signed_in_several_ways(called: str, signed: str) -> None:
    assert from_twilio(called, signed)


@pytest.mark.parametrize(
    "signed",
    [
        "https://b.example/in/twilio/t",
        "http://a.example/in/twilio/t",
        "https://a.example:444/in/twilio/t",
        "https://a.example/in/twilio/u",
        "https://a.example/in/twilio/t?x=1",
    ],
)
def test_signature_of_another_resource_is_refused(signed: str) -> None:
    assert not from_twilio("https://a.example/in/twilio/t", signed)


def test_field_that_is_repeated() -> None:
    assert from_twilio("http://a/", "http://a/", [*FIELDS, ("Digits", "2"), ("Digits", "1")])


def test_json_needs_its_hash_in_the_signed_query() -> None:
    body = b'{"CallSid":"1"}'
    url = f"https://a.example/in/twilio/t?bodySHA256={hashlib.sha256(body).hexdigest()}"
    signature = twilio(url, [])

    def is_signed(content: bytes, at: str, given: str) -> bool:
        return verifier("twilio").is_signed(posted(content, at.partition("?")[2], at, x_twilio_signature=given))

    assert is_signed(body, url, signature)
    assert not is_signed(b'{"CallSid":"2"}', url, signature)
    plain = "https://a.example/in/twilio/t"
    assert not is_signed(body, plain, twilio(plain, []))


def test_telnyx_signs_with_its_private_key() -> None:
    key = Ed25519PrivateKey.generate()
    public = base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
    body = b'{"data":{}}'
    signature = base64.b64encode(key.sign(b"%d|%b" % (NOW, body))).decode()

    def is_signed(content: bytes, moment: str, given: str = signature) -> bool:
        headers = {"telnyx_signature_ed25519": given, "telnyx_timestamp": moment}
        return verifier("telnyx", public).is_signed(posted(content, **headers))

    assert is_signed(body, str(NOW))
    assert not is_signed(body + b" ", str(NOW))
    assert not is_signed(body, str(NOW + 1))
    assert not is_signed(body, "")
    assert not is_signed(body, "nan")
    assert not is_signed(body, str(NOW), "AAAA")
    assert not verifier("telnyx", public, NOW + 301).is_signed(
        posted(body, telnyx_signature_ed25519=signature, telnyx_timestamp=str(NOW))
    )


@pytest.mark.parametrize("secret", ["", "text", "AAAA"])
def test_public_key_is_checked_at_the_start(secret: str) -> None:
    with pytest.raises(SettingsError, match="public key"):
        verifier("telnyx", secret)


def token(claims: dict[str, object], alg: str = "HS256", secret: str = SECRET) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in ({"alg": alg}, claims)]
    signature = hmac.new(secret.encode(), b".".join(parts), hashlib.sha256).digest()
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


def test_vonage_sends_a_token_with_the_hash_of_the_body() -> None:
    body = b'{"uuid":"1"}'
    claims: dict[str, object] = {"iat": NOW, "payload_hash": hashlib.sha256(body).hexdigest()}

    def is_signed(content: bytes, given: str) -> bool:
        return verifier("vonage").is_signed(posted(content, authorization=f"Bearer {given}"))

    assert is_signed(body, token(claims))
    assert not is_signed(b'{"uuid":"2"}', token(claims))
    assert not is_signed(body, token(claims, secret="another"))
    assert not is_signed(body, token(claims, alg="none"))
    assert not is_signed(body, token({**claims, "iat": NOW - 301}))
    assert not is_signed(body, token({"iat": NOW}))
    assert not is_signed(body, token({**claims, "iat": "soon"}))


@pytest.mark.parametrize("query", ["", "x=1"])
def test_plivo_signs_url_fields_and_nonce(query: str) -> None:
    fields = [("CallUUID", "1"), ("From", "2")]
    url = "https://a.example/in/plivo/t" + (f"?{query}" if query else "")
    text = f"{url}{'.' if query else '?'}CallUUID1From2.n0nce"
    signature = base64.b64encode(hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).digest()).decode()

    def is_signed(given: str, nonce: str = "n0nce") -> bool:
        headers = {"x_plivo_signature_v3": given, "x_plivo_signature_v3_nonce": nonce}
        return verifier("plivo").is_signed(posted(urlencode(fields).encode(), query, url, **headers))

    assert is_signed(signature)
    assert is_signed(f"{'A' * 43}=,{signature}")
    assert not is_signed(signature, "another")


@pytest.mark.parametrize(
    ("kind", "header", "good"),
    [
        ("header", SECRET, True),
        ("header", "another", False),
        ("basic", "Basic " + base64.b64encode(f"pbx:{SECRET}".encode()).decode(), True),
        ("basic", "Basic " + base64.b64encode(b"pbx:another").decode(), False),
        ("basic", f"Bearer {SECRET}", False),
    ],
)
def test_secret_in_a_header(kind: str, header: str, good: bool) -> None:
    rule = msgspec.convert({"kind": kind}, Signature)

    assert Verifier(rule, SECRET).is_signed(posted(b"{}", authorization=header)) is good


@pytest.mark.parametrize("source", sorted(name for name, form in FORMS.items() if form.signature))
@pytest.mark.parametrize("text", ["", "=", "a.b.c", "Bearer a.b.c", "é", "t=1,v1=00", "AAAA", "\x00", "x" * 5000])
def test_odd_signature_is_refused_and_never_fails(source: str, text: str) -> None:
    rule = FORMS[source].signature
    assert rule
    public = base64.b64encode(Ed25519PrivateKey.generate().public_key().public_bytes_raw()).decode()
    checked = Verifier(rule, public if rule.kind == "ed25519" else SECRET, time.time)

    assert not checked.is_signed(Posted("http://[", "", {rule.header: text}, b"a=1"))
    assert not checked.is_signed(Posted("http://a/", "", {rule.header: text}, b"\xff"))
