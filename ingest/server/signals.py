"""SIGTERM and SIGINT reach a worker from its first moment on: where nobody hears them, they are held back.

Two such places: a forked process, before it has put the supervisor's handlers away (Python forgets what comes until
then), and between Granian's handlers, which uvloop leaves unheard while it does not run, and the worker's own.
A signal that is held back stays pending in the kernel, and comes when it is let through.
"""

import os
import signal

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def hold_back() -> None:
    """For this thread, and what it makes. Holding back what is held back does nothing."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)


def let_through() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def obey_in_forked() -> None:
    """From now on a process that is forked ends by a stop signal until it has handlers of its own."""
    os.register_at_fork(before=hold_back, after_in_parent=let_through, after_in_child=_obey)


def _obey() -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    let_through()
