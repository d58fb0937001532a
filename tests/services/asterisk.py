"""A real PBX: Asterisk with the configuration of docs/clients."""

import sqlite3
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from tests.services.places import Place
from tests.services.ports import free_udp_port
from tests.services.sandbox import log_tail, wait_until
from tests.services.sip import START_SECONDS, accepting_calls, answers, running

RTP_PORTS = 4000
"""Enough for the calls at the same time, with two ports for each of their two sides."""


WAITING = "SELECT COUNT(*) FROM astdb WHERE key LIKE '/call-events/%'"


class Asterisk(msgspec.Struct, frozen=True):
    """A PBX that runs: its UDP port, its folder, and its process."""

    port: int
    home: Path
    process: "subprocess.Popen[bytes]"

    def waiting(self) -> int:
        """Count the events that its database has on disk."""
        with closing(sqlite3.connect(self.home / "astdb.sqlite3")) as connection:
            return int(connection.execute(WAITING).fetchone()[0])


@contextmanager
def asterisk(configuration: Path, folder: Path, values: Mapping[str, str], place: Place) -> Iterator[Asterisk]:
    """Run the PBX before a server that accepts every call. A second run in the folder has the database of the first.

    `configuration` is the folder of its files. `values` are the values of the files → those for this run.
    """
    port, next_hop = free_udp_port(), free_udp_port()
    home = folder / "asterisk"
    (home / "cel-custom").mkdir(parents=True, exist_ok=True)
    given = {"127.0.0.1:5060": f"127.0.0.1:{port}", "127.0.0.1:5070": f"127.0.0.1:{next_hop}", **values}
    for file in configuration.iterdir():
        (home / file.name).write_text(_replaced(file.read_text(), given))
    main = home / "asterisk.conf"
    main.write_text(_directories(place.inside(home, folder), str(Path(place.find("/usr/lib/*/asterisk/modules")))))
    (home / "logger.conf").write_text("[logfiles]\nconsole = notice,warning,error\n")
    (home / "rtp.conf").write_text(f"[general]\nrtpstart=20000\nrtpend={20000 + RTP_PORTS}\n")
    command = [place.find("/usr/sbin/asterisk"), "-f", "-n", "-C", place.inside(main, folder)]
    log = folder / "asterisk.log"
    with running(place.argv(command, folder), folder, log) as process, accepting_calls(next_hop, folder):
        if not wait_until(lambda: answers(port), START_SECONDS):
            raise AssertionError(f"Asterisk does not answer:\n{log_tail(log)}")
        yield Asterisk(port, home, process)


def _replaced(text: str, values: Mapping[str, str]) -> str:
    for value, own in values.items():
        text = text.replace(value, own)
    return text


def _directories(home: str, modules: str) -> str:
    """Return the main file. All that Asterisk writes is below `home`."""
    own = ("astetcdir", "astcachedir", "astvarlibdir", "astdbdir", "astkeydir", "astspooldir", "astrundir", "astlogdir")
    lines = [*(f"{name} => {home}" for name in own), f"astmoddir => {modules}", "astdatadir => /usr/share/asterisk"]
    return "\n".join(["[directories]", *lines, "[options]", "nofork = yes", ""])
