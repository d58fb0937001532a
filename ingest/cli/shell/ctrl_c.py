"""Ends a command after Ctrl-C. Imports nothing: an interrupted import leaves half a module behind."""

INTERRUPTED = 130
"""The exit code of a shell for a command that Ctrl-C ended."""
STOPPED = "ingest: stopped by Ctrl-C."


def is_interrupt(exc: BaseException) -> bool:
    """Tell whether Ctrl-C caused an error. An import or a clean-up may raise its own error instead."""
    chain = [exc]
    for one in chain:  # each once: causes and contexts may go in a circle
        chain += [other for other in (one.__cause__, one.__context__) if other is not None and other not in chain]
    return any(isinstance(one, KeyboardInterrupt) for one in chain)
