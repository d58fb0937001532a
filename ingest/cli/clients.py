"""The command `ingest clients`: the forms of telephony servers, and what a captured request becomes."""

import json
import sys
from pathlib import Path
from typing import BinaryIO

import click

from ingest.cli.options import with_settings
from ingest.cli.shell.output import say, warn
from ingest.errors import Invalid, Rejected, SettingsError
from ingest.settings import Settings
from ingest.sources.base import Posted
from ingest.sources.form import SUFFIX, Form, all_forms, read_form
from ingest.sources.handler import event_of
from ingest.sources.making import make_source


@click.group()
def clients() -> None:
    """Show the forms of telephony servers, or try one with a captured request."""


@clients.command("list")
@with_settings
def list_forms(settings: Settings) -> None:
    """Print each form with its path and its description."""
    for name, form in all_forms(settings.client_forms).items():
        say(f"/in/{name:<12} {form.description}")


@clients.command("try")
@click.argument("form")
@click.argument("file", type=click.File("rb"))
@click.option("--query", default="", help="The query of the URL, such as uuid=1.")
@with_settings
def try_form(settings: Settings, form: str, file: BinaryIO, query: str) -> None:
    """Print the event that FORM makes of the body in FILE, or why it makes none. Nothing is stored.

    FORM is the name of a form, or a TOML file. FILE may be - for standard input.
    """
    name, found = _form(settings, form)
    source = make_source(name, found, settings)
    try:
        translated = source.mapper.translate(Posted("http://localhost/", query, {}, file.read()))
        event = event_of(translated)
    except Invalid as exc:
        for field, rules in exc.errors.items():
            warn(f"{field}: {' '.join(rules)}")
        sys.exit(1)
    except Rejected as exc:
        warn(f"ingest: {exc}")
        sys.exit(1)
    for line in json.dumps(json.loads(event.payload), indent=2, ensure_ascii=False).split("\n"):
        say(line)
    for field, change in translated.call.adapted.items():
        warn(f"changed: {field}: {change}")


def _form(settings: Settings, text: str) -> tuple[str, Form]:
    if text.endswith(SUFFIX):
        path = Path(text)
        return path.stem, read_form(path)
    forms = all_forms(settings.client_forms)
    if text not in forms:
        raise SettingsError(f"There is no form {text!r}. Forms: {', '.join(forms)}.")
    return text, forms[text]
