"""A record's file becomes the request that the server itself would have sent."""

import base64
from urllib.parse import quote

import pytest

from ingest.cli.send.records.record import FORM, is_complete, is_record, request_of
from tests.unit.sources.records import JSON, UUID, XML

ENCODED, BASE64 = quote(JSON).encode(), base64.b64encode(JSON)


@pytest.mark.parametrize(
    ("client", "name", "expected"),
    [
        ("freeswitch", f"{UUID}.cdr.json", True),
        ("freeswitch", f"a_{UUID}.cdr.xml", True),
        ("freeswitch", "settings.json", False),
        ("freeswitch", ".cdr.json", False),
        ("freeswitch", f".{UUID}.cdr.json", False),
        ("freeswitch", f"{UUID}.cdr.json.error", False),
        ("wazo", "7.json", True),
        ("wazo", "7.form", True),
        ("wazo", "7.json.tmp", False),
    ],
)
def test_names_of_records(client: str, name: str, expected: bool) -> None:
    assert is_record(client, name) is expected


@pytest.mark.parametrize(
    ("name", "content", "target", "body", "kind"),
    [
        (f"a_{UUID}.cdr.json", JSON + b"\n", f"/in/freeswitch?uuid=a_{UUID}", JSON, "application/json"),
        (f"{UUID}.cdr.xml", XML, f"/in/freeswitch?uuid={UUID}", XML, "text/xml"),
        (f"{UUID}.cdr.json", ENCODED, f"/in/freeswitch?uuid={UUID}", b"cdr=" + ENCODED, FORM),
        (f"{UUID}.cdr.json", BASE64 + b"\n", f"/in/freeswitch?uuid={UUID}", b"cdr=" + BASE64, FORM),
        ("a&b=c/.cdr.xml", XML, "/in/freeswitch?uuid=a%26b%3Dc%2F", XML, "text/xml"),
    ],
    ids=["JSON", "XML", "percent-encoded", "Base64", "odd name"],
)
def test_record_of_freeswitch(name: str, content: bytes, target: str, body: bytes, kind: str) -> None:
    request = request_of("freeswitch", name, content)

    assert (request.target, request.body, request.headers["Content-Type"]) == (target, body, kind)


def test_record_of_another_source_is_posted_as_it_is() -> None:
    request = request_of("wazo", "7.form", b"a=1&b=2\n")

    assert (request.target, request.body, request.headers["Content-Type"]) == ("/in/wazo", b"a=1&b=2", FORM)


def test_key_depends_on_the_content_and_the_call() -> None:
    def key(client: str = "freeswitch", name: str = "1.cdr.json", content: bytes = JSON) -> str:
        return request_of(client, name, content).headers["Idempotency-Key"]

    assert key() == key(content=JSON + b"\n")
    assert len({key(), key("wazo"), key(name="2.cdr.json"), key(content=XML)}) == 4


@pytest.mark.parametrize("whole", [JSON, XML, ENCODED, BASE64, b"cdr=" + XML, b"[1]"])
def test_record_without_its_end_is_incomplete(whole: bytes) -> None:
    assert is_complete(whole)
    assert is_complete(whole + b"\n")
    assert not is_complete(whole[:-1])


def test_form_has_no_end_and_nothing_is_incomplete() -> None:
    assert is_complete(b"a=1&b=2")
    assert not is_complete(b"\n")
