"""Builds and starts each peer in a sandbox, which leaves no file or process behind."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path

import msgspec

from bench.harness.targets import START_SECONDS, BenchFailed
from bench.peers.deployment import Deployment
from bench.peers.posting import post
from bench.peers.stand import Peer, Stand
from tests.services import wait_until
from tests.services.places import cache_folder
from tests.services.sandbox import Sandbox, log_tail

FOLDER = Path(__file__).parent
BUILD_SECONDS = 300
GO_SETTINGS = {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": "", "GOTOOLCHAIN": "local"}
"""The build uses Debian's packages of Go sources, and downloads nothing."""
GO_LIBRARIES = ("go-sql-driver-mysql", "rabbitmq-amqp091-go", "valyala-fasthttp", "json-iterator-go")
"""Debian packages of Go sources, without `golang-github-` and `-dev`."""
FASTAPI_PACKAGES = ("fastapi", "pydantic", "sqlalchemy", "uvicorn")
UVICORN_OPTIONS = ("--host=127.0.0.1", "--loop=uvloop", "--http=httptools", "--no-access-log", "--log-level=warning")


@contextmanager
def go(stand: Stand, options: Sequence[str], libraries: Sequence[str] = ()) -> Iterator[Peer]:
    """`libraries` are those of `GO_LIBRARIES` whose versions count."""
    with closing(Sandbox("peer-go")) as box:
        version = box.run(["go", "version"], BUILD_SECONDS, {**os.environ, **GO_SETTINGS}).split()[2].removeprefix("go")
        packages = [f"golang-github-{library}-dev" for library in GO_LIBRARIES]
        found = box.run(["dpkg-query", "-W", "-f", "${Version} ", *packages], BUILD_SECONDS).split()
        of_libraries = dict(zip(GO_LIBRARIES, found, strict=True))
        program = _built(box, f"{version} {of_libraries}")
        process = box.spawn([program, *options], box.path / "log", {**os.environ, **stand.environment})
        versions = {"go": version, **{name: of_libraries[name] for name in libraries}}
        yield _ready(Peer(stand, [process.pid], versions), box)


def _built(box: Sandbox, versions: str) -> str:
    """Return the program of the Go sources, built with these versions. It stays in the user's cache."""
    sources = [file.name.encode() + file.read_bytes() for file in sorted((FOLDER / "go").glob("*.go"))]
    program = cache_folder() / f"go-{sha256(b''.join([versions.encode(), *sources])).hexdigest()[:16]}"
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        draft = box.path / "peer"
        build = ["sh", "-ec", 'cd "$1"; exec go build -o "$2" .', "build", str(FOLDER / "go"), str(draft)]
        box.run(build, BUILD_SECONDS, {**os.environ, **GO_SETTINGS})
        shutil.move(draft, program.with_suffix(f".{os.getpid()}"))  # the cache may be on another disk
        program.with_suffix(f".{os.getpid()}").rename(program)
    return str(program)


@contextmanager
def fastapi(stand: Stand) -> Iterator[Peer]:
    with closing(Sandbox("peer-fastapi")) as box:
        python = _environment_of(FOLDER / "fastapi" / "requirements.lock", box)
        code = f"from importlib.metadata import version; print(*map(version, {FASTAPI_PACKAGES!r}))"
        versions = box.run([python, "-c", code], BUILD_SECONDS).split()
        application = ["--app-dir", str(FOLDER / "fastapi"), "main:app", "--port", str(stand.port)]
        command = [python, "-m", "uvicorn", *application, *UVICORN_OPTIONS]
        process = box.spawn(command, box.path / "log", {**os.environ, **stand.environment})
        yield _ready(Peer(stand, [process.pid], dict(zip(FASTAPI_PACKAGES, versions, strict=True))), box)


def _environment_of(lock: Path, box: Sandbox) -> str:
    """Return the Python of an environment with the lock file's packages. It stays in the user's cache."""
    name = sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:16]
    folder = cache_folder() / f"fastapi-{name}"
    python = str(folder / "bin" / "python")
    if not (folder / "installed").exists():
        shutil.rmtree(folder, ignore_errors=True)
        box.run([sys.executable, "-m", "venv", str(folder)], BUILD_SECONDS)
        pip = [python, "-m", "pip", "--disable-pip-version-check", "-q", "install"]
        box.run([*pip, "--require-hashes", "--no-deps", "-r", str(lock)], BUILD_SECONDS)
        (folder / "installed").touch()
    return python


@contextmanager
def laravel(stand: Stand) -> Iterator[Peer]:
    with closing(Sandbox("peer-laravel")) as box:
        deployment = Deployment(stand, box)
        try:
            yield _ready(Peer(stand, deployment.start(), deployment.versions()), box)
        finally:
            deployment.stop()


def _ready(peer: Peer, box: Sandbox) -> Peer:
    """Wait until the peer answers. Raises `BenchFailed` with the end of its log."""

    def answers() -> bool:
        try:
            return post(peer.port, b"{}", None)[0] < 500  # nginx answers 502 until php-fpm is ready
        except OSError:
            return False

    if not wait_until(answers, START_SECONDS):
        raise BenchFailed(f"the peer does not answer:\n{log_tail(box.path / 'log')}")
    return peer


Start = Callable[[Stand], AbstractContextManager[Peer]]

FAST = ("valyala-fasthttp", "json-iterator-go")


class Kind(msgspec.Struct, frozen=True):
    """A peer to choose. `outbox`: a kill at any moment loses no message of an event that was answered 200."""

    start: Start
    outbox: bool = False


KINDS: Mapping[str, Kind] = {
    "go": Kind(partial(go, options=["-http=net"])),
    "go-outbox": Kind(partial(go, options=["-http=net", "-outbox"]), outbox=True),
    "go-fasthttp": Kind(partial(go, options=["-http=fast"], libraries=FAST)),
    "go-fasthttp-outbox": Kind(partial(go, options=["-http=fast", "-outbox"], libraries=FAST), outbox=True),
    "fastapi": Kind(fastapi),
    "laravel": Kind(laravel),
}
"""By the names that `bench.peers.run --peer` takes."""
