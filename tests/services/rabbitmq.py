"""RabbitMQ servers for tests."""

import os
import re
import secrets
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from .places import Host, Place, SidChroot, sid_root
from .ports import free_port
from .rabbitmq_home import link_plugins
from .sandbox import ServerFailed, wait_until
from .server import ExternalServer, PrivateServer, Server

ANSWER_SECONDS = 2.0
EPMD_SECONDS = 60.0
CTL_SECONDS = 120.0
REGISTERED_SECONDS = 60.0
HEXADECIMAL = re.compile(r'\{ok, (?:\[\]|"(\w*)")\}')
STREAMS = "rabbit_stream_coordinator"
AMQP_0_9_1_HEADER = b"AMQP\x00\x00\x09\x01"
# The start of a method frame on channel 0. The first frame is always connection.start.
METHOD_FRAME_START = b"\x01\x00\x00"

# RabbitMQ tells stream clients its address; without advertised_* it is the machine's name.
_CONFIG = """\
listeners.tcp.default = 127.0.0.1:{amqp}
stream.listeners.tcp.1 = 127.0.0.1:{stream}
stream.advertised_host = 127.0.0.1
stream.advertised_port = {stream}
disk_free_limit.absolute = 50MB
"""
_METRICS_CONFIG = """\
prometheus.tcp.ip = 127.0.0.1
prometheus.tcp.port = {metrics}
"""
# With it Erlang resolves `localhost` even without an entry in /etc/hosts.
_INETRC = '{host, {127,0,0,1}, ["localhost"]}.\n{lookup, [file, native]}.\n'


class RabbitMQServer(Server):
    """A RabbitMQ server that tests may use, with the stream plugin.

    Attributes: `host`, `port` (AMQP 0-9-1), `amqp_url`, `stream_url` ("" if an external
    server has none), `metrics_port` (0 without the plugin rabbitmq_prometheus).
    """

    host: str
    port: int
    amqp_url: str
    stream_url: str
    metrics_port: int = 0

    def fresh_queue_name(self) -> str:
        """Return a unique name for a queue, exchange or stream. Nothing is declared. A test
        must delete everything that it declares on an external server."""
        return f"ingest-test-{secrets.token_hex(6)}"

    def wait_until_crash_safe(self, queue: str) -> None:
        """Wait until a new quorum queue or stream would survive kill() (about a second).

        RabbitMQ confirms messages of a new quorum queue before the queue's registration
        (Ra's file names.dets) is on disk. If it is killed before that, versions 3.10 and
        4.3 come back with the queue, but without its messages and without a leader. For
        streams pass STREAMS as the name, as they share one registration.

        Raises ServerFailed after 10 s. Does nothing on an external server.
        """

    def ctl(self, *args: str) -> str:
        """Run rabbitmqctl against this node, and return its output. This takes 1 to 3 s.

        Raises ServerFailed if it fails, or if the server is external.
        """
        raise ServerFailed("rabbitmqctl works on the tests' own servers only")

    def call(self, function: str, *terms: object) -> str:
        """Call `module:name` in this node with Erlang terms, and return the resulting term.

        This takes milliseconds, as `rabbitmqctl` starts a node of its own, and this does not. Raises as `ctl` does.
        """
        raise ServerFailed("functions are called in the tests' own servers only")

    def evaluate(self, code: str) -> str:
        """Evaluate Erlang expressions in this node, and return the text (iodata) that the last one yields.

        Takes milliseconds, as `call` does. Raises as `ctl` does.
        """
        raise ServerFailed("expressions are evaluated in the tests' own servers only")


class ExternalRabbitMQ(ExternalServer, RabbitMQServer):
    """A server given by its URLs."""

    def __init__(self, amqp_url: str, stream_url: str) -> None:
        parts = urlsplit(amqp_url)
        self.host = parts.hostname or "127.0.0.1"
        self.port = parts.port or 5672
        self.amqp_url = amqp_url
        self.stream_url = stream_url


