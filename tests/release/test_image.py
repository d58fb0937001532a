"""Runs the Dockerfile's steps in chroots of Debian 13, on which the base image is built, and serves from the result.

No container engine runs here. Debian's Python 3.13 stands in for the base image's own build of it.
"""

import shlex
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.dockerfile import BUILD, IMAGE, Instruction, only
from tests.paths import ROOT
from tests.release.chroots import ENVIRONMENT, Chroot, make_minimal
from tests.release.events import post
from tests.services import free_port, wait_until

BASE = "python:3.13-slim"
START_SECONDS = 60.0

pytestmark = pytest.mark.timeout(1200)


class Stage:
    """A stage of the Dockerfile, carried out in a chroot in place of a container."""

    def __init__(self, chroot: Chroot, built: "Stage | None" = None) -> None:
        self.chroot = chroot
        self.environment: dict[str, str] = {"PATH": "/usr/local/bin:" + ENVIRONMENT["PATH"]}
        self.user = "root"
        self._workdir = "/"
        self._built = built

    def carry_out(self, instructions: list[Instruction]) -> None:
        for instruction in instructions:
            match instruction.name:
                case "WORKDIR":
                    self._workdir = instruction.arguments
                    self.chroot.path(self._workdir).mkdir(exist_ok=True)
                case "COPY":
                    self._copy(instruction.words)
                case "RUN":
                    self.execute("sh", "-c", instruction.arguments, index=True)
                case "ENV":
                    words = (word.partition("=") for word in instruction.words)
                    self.environment |= {
                        name: value.replace("$PATH", self.environment["PATH"]) for name, _, value in words
                    }
                case "USER":
                    self.user = instruction.arguments
                case (
                    "FROM" | "ARG" | "LABEL" | "VOLUME" | "EXPOSE" | "HEALTHCHECK" | "STOPSIGNAL" | "ENTRYPOINT" | "CMD"
                ):
                    pass  # nothing that changes a file
                case other:
                    raise AssertionError(f"The test cannot carry out {other}.")

    def _copy(self, words: list[str]) -> None:
        source = ROOT
        if words[0].startswith("--from="):
            assert self._built
            assert words[0] == f"--from={BUILD[0].words[-1]}"
            source = self._built.chroot.folder
            words = words[1:]
        *names, destination = words
        target = self.chroot.path(f"{self._workdir}/{destination}")
        for name in names:
            path = source / name.lstrip("/")
            if path.is_dir():
                shutil.copytree(path, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                place = target / path.name if destination.endswith("/") else target
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, place)

    def execute(self, *words: str, index: bool = False, check: bool = True) -> str:
        """Run a command in the working folder, as the stage's user. Return both streams."""
        return self.chroot.run(
            *self.argv(words), user=self.user, environment=self.environment, index=index, check=check
        ).stdout

    def argv(self, words: tuple[str, ...]) -> list[str]:
        return ["sh", "-c", f'cd {shlex.quote(self._workdir)} && exec "$@"', "sh", *words]


@pytest.fixture(scope="module")
def system() -> Path:
    return make_minimal("trixie", "python3.13", "python3.13-venv")


def begin(system: Path, folder: Path, built: Stage | None = None) -> Stage:
    """A stage on the base image, whose Python is in /usr/local."""
    stage = Stage(Chroot(system, folder), built)
    for name in ("python", "python3"):
        stage.chroot.path(f"/usr/local/bin/{name}").symlink_to("/usr/bin/python3.13")
    return stage


@pytest.fixture(scope="module")
def image(system: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("image")
    build = begin(system, folder / "build")
    build.carry_out(BUILD)
    final = begin(system, folder / "final", build)
    final.carry_out(IMAGE)
    build.chroot.remove()
    yield final
    final.chroot.remove()


def files(image: Stage) -> set[Path]:
    """Return all files outside the data folder."""
    data = image.chroot.path(only("VOLUME").arguments)
    return {path for path in image.chroot.folder.rglob("*") if not path.is_relative_to(data)}


def settings(image: Stage) -> Mapping[str, str]:
    return image.environment | {"INGEST_PORT": str(free_port())}


def test_stages_begin_with_the_base_that_the_chroots_stand_for() -> None:
    assert {BUILD[0].words[0], IMAGE[0].words[0]} == {BASE}


def test_image_has_the_command_and_no_tools_to_build_with(image: Stage) -> None:
    assert image.execute(*only("ENTRYPOINT").argv, "--version").startswith("ingest")
    assert not image.chroot.path("/build").exists()
    assert not list(image.chroot.path("/opt/ingest/bin").glob("pip*"))


def test_containers_user_owns_its_data_and_nothing_else(image: Stage) -> None:
    data = only("VOLUME").arguments
    assert image.execute("stat", "-c", "%a %u:%g", data).strip() == f"700 {only('USER').arguments}"
    scratch = ("/proc", "/dev", "/sys", "/tmp", "/var/tmp", "/run/lock", data)
    pruned = " -o ".join(f"-path {path}" for path in scratch)
    writable = image.execute(
        "sh", "-c", f"find / \\( {pruned} \\) -prune -o -writable ! -type l -print 2>/dev/null || true"
    )
    assert writable == ""


def test_container_becomes_healthy_stores_an_event_and_stops(image: Stage) -> None:
    before = files(image)
    environment = settings(image)
    words = (*only("ENTRYPOINT").argv, *only("CMD").argv)
    check = image.argv(tuple(only("HEALTHCHECK").argv))

    def healthy() -> bool:
        return image.chroot.run(*check, user=image.user, environment=environment, check=False).returncode == 0

    with image.chroot.running(*image.argv(words), user=image.user, environment=environment) as process:
        assert wait_until(lambda: process.poll() is not None or healthy(), START_SECONDS)
        assert process.poll() is None, image.chroot.log.read_text()
        assert wait_until(lambda: post(int(environment["INGEST_PORT"])) == 200, START_SECONDS)
    assert (process.returncode, only("STOPSIGNAL").arguments) == (0, "SIGTERM")
    assert not healthy()
    assert files(image) == before
