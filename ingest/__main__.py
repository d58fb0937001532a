"""The command line `ingest`."""

import os
import sys

BACKGROUND_COMMANDS = ("replay", "retention")
"""Long or unattended commands on the machine of a running service."""


def main() -> None:
    if sys.argv[1:2] and sys.argv[1] in BACKGROUND_COMMANDS:
        # The lowest priority leaves the CPU to the service. It is set first: the imports alone take more CPU time than
        # dropping a day.
        os.nice(19)
    from ingest.cli.main import main

    main()


if __name__ == "__main__":
    main()
