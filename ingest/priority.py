"""Maintenance on the machine of a service."""

import os

LEAST = 19
"""Of Unix: whoever else wants the CPU gets it."""


def let_events_pass() -> None:
    """Take only the CPU time that nobody else wants, this process from now on."""
    os.nice(LEAST)
