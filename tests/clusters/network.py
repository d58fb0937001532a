"""A network of namespaces on one machine: each node has its own address, and its link can be cut. Needs root.

Processes of a sandbox hold the namespaces, which end with them.
"""

import os
import secrets
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.services.places import Host
from tests.services.sandbox import Sandbox, ServerFailed, wait_until

COMMAND_SECONDS = 10.0
HERE = 1
"""The number of this machine's address; nodes have other numbers."""


class Network:
    """`with Network() as network:` exists until the block ends."""

    def __init__(self) -> None:
        self._name = secrets.token_hex(3)
        self._prefix = f"10.{64 + secrets.randbelow(128)}.{secrets.randbelow(256)}"

    def __enter__(self) -> Self:
        if os.geteuid() != 0:
            raise ServerFailed("namespaces of the network need root")
        self._sandbox = Sandbox("network")
        try:
            self._switch = self._namespace()
            self._run("link", "add", "bridge", "type", "bridge", within=self._switch)
            self._run("link", "set", "bridge", "up", within=self._switch)
            self._run("link", "add", f"h{self._name}", "type", "veth", "peer", "name", "here", "netns", self._switch)
            self._run("link", "set", "here", "master", "bridge", "up", within=self._switch)
            self._run("address", "add", f"{self.address(HERE)}/24", "dev", f"h{self._name}")
            self._run("link", "set", f"h{self._name}", "up")
        except BaseException:
            self._sandbox.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sandbox.close()

    def address(self, number: int) -> str:
        return f"{self._prefix}.{number}"

    def node(self, number: int) -> "Node":
        """Make a namespace with the address of this number, between 2 and 254."""
        holder, plug = self._namespace(), f"n{number}"
        self._run("link", "add", plug, "type", "veth", "peer", "name", "eth0", "netns", holder, within=self._switch)
        self._run("link", "set", plug, "master", "bridge", "up", within=self._switch)
        for words in (
            ("address", "add", f"{self.address(number)}/24", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            ("link", "set", "lo", "up"),
        ):
            self._run(*words, within=holder)
        return Node(self, self.address(number), holder, plug)

    def plug(self, name: str, state: str) -> None:
        """Set a node's link `down` or `up`."""
        self._run("link", "set", name, state, within=self._switch)

    def _namespace(self) -> str:
        """Make a namespace, and return the id of the process that holds it."""
        holder = self._sandbox.spawn(["unshare", "--net", "sleep", "infinity"], self._sandbox.path / "holders.log")
        own = Path("/proc/self/ns/net").readlink()
        if not wait_until(lambda: Path(f"/proc/{holder.pid}/ns/net").readlink() != own, COMMAND_SECONDS):
            raise ServerFailed("this machine gives no namespaces of the network")
        return str(holder.pid)

    def _run(self, *words: str, within: str = "") -> None:
        enter = ["nsenter", f"--net=/proc/{within}/ns/net"] if within else []
        subprocess.run([*enter, "ip", *words], check=True, timeout=COMMAND_SECONDS)


class Node(Host):
    """The place (see `tests.services.places`) of a server with its own address."""

    def __init__(self, network: Network, address: str, holder: str, plug: str) -> None:
        self.address = address
        self._network = network
        self._holder = holder
        self._plug = plug

    def argv(self, command: Sequence[str], folder: Path) -> list[str]:
        return ["nsenter", f"--net=/proc/{self._holder}/ns/net", *super().argv(command, folder)]

    def cut_off(self) -> None:
        """Drop all packets to and from the node, without an error for anyone."""
        self._network.plug(self._plug, "down")

    def join_again(self) -> None:
        self._network.plug(self._plug, "up")
