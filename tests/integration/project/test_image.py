"""Runs the Dockerfile's steps in a clean folder in place of a container's /, and checks the result."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import msgspec
import pytest

from ingest.http.openapi_schemas import EXAMPLE
from ingest.settings import WELL_KNOWN_TOKEN
from tests.certificates import HOST, Authority
from tests.dockerfile import BUILD, only
from tests.paths import ROOT
from tests.services import free_port, wait_until

INSTALL_SECONDS = 600
START_SECONDS = 60.0
ANSWER_SECONDS = 30.0


class Image:
    """The installed files of the build stage, in a folder in place of /, with the final stage's environment."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = root / "data"
        self.environment = {"PATH": f"{Path(sys.base_prefix) / 'bin'}:{os.environ['PATH']}"}

    def build(self) -> None:
        """Run COPY and RUN of the build stage. This machine's settings of pip apply, but no other settings."""
        workdir = self.root
        outer = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        for instruction in BUILD[1:]:
            match instruction.name:
                case "WORKDIR":
                    workdir = Path(self.inside(instruction.arguments))
                    workdir.mkdir()
                case "COPY":
                    copy(instruction.words, workdir)
                case "RUN":
                    command = ["sh", "-ec", self.inside(instruction.arguments)]
                    subprocess.run(command, cwd=workdir, env=outer | self.environment, check=True)
        shutil.rmtree(workdir)  # the final stage does not have it
        self.data.mkdir()
        for word in only("ENV").words:
            name, _, value = word.partition("=")
            self.environment[name] = self.inside(value).replace("$PATH", self.environment["PATH"])

    def inside(self, text: str) -> str:
        """Return `text` with the image's absolute paths moved below `root`."""
        return re.sub(r"(?<![\w./])/(?=opt/|build\b|data\b)|(?<=sqlite:///)/", f"{self.root}/", text)

    def run(self, *words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run the entry point with these arguments."""
        return self.execute(only("ENTRYPOINT").argv + list(words), check=check)

    def execute(self, argv: list[str], check: bool = True) -> "subprocess.CompletedProcess[str]":
        program = shutil.which(argv[0], path=self.environment["PATH"]) or argv[0]
        return subprocess.run(
            [program, *argv[1:]],
            cwd=self.data,
            env=self.environment,
            check=check,
            capture_output=True,
            text=True,
            timeout=60,
        )

    @contextmanager
    def running(self) -> Iterator["subprocess.Popen[bytes]"]:
        """Run entry point and default command on a free port."""
        self.environment["INGEST_PORT"] = str(free_port())
        program = shutil.which(only("ENTRYPOINT").argv[0], path=self.environment["PATH"])
        assert program == str(self.root / "opt/ingest/bin/ingest")
        argv = [program, *only("CMD").argv]
        with subprocess.Popen(
            argv, cwd=self.data, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                yield process
            finally:
                process.send_signal(getattr(signal, only("STOPSIGNAL").arguments))

    def files(self) -> set[Path]:
        """Return all files outside the data folder."""
        return {path for path in self.root.rglob("*") if not path.is_relative_to(self.data)}


def copy(words: list[str], workdir: Path) -> None:
    *sources, destination = words
    for source in sources:
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, workdir / destination, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (workdir / destination).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / source, workdir / destination)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    image = Image(tmp_path_factory.mktemp("image"))
    image.build()
    return image


@pytest.mark.timeout(INSTALL_SECONDS)
def test_image_has_the_command_and_the_sql_files_without_the_source_tree(image: Image) -> None:
    assert image.run("--version").stdout.startswith("ingest")
    where = image.execute(["python", "-c", "import ingest; print(ingest.__file__)"]).stdout
    assert where.startswith(str(image.root / "opt/ingest/lib"))
    assert "applied" in image.run("migrate").stdout
    assert (image.data / "call-events.db").exists()


def test_image_holds_the_locked_packages_and_neither_pip_nor_build_tools(image: Image) -> None:
    names = (
        "import importlib.metadata as m; print(*sorted(f'{d.name}=={d.version}'.lower() for d in m.distributions()))"
    )
    installed = set(image.execute(["python", "-c", names]).stdout.replace("_", "-").split())
    locked = set(re.findall(r"^([\w.-]+==[\w.]+)", (ROOT / "requirements.lock").read_text("utf-8"), re.MULTILINE))
    assert {name for name in installed if not name.startswith("call-events-ingest==")} == locked


def test_container_is_healthy_serves_and_writes_to_its_data_folder_only(image: Image) -> None:
    check = only("HEALTHCHECK").argv
    image.run("migrate")
    before = image.files()
    with image.running() as process:
        assert wait_until(lambda: image.execute(check, check=False).returncode == 0, START_SECONDS)
        assert wait_until(lambda: post(image.environment["INGEST_PORT"]) == 200, START_SECONDS)
    assert process.returncode == 0
    assert image.execute(check, check=False).returncode != 0
    assert image.files() == before


def test_installed_package_serves_and_plays_the_demo_from_an_empty_folder(image: Image, tmp_path: Path) -> None:
    """A user of pip or uv has the same files as the image, and neither its settings nor the source tree."""
    environment = {"PATH": image.environment["PATH"], "INGEST_PORT": str(free_port())}
    ingest = str(image.root / "opt/ingest/bin/ingest")
    with subprocess.Popen(
        [ingest, "serve"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as serving:
        try:
            assert serving.stdout
            first = [serving.stdout.readline().split()[-1] for _ in range(3)]
            assert wait_until(lambda: post(environment["INGEST_PORT"]) == 200, START_SECONDS)
            ran = subprocess.run(
                [ingest, "demo", "--duration", "1s"],
                cwd=tmp_path,
                env=environment,
                check=True,
                capture_output=True,
                text=True,
            )
        finally:
            serving.terminate()
    url = f"http://localhost:{environment['INGEST_PORT']}"
    assert first == [f"{url}/", f"{url}/docs", f"{url}/api/call-events"]
    assert re.search(r" events accepted in \d+ s", ran.stdout)
    assert [path.name for path in tmp_path.iterdir()] == ["var"]


def test_container_with_tls_on_another_address_is_healthy(image: Image, tmp_path: Path) -> None:
    Authority(tmp_path / "ca.pem").sign_for(HOST, tmp_path / "service.pem", tmp_path / "service.key")
    image.environment |= {
        "INGEST_HOST": "127.0.0.2",
        "INGEST_TLS_CERT": str(tmp_path / "service.pem"),
        "INGEST_TLS_KEY": str(tmp_path / "service.key"),
    }
    with image.running():
        check = only("HEALTHCHECK").argv
        assert wait_until(lambda: image.execute(check, check=False).returncode == 0, START_SECONDS)


def post(port: str) -> int:
    """Return the status, or 0 if the service does not answer yet."""
    connection = HTTPConnection("127.0.0.1", int(port), timeout=ANSWER_SECONDS)
    try:
        connection.request("POST", "/api/call-events", msgspec.json.encode(EXAMPLE), {"X-API-TOKEN": WELL_KNOWN_TOKEN})
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()
