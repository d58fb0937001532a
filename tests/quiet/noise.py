"""Lines above INFO that a planned operation may log, and why. Any other one is a finding."""

from collections.abc import Iterable, Mapping
from typing import Any

Line = tuple[str, str]
"""A logger and its message."""

CAUSES: Mapping[str, Mapping[Line, str]] = {}
"""Operation → line → cause. An operation that is not listed logs nothing above INFO."""
CALM = {"DEBUG", "INFO"}


def without_cause(operation: str, lines: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the lines above INFO that this operation has no cause for."""
    causes = CAUSES.get(operation, {})
    loud = [line for line in lines if str(line.get("level", "")).upper() not in CALM]
    return [line for line in loud if (line.get("logger", ""), line.get("message", "")) not in causes]
