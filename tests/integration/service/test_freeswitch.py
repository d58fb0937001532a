"""FreeSWITCH with the configurations of docs/clients.

Debian has no FreeSWITCH, so it does not run here. The tests read the settings, and post the bytes that a module makes
of a record with them.
"""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests.integration.conftest import Payloads
from tests.paths import DOCS
from tests.running import TOKEN, ServiceProcess

CONFIGURATION = DOCS / "clients" / "freeswitch"
FILES = sorted(CONFIGURATION.iterdir())
UUID = "5c1e7a90-0d0b-4b0e-9a39-7c2f3f0f5e"
HOSTILE_NUMBERS = {
    "plain": b"+15551230001",
    "variable": b"${api_token}",
    "JSON": b'","event_type":"call_started',
    "escape": b"\\u0000\\",
    "separators": b"a&b=c,d;e",
    "line break": b"1\r\nX-API-TOKEN: 2",
    "Latin-1": b"caf\xe9",
    "percent": b"%s%41",
}


def settings_of(file: Path) -> dict[str, str]:
    return {str(one.get("name")): str(one.get("value")) for one in ET.parse(file).iter("param")}


def record(uuid: str, number: bytes) -> bytes:
    """A record as the module writes it with `encode-values`: variables are percent-encoded, the profile is raw JSON."""
    variables = {"uuid": uuid, "caller_id_number": quote(number), "destination_number": "2000", "billsec": "40"}
    profile = {"caller_id_number": number.decode("latin-1"), "destination_number": "2000"}
    written = json.dumps({"variables": variables, "callflow": [{"caller_profile": profile}]}, ensure_ascii=False)
    return written.encode("latin-1")


def post(service: ServiceProcess, file: Path, uuid: str, number: bytes) -> int:
    settings = settings_of(file)
    assert (settings["encode"], settings.get("format", "json"), settings["encode-values"]) == ("false", "json", "true")
    path = urlsplit(settings["url"].replace("super-secret-token", TOKEN)).path
    body = record(uuid, number)
    return service.request("POST", f"{path}?uuid={uuid}", body, {"Content-Type": "application/json"})[0]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
@pytest.mark.parametrize("number", HOSTILE_NUMBERS.values(), ids=HOSTILE_NUMBERS)
def test_record_becomes_an_ended_call(service: ServiceProcess, payloads: Payloads, file: Path, number: bytes) -> None:
    uuid = f"{UUID}{FILES.index(file)}{[*HOSTILE_NUMBERS.values()].index(number)}"

    assert post(service, file, uuid, number) == 200

    (payload,) = payloads(uuid)
    event: dict[str, Any] = json.loads(payload)
    assert (event["event_type"], event["to_number"], event["duration"]) == ("call_ended", "2000", 40)
    assert event["from_number"] == number.decode(errors="replace")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_refused_record_is_kept_on_disk_and_not_posted_again(file: Path) -> None:
    """The modules cannot tell a refusal from an outage, so they post once, and then write the record to disk."""
    settings = settings_of(file)

    assert (settings["retries"], settings["log-http-and-disk"]) == ("0", "false")
    assert settings["err-log-dir"].startswith("/")
