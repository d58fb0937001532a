"""Parsers of blocks that cannot be executed here. Each raises an exception if the block is wrong."""

import ast
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import click
import yaml

from ingest.cli.main import main
from ingest.settings import read_settings
from tests.paths import ROOT

SECONDS = 60
Parser = Callable[[str], object]


def lines_of(text: str) -> Iterator[list[str]]:
    """Yield the words of each command. A line that ends with a backslash goes on in the next one."""
    for line in text.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def make(text: str) -> None:
    """`make -n` finds each target, and the files that it needs. It looks at all targets without variables at once."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "PYTHON"))}
    together: list[str] = []
    for words in lines_of(text):
        assert words[0] == "make", words
        if len(words) == 2:
            together.append(words[1])
        else:
            run([*words, "-n"], clean)
    if together:
        run(["make", "-n", *together], clean)


def run(argv: list[str], environment: Mapping[str, str] = os.environ) -> str:
    ran = subprocess.run(argv, cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=SECONDS)
    assert ran.returncode == 0, f"{argv}: {ran.stderr}"
    return ran.stdout


def ingest(text: str) -> None:
    """Each command of `ingest` exists, with its options and their values. Nothing is executed."""
    for words in lines_of(text):
        if (name := Path(words[0]).name) == "ingest":
            check_command(main, name, words[1:])


def check_command(command: click.Command, name: str, words: list[str]) -> None:
    if not isinstance(command, click.Group):
        command.make_context(name, list(words))
        return
    context = click.Context(command, info_name=name)
    found, sub, rest = command.resolve_command(context, list(words))
    assert found is not None
    assert sub is not None
    check_command(sub, found, rest)


def ingest_names(text: str) -> None:
    """A command in prose exists, with its options. Its values may be placeholders, and others may be missing."""
    command: click.Command = main
    words = shlex.split(text)[1:]
    while words and words[0].islower() and not words[0].startswith("-") and isinstance(command, click.Group):
        _, found, words = command.resolve_command(click.Context(command), words)
        assert found is not None
        command = found
    known = {option for parameter in command.params for option in parameter.opts}
    unknown = {word for word in words if word.startswith("-")} - known - {"--help"}
    assert not unknown, unknown


def console(text: str) -> None:
    """The commands behind the prompts exist. The other lines are their output."""
    commands = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
    assert commands
    for command in commands:
        if command.startswith("ingest "):
            ingest_names(command)


def pipeline_of(schema: str) -> Parser:
    """A job of a CI server follows the server's schema, and its commands exist."""

    def check(text: str) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(text)
            file.flush()
            run([sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, file.name])
        commands = re.findall(r"^ *- (?:run: )?(ingest .*)$", text, re.MULTILINE)
        assert commands
        for command in commands:
            ingest_names(command)

    return check


def settings(text: str) -> None:
    """The lines are settings, and fit together. Quotes and comments are those of a shell."""
    given = {name: value for (line,) in lines_of(text) for name, _, value in [line.partition("=")]}
    assert given
    read_settings({"INGEST_API_TOKENS": "a-token-of-the-tests", **given})


