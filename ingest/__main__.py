"""The command line `ingest`."""

import os
import sys
from collections.abc import Sequence

BACKGROUND_COMMANDS = ("erase", "replay", "retention")
"""Long or unattended commands on the machine of a running service."""
INTERRUPTED = 130


def main() -> None:
    if sys.argv[1:] == ["--version"]:
        from ingest.version import version_line

        sys.stdout.write(f"{version_line()}\n")  # without the imports of the other commands
        return
    if _command(sys.argv[1:]) in BACKGROUND_COMMANDS:
        # The lowest priority leaves the CPU to the service. It is set first: the imports alone take more CPU time than
        # dropping a day.
        os.nice(19)
    try:
        from ingest.cli.main import main
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)

    main()


def _command(words: Sequence[str]) -> str:
    """Return the name of the command, which follows the options of `ingest` itself."""
    rest = list(words)
    while rest and rest[0].startswith("-"):
        del rest[: 2 if rest[0] == "--env-file" else 1]
    return rest[0] if rest else ""


if __name__ == "__main__":
    main()
