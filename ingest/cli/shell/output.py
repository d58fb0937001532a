"""The only place that writes lines to the user. A client's value cannot control the user's terminal."""

import re
import sys
from io import TextIOWrapper

import click

_CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0, DEL and C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # they change the direction of text, and so its order on the screen
    "\u2028\u2029"  # line and paragraph separator
    "\ud800-\udfff]"  # surrogates, which no encoding can write
)
_OVERWRITE = "\r\x1b[K"
_BLANKS = str.maketrans("\t\r\n", "   ")


def visible(text: str) -> str:
    """Return one line, with each control character as JSON writes it: `\\u001b`."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def json_line(text: str) -> str:
    """Return a JSON text as one line with the same value.

    JSON has no raw control characters outside its strings, except for blanks. So each can be escaped as in a string.
    """
    return visible(text.translate(_BLANKS)).strip()


def say(line: str) -> None:
    """Write one line of the command's result."""
    click.echo(visible(line))


def warn(line: str) -> None:
    """Write one line beside the result, to standard error."""
    click.echo(visible(line), err=True)


def show(line: str) -> None:
    """Write a line to the terminal of standard error, in place of the one that `show` wrote before."""
    click.echo(_OVERWRITE + visible(line), err=True, nl=False)


def write_all_characters() -> None:
    """Let a terminal without UTF-8 show `\\u0259` for a character that it lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
