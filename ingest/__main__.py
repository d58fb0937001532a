"""The command line `ingest`."""

import sys

from ingest.priority import let_events_pass

GIVE_WAY = ("replay", "retention")
"""Commands that run beside a service for long, or when nobody looks."""


def main() -> None:
    if sys.argv[1:2] and sys.argv[1] in GIVE_WAY:
        let_events_pass()  # before the imports, which take more CPU time than a dropped day does
    from ingest.cli.main import main

    main()


if __name__ == "__main__":
    main()