class PrivateRabbitMQ(PrivateServer, RabbitMQServer):
    """A private node with its own name, cookie, name server (epmd) and ports.

    `metrics_port` is 0 unless `metrics` enables the plugin rabbitmq_prometheus, which makes
    the start slower.
    """

    host = "127.0.0.1"

    def __init__(self, name: str, place: Place, metrics: bool = False) -> None:
        super().__init__(name, place)
        self.port = free_port()
        self.stream_port = free_port()
        self.metrics_port = free_port() if metrics else 0
        self.amqp_url = f"amqp://guest:guest@127.0.0.1:{self.port}/"
        self.stream_url = f"rabbitmq-stream://guest:guest@127.0.0.1:{self.stream_port}/"
        self._epmd_port = free_port()
        self._dist_port = free_port()
        self._ctl_port = free_port()
        self._node = f"ingest-{secrets.token_hex(4)}@localhost"
        self._epmd: subprocess.Popen[bytes] | None = None

    def ctl(self, *args: str) -> str:
        command = self._argv(self._script("rabbitmqctl"), "--node", self._node, *args)
        return self.sandbox.run(command, CTL_SECONDS, self._environment())

    def call(self, function: str, *terms: object) -> str:
        module, _, name = function.partition(":")
        term = self._erl_call(["-a", f"{module} {name} [{', '.join(map(str, terms))}]"])
        if term.startswith("{badrpc"):
            raise ServerFailed(f"{function}: {term}")
        return term

    def evaluate(self, code: str) -> str:
        # erl_call does not escape all signs of a text.
        hexadecimal = f"binary_to_list(binary:encode_hex(unicode:characters_to_binary(begin {code} end))).\n"
        term = self._erl_call(["-e"], typed=hexadecimal)
        found = HEXADECIMAL.fullmatch(term)
        if not found:
            raise ServerFailed(f"{code}: {term}")
        return bytes.fromhex(found[1] or "").decode()

    def _erl_call(self, words: Sequence[str], typed: str = "") -> str:
        address = f"{self.host}:{self._dist_port}"
        command = self._argv(self._place.find("usr/bin/erl_call"), "-address", address, *words)
        return self.sandbox.run(command, CTL_SECONDS, self._environment(), typed).strip()

    def wait_until_crash_safe(self, queue: str) -> None:
        def registered() -> bool:
            files = self.sandbox.path.glob("mnesia/*/*/*/names.dets")
            return any(queue.encode() in file.read_bytes() for file in files)

        if not wait_until(registered, REGISTERED_SECONDS):
            raise ServerFailed(f"{queue} is no quorum queue or stream of {self._name}")

    def _prepare(self) -> None:
        for name in ("home", "mnesia", "log", "config"):
            self.sandbox.folder(name)
        plugins = ["rabbitmq_stream"]
        if self.metrics_port:
            plugins.append("rabbitmq_prometheus")
        installed = self._place.find("usr/lib/rabbitmq/lib/rabbitmq_server-*")
        link_plugins(self.sandbox.path / "rabbitmq", self._place.root, installed, plugins)
        self._write("rabbitmq.conf", self._config())
        self._write("enabled_plugins", f"[{','.join(plugins)}].\n")
        self._write("inetrc", _INETRC)
        self._write("rabbitmq-env.conf", "")
        self._write("advanced.config", "[].\n")

    def _config(self) -> str:
        config = _CONFIG.format(amqp=self.port, stream=self.stream_port)
        return config + (_METRICS_CONFIG.format(metrics=self.metrics_port) if self.metrics_port else "")

    def _launch(self) -> subprocess.Popen[bytes]:
        if self._epmd is None:
            self._epmd = self._start_epmd()
        command = self._argv(self._script("rabbitmq-server"))
        return self.sandbox.spawn(command, self.log, self._environment())

    def _start_epmd(self) -> subprocess.Popen[bytes]:
        """Start the node's own name server, as the one that Erlang would start outlives the tests."""
        port = str(self._epmd_port)
        command = [self._place.find("usr/bin/epmd"), "-port", port, "-address", self.host]
        epmd = self.sandbox.spawn(self._argv(*command), self.sandbox.path / "epmd.log")
        if not wait_until(lambda: accepts(self._epmd_port, self.host), EPMD_SECONDS):
            raise ServerFailed("epmd does not answer")
        return epmd

    def _answers(self) -> bool:
        return _speaks_amqp(self.port, self.host) and accepts(self.stream_port, self.host)

    def _script(self, name: str) -> str:
        # The script in /usr/sbin would switch to the user rabbitmq.
        return self.inside(f"rabbitmq/sbin/{name}")

    def _write(self, name: str, text: str) -> None:
        Path(self.sandbox.path / name).write_text(text)

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "HOME": self.inside("home"),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_INETRC": self.inside("inetrc"),
            # This makes the script exec erl, so that the started process is the server.
            "RUNNING_UNDER_SYSTEMD": "true",
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_CTL_DIST_PORT_MIN": str(self._ctl_port),
            "RABBITMQ_CTL_DIST_PORT_MAX": str(self._ctl_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_CONF_ENV_FILE": self.inside("rabbitmq-env.conf"),
            "RABBITMQ_CONFIG_FILE": self.inside("rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": self.inside("advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": self.inside("enabled_plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": self.inside("config"),
            "RABBITMQ_MNESIA_BASE": self.inside("mnesia"),
            "RABBITMQ_LOG_BASE": self.inside("log"),
            "RABBITMQ_LOGS": "-",
        }


def private_rabbitmq(flavour: str, metrics: bool = False) -> PrivateRabbitMQ:
    """Return a node of flavour `debian` (this machine's) or `sid` (the chroot's), not started."""
    return PrivateRabbitMQ(*place_of(flavour), metrics)


def place_of(flavour: str) -> tuple[str, Place]:
    """Return the arguments of `PrivateRabbitMQ`."""
    if flavour == "debian":
        return "rabbitmq", Host()
    if flavour == "sid":
        return "rabbitmq-sid", SidChroot(sid_root())
    raise ServerFailed(f"no RabbitMQ server is of flavour {flavour!r}: debian or sid")


def accepts(port: int, host: str = "127.0.0.1") -> bool:
    """Return True if a server listens on the port."""
    try:
        with socket.create_connection((host, port), ANSWER_SECONDS):
            return True
    except OSError:
        return False


def _speaks_amqp(port: int, host: str) -> bool:
    try:
        with socket.create_connection((host, port), ANSWER_SECONDS) as client:
            client.sendall(AMQP_0_9_1_HEADER)
            return client.recv(len(METHOD_FRAME_START)) == METHOD_FRAME_START
    except OSError:
        return False
