"""The command line `ingest`."""

import os
import sys
from collections.abc import Sequence

BACKGROUND_COMMANDS = ("erase", "replay", "retention")
"""Long or unattended commands on the machine of a running service."""
INTERRUPTED = 130
STOPPED = "ingest: stopped by Ctrl-C."
"""As in `ingest.cli.shell.ctrl_c`: `ingest --version` imports no module of the commands."""


def main() -> None:
    try:
        _run(sys.argv[1:])
    except KeyboardInterrupt:
        sys.stderr.write(f"{STOPPED}\n")
        sys.exit(INTERRUPTED)


def _run(words: Sequence[str]) -> None:
    if words == ["--version"]:
        from ingest.version import version_line

        sys.stdout.write(f"{version_line()}\n")  # without the imports of the other commands
        return
    if _command(words) in BACKGROUND_COMMANDS:
        # The lowest priority leaves the CPU to the service. It is set first: the imports alone take more CPU time than
        # dropping a day.
        os.nice(19)
    from ingest.cli.main import main

    main()


def _command(words: Sequence[str]) -> str:
    """Return the name of the command, which follows the options of `ingest` itself."""
    rest = list(words)
    while rest and rest[0].startswith("-"):
        del rest[: 2 if rest[0] == "--env-file" else 1]
    return rest[0] if rest else ""


if __name__ == "__main__":
    main()
