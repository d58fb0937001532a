"""Ends a command after Ctrl-C. Imports nothing: an interrupted import leaves half a module behind."""

INTERRUPTED = 130
"""The exit code of a shell for a command that Ctrl-C ended."""
STOPPED = "ingest: stopped by Ctrl-C."


def is_interrupt(exc: BaseException | None) -> bool:
    """Tell whether Ctrl-C caused an error. An import or a clean-up may raise its own error instead."""
    while exc is not None and not isinstance(exc, KeyboardInterrupt):
        exc = exc.__cause__ or exc.__context__
    return exc is not None
