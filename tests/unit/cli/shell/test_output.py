"""A client's value cannot control the terminal of the reader."""

import ast
import json
from pathlib import Path

import pytest

import ingest.cli
from ingest.cli.shell.output import json_line, visible

CONTROLS = [*range(0x20), *range(0x7F, 0xA0), 0x061C, *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xD800]
HOSTILE = "".join(map(chr, CONTROLS))
WRITERS = {"echo", "print", "secho"}


def test_each_control_character_is_shown_as_an_escape() -> None:
    assert visible("a\x1b[2J\u202eb") == "a\\u001b[2J\\u202eb"
    assert visible(HOSTILE).isprintable()
    assert visible(HOSTILE).count("\\u") == len(CONTROLS)


def test_other_text_stays_as_it_is() -> None:
    text = "Гусейн \u200c Əliyev 👩\u200d💻 C:\\temp"

    assert visible(text) == text


@pytest.mark.parametrize("indent", [None, "\t"])
def test_json_keeps_its_value_on_one_line(indent: str | None) -> None:
    value = {"call_id": HOSTILE, "Namə": ["\t", 1]}

    line = json_line(json.dumps(value, ensure_ascii=False, indent=indent))

    assert json.loads(line) == value
    assert line.isprintable()


def test_commands_write_by_this_module_only() -> None:
    found = []
    for file in Path(ingest.cli.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in WRITERS:
                found.append(file.name)
    assert set(found) == {"output.py"}
