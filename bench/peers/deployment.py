"""Deploys Laravel as in production: nginx before php-fpm, filled caches, and a queue worker."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.peers.stand import Stand
from tests.services.places import Host
from tests.services.sandbox import Sandbox

FOLDER = Path(__file__).parent / "laravel"
COMMAND_SECONDS = 60
STORAGE = ("cache", "framework/cache/data", "framework/views", "logs")
CACHES = ("config", "events", "packages", "routes", "services")
WORKER = ("queue:work", "--sleep=1", "--tries=0", "--memory=512", "--quiet")
PREPARING: Sequence[Sequence[str]] = (("config:cache",), ("route:cache",), ("migrate", "--force"))
OPCACHE = ("-d", "opcache.enable=1", "-d", "opcache.validate_timestamps=0")
TIED = ("setpriv", "--pdeathsig", "TERM", "--")
"""The kernel ends php-fpm when this process ends, as php-fpm leaves the sandbox's process group."""


class Deployment:
    """The application on a stand. It writes its files to the sandbox."""

    preparing = PREPARING
    worker = WORKER

    def __init__(self, stand: Stand, box: Sandbox, settings: Mapping[str, str] | None = None) -> None:
        """`settings` are further variables of its environment."""
        self._stand = stand
        self._box = box
        places = _places(box.folder("storage"))
        self._environment = {**os.environ, **stand.environment, **places, **(settings or {})}
        self._fpm: subprocess.Popen[bytes] | None = None

    def start(self) -> list[int]:
        """Start everything, and return the process ids of php-fpm, nginx and the worker."""
        self.prepare()
        return [*self.start_endpoint(), self.start_worker().pid]

    def prepare(self) -> None:
        for command in self.preparing:
            self.artisan(*command)

    def start_endpoint(self) -> list[int]:
        """Start php-fpm and nginx."""
        self._fpm = self._spawn(self._fpm_command())
        nginx = self._spawn([Host().find("usr/sbin/nginx"), "-e", "stderr", "-c", self._configured("nginx.conf")])
        return [self._fpm.pid, nginx.pid]

    def start_worker(self) -> "subprocess.Popen[bytes]":
        return self._spawn(["php", str(FOLDER / "artisan"), *self.worker])

    def stop(self) -> None:
        """End php-fpm. The other processes end with the sandbox."""
        if self._fpm is not None:
            self._fpm.terminate()

    def versions(self) -> dict[str, str]:
        php = self._box.run(["php", "-r", "echo PHP_VERSION;"], COMMAND_SECONDS)
        return {"laravel": self.artisan("--version").split()[-1], "php": php}

    def artisan(self, *command: str, **settings: str) -> str:
        """Run a command to its end, and return what it prints."""
        environment = {**self._environment, **settings}
        return self._box.run(["php", str(FOLDER / "artisan"), *command], COMMAND_SECONDS, environment)

    def _spawn(self, command: Sequence[str]) -> "subprocess.Popen[bytes]":
        return self._box.spawn(command, self._box.path / "log", self._environment)

    def _fpm_command(self) -> list[str]:
        program = Host().find("usr/sbin/php-fpm[0-9]*")
        as_root = ["--allow-to-run-as-root"] if os.geteuid() == 0 else []
        return [*TIED, program, "--nodaemonize", *as_root, *OPCACHE, "--fpm-config", self._configured("php-fpm.conf")]

    def _configured(self, name: str) -> str:
        """Write a configuration file from its template."""
        user = {"nginx.conf": "user root;", "php-fpm.conf": "user = root"}[name] if os.geteuid() == 0 else ""
        values = {"user": user, "folder": str(self._box.path), "port": str(self._stand.port), "root": str(FOLDER)}
        file = self._box.path / name
        file.write_text(filled((FOLDER / f"{name}.in").read_text(), values))
        return str(file)


def _places(storage: Path) -> dict[str, str]:
    for name in STORAGE:
        (storage / name).mkdir(parents=True)
    caches = {f"APP_{name.upper()}_CACHE": f"{storage}/cache/{name}.php" for name in CACHES}
    return {**caches, "APP_STORAGE": str(storage)}


def filled(template: str, values: Mapping[str, str]) -> str:
    """Return the template with each @name@ replaced by its value."""
    for name, value in values.items():
        template = template.replace(f"@{name}@", value)
    return template
