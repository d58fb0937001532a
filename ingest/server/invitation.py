"""The first lines of `ingest serve` for a person: the URLs to open, and commands to try."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import TextIO

from ingest.http.openapi_schemas import EXAMPLE
from ingest.server.listeners.urls import urls_of
from ingest.settings import WELL_KNOWN_TOKEN, Settings


def invite(settings: Settings, port: int, output: TextIO) -> None:
    """Print the lines in embedded mode, or to a terminal. In production the output has only the log's JSON lines.

    The log goes to standard error, and these lines go to standard output: either can be read alone.
    """
    if settings.embedded or output.isatty():
        command = own_command(Path(sys.argv[0]), os.environ.get("PATH", ""), Path.cwd())
        print(invitation(settings, port, command), file=output, flush=True)


def invitation(settings: Settings, port: int, command: str) -> str:
    urls = urls_of(settings, port)
    token = "YOUR-TOKEN" if settings.api_tokens else WELL_KNOWN_TOKEN
    lines = [
        f"Status page:   {urls.pages}/",
        f"API reference: {urls.pages}/docs",
        f"Events:        {urls.events}/api/call-events",
        "",
        f"Try: curl -H 'X-API-TOKEN: {token}' {urls.events}/api/call-events -d '{json.dumps(EXAMPLE)}'",
        f"Play the calls of a small PBX, in another terminal: {command} demo",
        f"Read the messages, in another terminal: {command} tail",
    ]
    if settings.embedded and not settings.api_tokens:
        lines.append("Everybody knows this token. Set INGEST_API_TOKENS before others can reach this service.")
    return "\n".join([*lines, ""])


def own_command(program: Path, search: str, folder: Path) -> str:
    """Return what a user in `folder` types to run `program`. `search` is the user's PATH."""
    if program.name != "ingest":
        return "python -m ingest"
    found = shutil.which("ingest", path=search)
    if found and Path(found).samefile(program):
        return "ingest"
    near = os.path.relpath(program, folder)
    return str(program) if near.startswith("..") else near
