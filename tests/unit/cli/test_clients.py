"""`ingest clients`: what a captured request becomes, and why not."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ingest.cli.clients import clients
from tests.unit.sources.records import JSON, UUID

FORM = """
description = "A client of this test"
documentation = "this file"

[fields]
call_id = "id"
from_number = "a.0.number"
to_number = "b"
event_type = "what"
duration = "ms"

[event_types]
bye = "call_ended"

[body]
duration_unit = "ms"
"""


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str, body: bytes = b"", **settings: str) -> Result:
    return CliRunner().invoke(clients, arguments, input=body, env=settings)


def test_list_names_path_and_description() -> None:
    lines = run("list").output.splitlines()

    assert any(line.startswith("/in/jambonz ") and "jambonz" in line[12:] for line in lines)
    assert len(lines) >= 13


def test_captured_request_becomes_an_event() -> None:
    result = run("try", "freeswitch", "-", body=JSON)

    assert result.exit_code == 0
    assert f'"call_id": "{UUID}"' in result.stdout
    assert result.stderr == ""


def test_changes_are_named() -> None:
    result = run("try", "asterisk", "-", body=b"call_id=1&event_type=x")

    assert result.exit_code == 0
    assert "changed: from_number: the request had none" in result.stderr


def test_request_that_is_refused_says_why() -> None:
    result = run("try", "asterisk", "-", body=b"from_number=1")

    assert (result.exit_code, result.stdout) == (1, "")
    assert "call_id: The call id field is required." in result.stderr


def test_body_that_cannot_be_read_says_why() -> None:
    result = run("try", "jambonz", "-", body=b"{")

    assert result.exit_code == 1
    assert "The body is not valid JSON" in result.stderr


def test_new_client_needs_only_a_file(tmp_path: Path) -> None:
    (tmp_path / "newpbx.toml").write_text(FORM)
    body = b'{"id":7,"a":[{"number":"+1"}],"b":"+2","what":"bye","ms":61999}'

    by_file = run("try", str(tmp_path / "newpbx.toml"), "-", body=body)
    by_name = run("try", "newpbx", "-", body=body, INGEST_CLIENT_FORMS=str(tmp_path))

    for result in (by_file, by_name):
        assert result.exit_code == 0, result.output
        assert '"from_number": "+1"' in result.stdout
        assert '"event_type": "call_ended"' in result.stdout
        assert '"duration": 61' in result.stdout
