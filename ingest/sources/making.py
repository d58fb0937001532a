"""Makes the sources from the settings: the built-in forms and those of `INGEST_CLIENT_FORMS`."""

import shutil
from pathlib import Path

from ingest.errors import SettingsError
from ingest.settings import Settings
from ingest.sources.flat import flat_mapper
from ingest.sources.form import SUFFIX, Form, all_forms
from ingest.sources.handler import Source
from ingest.sources.mapping import Mapper
from ingest.sources.signatures import Verifier


def keep_forms(settings: Settings) -> None:
    """Check the forms, and copy them for the workers: one that starts later must read the same forms.

    Raises `SettingsError`.
    """
    make_sources(settings, settings.client_forms)
    kept = kept_forms(settings)
    kept.mkdir(parents=True, exist_ok=True)
    for old in kept.glob(f"*{SUFFIX}"):
        old.unlink()
    if settings.client_forms:
        for path in Path(settings.client_forms).glob(f"*{SUFFIX}"):
            shutil.copyfile(path, kept / path.name)


def kept_forms(settings: Settings) -> Path:
    return settings.run_dir / "forms"


def make_sources(settings: Settings, folder: str) -> dict[str, Source]:
    """Return the sources by name: those of the built-in forms, and of the forms in a folder. Raises `SettingsError`."""
    forms = all_forms(folder)
    secrets = dict(secret.split("=", 1) for secret in settings.client_secrets)
    signing = [name for name, form in forms.items() if form.signature]
    if unknown := next((name for name in secrets if name not in signing), None):
        raise SettingsError(
            f"INGEST_CLIENT_SECRETS: the source {unknown!r} does not sign. Sources that do: {', '.join(signing)}."
        )
    return {name: make_source(name, form, settings, secrets.get(name)) for name, form in forms.items()}


def make_source(name: str, form: Form, settings: Settings, secret: str | None = None) -> Source:
    """With a secret, each request needs a signature. Raises `SettingsError`."""
    try:
        mapper = Mapper(name, form, settings.zone)
    except ValueError as exc:
        raise SettingsError(f"The form {name}: {exc}.") from exc
    verifier = Verifier(form.signature, secret) if form.signature and secret else None
    return Source(name, form, mapper, flat_mapper(name, form), verifier)
