"""A real SIP proxy: Kamailio with a configuration of docs/clients, and calls through it by sipp."""

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from tests.services.places import Host, Place
from tests.services.ports import free_udp_port
from tests.services.sandbox import log_tail, wait_until

START_SECONDS = 60.0
CALLS_SECONDS = 120.0
STOP_SECONDS = 30.0
CALL_MS = "100"
"""Length of a call."""
DIALED = "service"
RETRANSMITTED_MAX = "4"
"""A server that cannot read a request drops it. The caller gives up after 7.5 s."""


@contextmanager
def kamailio(
    configuration: Path, folder: Path, defines: Mapping[str, str], place: Place | None = None
) -> Iterator[int]:
    """Run the proxy before a server that accepts every call, and yield its port. `defines` are values of its file."""
    place = place or Host()
    port, next_hop = free_udp_port(), free_udp_port()
    # Several workers may reorder answers. Real phones accept that, but sipp does not.
    given = {"CHILDREN": "1", "LISTEN": f"udp:127.0.0.1:{port}", "NEXT_HOP": f'"sip:127.0.0.1:{next_hop}"', **defines}
    options = [word for name, value in given.items() for word in ("-A", f"{name}={value}" if value else name)]
    own = Path(shutil.copy(configuration, folder))
    paths = ["-Y", place.inside(folder, folder), "-f", place.inside(own, folder)]
    command = [place.find("/usr/sbin/kamailio"), "-DD", "-E", "-m", "64", "-M", "8", *paths, *options]
    log = folder / "kamailio.log"
    with running(place.argv(command, folder), folder, log), accepting_calls(next_hop, folder):
        if not wait_until(lambda: answers(port), START_SECONDS):
            raise AssertionError(f"Kamailio does not answer:\n{log_tail(log)}")
        yield port


def call(port: int, calls: int, per_second: int, folder: Path, dialed: str = DIALED) -> None:
    """Make calls through the proxy, and return when all calls have ended."""
    done = _call(["-sn", "uac"], port, calls, per_second, folder, dialed)
    assert done.returncode == 0, done.stdout[-2000:]


def call_as(user: bytes, port: int, folder: Path, dialed: str = DIALED) -> bool:
    """Make one call whose From, To and Call-ID hold these bytes. Empty bytes make URIs without a user.

    The caller's display name holds them as well, but not those that would end it.

    Return False if the call failed: a server may refuse such bytes.
    """
    uac = subprocess.run(["sipp", "-sd", "uac"], capture_output=True, check=False).stdout  # its status is 99
    uri = b"<sip:" + (user + b"@" if user else b"")
    name = b'"%b" ' % user.translate(None, b'"\\')
    for header, hostile in (
        (b"From: sipp <sip:sipp@", b"From: " + name + uri),
        (b"To: [service] <sip:[service]@", b"To: " + uri),
        (b"Call-ID: [call_id]", b"Call-ID: " + user + b"///[call_id]"),
    ):
        assert header in uac
        uac = uac.replace(header, hostile)
    scenario = folder / f"{uuid4()}.xml"  # several calls may be made at once
    scenario.write_bytes(uac)
    return _call(["-sf", str(scenario), "-max_retrans", RETRANSMITTED_MAX], port, 1, 1, folder, dialed).returncode == 0


def _call(
    scenario: list[str], port: int, calls: int, per_second: int, folder: Path, dialed: str
) -> "subprocess.CompletedProcess[str]":
    pace = ["-m", str(calls), "-r", str(per_second), "-d", CALL_MS]
    command = [*_sipp(scenario, free_udp_port()), "-s", dialed, f"127.0.0.1:{port}", *pace]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=CALLS_SECONDS, check=False
    )


def accepting_calls(port: int, folder: Path) -> contextlib.AbstractContextManager[object]:
    """Run a server that accepts every call."""
    return running(_sipp(["-sn", "uas"], port), folder)


def _sipp(scenario: list[str], port: int) -> list[str]:
    return ["sipp", *scenario, "-i", "127.0.0.1", "-p", str(port), "-nostdin"]


@contextmanager
def running(command: list[str], folder: Path, log: Path | None = None) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a program until the block ends, and yield its process. Its output goes to the log."""
    with (log or Path("/dev/null")).open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(port: int) -> bool:
    """Return True if a server answers a SIP request on the port."""
    request = (
        f"OPTIONS sip:127.0.0.1:{port} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;rport;branch=z9hG4bK1\r\n"
        "From: <sip:a@127.0.0.1>;tag=1\r\nTo: <sip:b@127.0.0.1>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n"
        "Max-Forwards: 0\r\nContent-Length: 0\r\n\r\n"
    )
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as asking:
        asking.settimeout(0.5)
        try:
            asking.sendto(request.encode(), ("127.0.0.1", port))
            return asking.recv(2000).startswith(b"SIP/2.0")
        except OSError:
            return False