def compose(text: str) -> None:
    """Options are those of `docker compose`, and files and services exist."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    for words in lines_of(text):
        if words[:2] != ["docker", "compose"]:
            continue
        action, *rest = words[2:]
        assert action in ("up", "cp", "exec"), action
        if action == "up":
            assert set(rest) <= {"-d", "--build"}
        else:
            assert rest[action == "cp"].partition(":")[0] in services


def history(text: str) -> None:
    """The first command writes metrics; the others copy them into the container of a service."""
    first, rest = text.split("\n", 1)
    words = shlex.split(first)
    assert (words[0], words[-2:]) == ("python", [">", "history.om"])
    assert run([sys.executable, *words[1:-2]]).endswith("# EOF\n")
    compose(rest)


def locust(text: str) -> None:
    """locust reads the scenario, and knows the options."""
    (words,) = lines_of(text)
    assert (words[0].partition("=")[0], Path(words[1]).name) == ("BENCH_TOKEN", "locust")
    run([sys.executable, "-m", "locust", *words[2:], "--list"], {**os.environ, "BENCH_TOKEN": "x"})


def kubectl(text: str) -> None:
    """The secret has settings, and the applied folder is a kustomization."""
    secret: dict[str, str] = {}
    applied: list[str] = []
    for words in lines_of(text):
        assert words[0] == "kubectl"
        literals = [word.partition("=")[2] for word in words if word.startswith("--from-literal=")]
        secret.update({name: value for name, _, value in (literal.partition("=") for literal in literals)})
        applied += [after for word, after in itertools.pairwise(words) if word == "-k"]
    assert applied
    assert all((ROOT / folder / "kustomization.yaml").exists() for folder in applied)
    read_settings({**secret, "INGEST_API_TOKENS": "a-token-of-the-tests"})
    assert "INGEST_API_TOKENS" in secret


def helm(text: str) -> None:
    """The chart exists, and has the values. Settings need no default."""
    for words in lines_of(text):
        assert words[:2] == ["helm", "install"]
        values = yaml.safe_load((ROOT / words[3] / "values.yaml").read_text("utf-8"))
        for option, value in itertools.pairwise(words):
            if option in ("--set", "--set-string"):
                group, _, name = value.partition("=")[0].partition(".")
                assert name in values[group], value


def cosign(text: str) -> None:
    """The identity is that of a workflow that signs, at a tag that starts it."""
    for words in lines_of(text):
        assert words[0] == "cosign"
        identity = words[words.index("--certificate-identity") + 1]
        path, _, ref = identity.removeprefix("https://github.com/OWNER/REPOSITORY/").partition("@")
        workflow = (ROOT / path).read_text("utf-8")
        assert f"cosign {'sign-blob' if words[1] == 'verify-blob' else 'sign'} --yes" in workflow
        assert re.fullmatch(r"refs/tags/v[\d.]+", ref)
        assert 'tags: ["v*"]' in workflow


def debian(text: str) -> None:
    """The commands of `ingest` exist, and read the package's settings. The rest names the package or its unit."""
    for words in lines_of(text):
        match words:
            case ["runuser", "-u", "call-events", "--", "ingest", "--env-file", "/etc/call-events/env", *rest]:
                check_command(main, "ingest", rest)
            case ["systemctl", "status" | "restart", "call-events"]:
                pass
            case ["apt", "install", file]:
                assert re.fullmatch(r"\./dist/call-events_[\w.]+-1~deb\d+_\w+\.deb", file)
            case _:
                raise AssertionError(words)


def adapter(text: str) -> None:
    """The rules of Prometheus' adapter name metrics that docs/metrics.md has."""
    known = (ROOT / "docs/metrics.md").read_text("utf-8")
    for rule in yaml.safe_load(text)["rules"]:
        assert set(rule) == {"seriesQuery", "resources", "metricsQuery"}
        (metric,) = re.findall(r"^\w+", rule["seriesQuery"])
        assert f"`{metric}`" in known


def tracing(text: str) -> None:
    """The extra exists, and the settings are settings. test_tracing.py exports to a collector."""
    install, export, serve = lines_of(text)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert re.findall(r"\[(\w+)\]", install[-1]) == list(extras)
    settings("\n".join(word for word in export[1:] if word.startswith("INGEST_")))
    assert serve == ["ingest", "serve"]


PARSERS: Mapping[str, Parser] = {
    "adapter": adapter,
    "compose": compose,
    "console": console,
    "cosign": cosign,
    "debian": debian,
    "github": pipeline_of("vendor.github-workflows"),
    "gitlab": pipeline_of("vendor.gitlab-ci"),
    "helm": helm,
    "history": history,
    "ingest": ingest,
    "json": json.loads,
    "kubectl": kubectl,
    "locust": locust,
    "make": make,
    "python": ast.parse,
    "settings": settings,
    "toml": tomllib.loads,
    "tracing": tracing,
    "yaml": lambda text: list(yaml.safe_load_all(text)),
}
