"""Writes the Helm chart docs/kubernetes/chart from the manifests beside it. `--check` only compares.

A template is a manifest with some lines replaced, by the rules in `rules.py`. A rule that does not find its line is an
error, so a manifest cannot change without its chart. `values.yaml` has the manifests' own values as defaults.
"""

import re
import sys
from pathlib import Path
from typing import Any

import yaml
from fixed import fixed_files
from rules import FILES, VALUES, Manifest, Rule, Value

SOURCE = Path(__file__).resolve().parents[3] / "docs" / "kubernetes"
TARGET = SOURCE / "chart"
HEAD = "# `make chart` writes this file from docs/kubernetes{}. Change {} instead.\n"
VARIABLE = re.compile(r"\{\{.*?\}\}")


class RuleError(ValueError):
    """A rule does not fit its manifest any more."""


def applied(name: str, text: str, rule: Rule) -> str:
    """Return the text after one rule."""
    begin = re.escape(rule.line)
    if rule.block:
        indent = len(rule.line) - len(rule.line.lstrip())
        begin = f"(?m:^){begin}(?: {{{indent + 1},}}.*\n)*"
    changed, times = re.subn(begin, lambda _: rule.template, text)
    if times != rule.times:
        raise RuleError(f"A rule finds this {times} times in {name}, not {rule.times} times:\n{rule.line}")
    return changed


def template_of(manifest: Manifest, text: str) -> str:
    """Return the template of a manifest."""
    for rule in manifest.rules:
        text = applied(manifest.name, text, rule)
    for line in text.splitlines():
        if not line.startswith("#") and "call-events" in VARIABLE.sub("", line):
            raise RuleError(f"{manifest.name} has a name that no rule replaces: {line.strip()}")
    if manifest.condition:
        text = f"{{{{- if .Values.{manifest.condition} }}}}\n{text}{{{{- end }}}}\n"
    return HEAD.format(f"/{manifest.name}", "that file or .ci/release/chart/rules.py") + text


def value_at(path: str) -> Any:
    """Return what the first document of a manifest has at `file:key/key/0/key`. In a key, `~` stands for a slash."""
    file, _, keys = path.partition(":")
    found: Any = next(yaml.safe_load_all((SOURCE / file).read_text("utf-8")))
    for key in keys.split("/"):
        found = found[int(key)] if isinstance(found, list) else found[key.replace("~", "/")]
    return found


def values_file(values: tuple[Value, ...]) -> str:
    """Return `values.yaml`. Values of one group follow each other."""
    text, group = HEAD.format("", "the manifests or .ci/release/chart/rules.py"), ""
    for value in values:
        outer, _, name = value.name.rpartition(".")
        if outer != group:
            text += f"{outer}:\n" if outer else ""
            group = outer
        default = value_at(value.source) if value.source else value.default
        lines = [f"# {value.comment}"] if value.comment else []
        lines += yaml.safe_dump({name: default}, sort_keys=False).splitlines()
        text += "".join(f"{'  ' if outer else ''}{line}\n" for line in lines)
    return text


def chart() -> dict[str, str]:
    """Return the chart's files: path below `TARGET` → text."""
    files = fixed_files(value_at("kustomization.yaml:images/0/newTag"))
    files["values.yaml"] = values_file(VALUES)
    for manifest in FILES:
        files[f"templates/{manifest.name}"] = template_of(manifest, (SOURCE / manifest.name).read_text("utf-8"))
    return files


def main() -> int:
    files = chart()
    if "--check" in sys.argv:
        there = {str(path.relative_to(TARGET)): path.read_text("utf-8") for path in TARGET.rglob("*") if path.is_file()}
        differing = sorted(name for name in files.keys() | there.keys() if files.get(name) != there.get(name))
        if differing:
            sys.stderr.write(f"Not as `make chart` writes them: {', '.join(differing)}\n")
        return 1 if differing else 0
    for name, text in files.items():
        (TARGET / name).parent.mkdir(parents=True, exist_ok=True)
        (TARGET / name).write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
