"""The file of `--env-file`: what it may hold, and what is refused with file and line."""

from pathlib import Path

import pytest

from ingest.cli.shell.env_file import FILE_BYTES_MAX, apply_env_file, read_env_file
from ingest.errors import SettingsError

SECRET = "a-secret"


def written(folder: Path, content: bytes) -> Path:
    file = folder / "service.env"
    file.write_bytes(content)
    return file


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("NAME=8000", "8000"),
        ("  NAME=8000  \r", "8000"),
        ("NAME=", ""),
        ('NAME="two words # and no comment"', "two words # and no comment"),
        (r'NAME="a \"quote\", \$1 and C:\temp"', r'a "quote", $1 and C:\temp'),
        (r"NAME='C:\temp \"x\"'", r"C:\temp \"x\""),
        ("NAME=mysql://u:p%23@db/calls?ssl-mode=REQUIRED#x", "mysql://u:p%23@db/calls?ssl-mode=REQUIRED#x"),
        ("NAME=Gəncə", "Gəncə"),
    ],
)
def test_value_is_read(tmp_path: Path, line: str, value: str) -> None:
    content = f"\ufeff# a comment\n; another\n\nNAME=earlier\n{line}\n"

    assert read_env_file(written(tmp_path, content.encode())) == {"NAME": value}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"export NAME=a-secret", "without `export`"),
        (b"NAME = a-secret", "no space before the equals sign"),
        (b"a-secret", "write NAME=value"),
        (b"1NAME=a-secret", "write NAME=value"),
        (b"NAME='a-secret", "the quotes do not end"),
        (b'NAME="a-secret" # comment', "or text follows them"),
        (b"NAME=a-secret # comment", "a comment needs its own line"),
        (b"NAME=a-secret\\n", "a backslash needs single quotes"),
        (b"NAME=a-secret\0", "zero byte"),
        (b"NAME=a-secret\xff", "not UTF-8"),
    ],
)
def test_doubtful_line_is_refused_without_its_value(tmp_path: Path, line: bytes, said: str) -> None:
    file = written(tmp_path, b"GOOD=1\n\n" + line + b"\n")

    with pytest.raises(SettingsError) as refused:
        read_env_file(file)

    assert str(refused.value).startswith(f"{file}:3: ")
    assert said in str(refused.value)
    assert SECRET not in str(refused.value)


def test_file_that_is_missing_no_file_or_too_large_is_refused(tmp_path: Path) -> None:
    large = written(tmp_path, b"#" * (FILE_BYTES_MAX + 1))

    for path, said in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory"), (large, "more than")):
        with pytest.raises(SettingsError, match=said):
            read_env_file(path)


def test_environment_wins_and_the_difference_is_told(tmp_path: Path) -> None:
    environ = {"SAME": "1", "OTHER": "1", "EMPTY": ""}

    others = apply_env_file(written(tmp_path, b"SAME=1\nOTHER=2\nEMPTY=2\nNEW=3\n"), environ)

    assert (others, environ) == (["OTHER", "EMPTY"], {"SAME": "1", "OTHER": "1", "EMPTY": "", "NEW": "3"})
