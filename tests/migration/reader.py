"""Someone who copies the blocks of docs/migrate-from-laravel.md into a shell, with addresses of the tests."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.documents import Block, blocks

DOCUMENT = "docs/migrate-from-laravel.md"
SECONDS = 1200.0
END_SECONDS = 60.0


class Reader:
    """`addresses` replace those of the document. `ingest` is on the path."""

    def __init__(self, folder: Path, addresses: Mapping[str, str], settings: Mapping[str, str]) -> None:
        self.folder = folder
        self.addresses = addresses
        kept = {name: value for name, value in os.environ.items() if not name.startswith("INGEST_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**kept, "PATH": path, **settings}

    def text(self, block: Block) -> str:
        text = block.text
        for documented, own in self.addresses.items():
            text = text.replace(documented, own)
        return text

    def take_settings(self, block: Block) -> None:
        """Keep the exported variables for all later blocks, as a terminal does."""
        for line in self.text(block).splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            self.environment[name] = value

    def run(self, block: Block, *, code: int = 0) -> str:
        """Run the commands to their end, and return what they print."""
        ran = subprocess.run(
            ["sh", "-euc", self.text(block)],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert ran.returncode == code, ran.stdout
        return ran.stdout

    def start(self, block: Block) -> "subprocess.Popen[bytes]":
        """Start commands of which the last one goes on until `end`."""
        with (self.folder / f"{block.line}.log").open("ab") as log:
            return subprocess.Popen(
                ["sh", "-euc", self.text(block)],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def end(process: "subprocess.Popen[bytes]") -> None:
    """Send SIGTERM to the commands."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(END_SECONDS)


def steps() -> list[Block]:
    """The blocks of the document, in order."""
    return [block for block in blocks() if block.document == DOCUMENT]
