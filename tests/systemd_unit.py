"""Reads the systemd unit in docs/, which the Debian package installs."""

import shlex
from configparser import ConfigParser

from tests.paths import DOCS

UNIT = DOCS / "systemd" / "call-events.service"


def read_unit() -> ConfigParser:
    parser = ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign] # as its documentation says
    parser.read_string(UNIT.read_text())
    return parser


def environment_of_unit() -> dict[str, str]:
    return dict(word.split("=", 1) for word in shlex.split(read_unit()["Service"]["Environment"]))
