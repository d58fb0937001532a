"""Forms are files: what is wrong in one is said by name, before the service serves."""

import re
from pathlib import Path

import msgspec
import pytest

from ingest.errors import SettingsError
from ingest.settings import Settings
from ingest.sources.form import FILE_BYTES_MAX, all_forms
from ingest.sources.making import keep_forms, kept_forms, make_sources
from tests.paths import DOCS

GOOD = """
description = "d"
documentation = "d"
[fields]
call_id = "id"
from_number = "a"
to_number = "b"
event_type = "=x"
"""


def test_each_built_in_form_names_its_documentation() -> None:
    forms = all_forms("")

    assert {"jambonz", "twilio", "telnyx", "vonage", "plivo", "3cx", "fusionpbx", "wazo", "sipgate"} <= set(forms)
    assert all(form.documentation and form.description for form in forms.values())


def test_form_of_a_folder_is_added_or_replaces_a_built_in_one(tmp_path: Path) -> None:
    (tmp_path / "newpbx.toml").write_text(GOOD)
    (tmp_path / "asterisk.toml").write_text(GOOD)
    (tmp_path / "notes.txt").write_text("no form")

    sources = make_sources(Settings(), str(tmp_path))

    assert sources["newpbx"].form.description == sources["asterisk"].form.description == "d"
    assert "notes" not in sources


def test_form_that_extends_another_has_only_the_keys_that_differ(tmp_path: Path) -> None:
    (tmp_path / "freeswitch.toml").write_text('extends = "freeswitch"\n[fields]\nduration = "variables.billmsec"\n')

    form, base = all_forms(str(tmp_path))["freeswitch"], all_forms("")["freeswitch"]

    assert form.fields.duration == "variables.billmsec"
    assert msgspec.structs.replace(form, fields=base.fields) == base
    assert msgspec.structs.replace(form.fields, duration=base.fields.duration) == base.fields


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("description = ", "Invalid value"),
        ("description = 1", "Expected `str`"),
        (GOOD.replace("call_id", "callid"), "callid"),
        (GOOD + "[surprise]", "surprise"),
        (GOOD + "[answer]\nstatus = 500", "299"),
        (GOOD + "[event_types]\na = ''", "1 to 64 characters"),
        (GOOD + "[time]\nzone = 'Nowhere'", "no time zone"),
        (GOOD + "[signature]\nkind = 'hmac'\npattern = '('", "pattern of the signature is invalid"),
        (GOOD + "[signature]\nkind = 'hmac'\npattern = 'x'", "needs a group"),
        ("extends = 'nobody'" + GOOD, "no built-in form: 'nobody'"),
        ("extends = '../forms/twilio'" + GOOD, "no built-in form"),
        ("extends = ['twilio']" + GOOD, "no built-in form"),
        ("extends = 'fusionpbx'" + GOOD, "fusionpbx, which extends another form"),
        (GOOD + "#" * FILE_BYTES_MAX, "more than 65536 bytes"),
    ],
)
def test_wrong_form_is_named(tmp_path: Path, content: str, error: str) -> None:
    (tmp_path / "newpbx.toml").write_text(content)

    with pytest.raises(SettingsError, match="newpbx") as caught:
        make_sources(Settings(), str(tmp_path))

    assert error in str(caught.value)


def test_form_in_bytes_that_are_no_utf8(tmp_path: Path) -> None:
    (tmp_path / "newpbx.toml").write_bytes(b"\xff")

    with pytest.raises(SettingsError, match="newpbx"):
        make_sources(Settings(), str(tmp_path))


@pytest.mark.parametrize("name", ["New", "a b", "a.b", "x" * 33, "-a"])
def test_name_is_part_of_a_url(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.toml").write_text(GOOD)

    with pytest.raises(SettingsError, match="part of a URL"):
        make_sources(Settings(), str(tmp_path))


def test_folder_must_exist(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="INGEST_CLIENT_FORMS"):
        make_sources(Settings(), str(tmp_path / "none"))


def test_secret_of_a_source_that_does_not_sign() -> None:
    with pytest.raises(SettingsError, match="'asterisk' does not sign"):
        make_sources(Settings(client_secrets=("asterisk=x",)), "")


def test_workers_read_the_forms_of_the_services_start(tmp_path: Path) -> None:
    folder = tmp_path / "forms"
    folder.mkdir()
    (folder / "newpbx.toml").write_text(GOOD)
    settings = Settings(client_forms=str(folder), data_dir=tmp_path / "var")
    keep_forms(settings)

    (folder / "newpbx.toml").write_text("broken")

    assert "newpbx" in make_sources(settings, str(kept_forms(settings)))
    with pytest.raises(SettingsError, match="newpbx"):
        keep_forms(settings)
    assert "newpbx" in make_sources(settings, str(kept_forms(settings)))

    (folder / "newpbx.toml").unlink()
    keep_forms(settings)
    assert "newpbx" not in make_sources(settings, str(kept_forms(settings)))


def test_two_fields_may_have_the_same_place(tmp_path: Path) -> None:
    (tmp_path / "newpbx.toml").write_text(GOOD.replace('"=x"', '"id"'))

    source = make_sources(Settings(), str(tmp_path))["newpbx"]

    assert source.flat is None


def test_example_of_the_documentation_is_a_form(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", (DOCS / "clients" / "forms.md").read_text(), re.DOTALL)
    (tmp_path / "newpbx.toml").write_text(example)

    source = make_sources(Settings(client_secrets=("newpbx=secret",)), str(tmp_path))["newpbx"]

    assert source.verifier is not None
