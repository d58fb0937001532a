"""Blocks SIGTERM and SIGINT while a starting worker would lose them.

A worker would lose a signal twice. The first time is after the fork, until it removes the supervisor's handlers: Python
forgets signals until then. The second time is until its own handlers exist: uvloop ignores Granian's handlers while its
loop does not run. The kernel keeps a blocked signal pending, and delivers it when it is unblocked.
"""

import os
import signal

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def hold_back() -> None:
    """Block the signals for this thread and the threads and processes that it starts. Repeated calls do nothing."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)


def let_through() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def obey_in_forked() -> None:
    """Make a stop signal end each forked process until the process has its own handlers."""
    os.register_at_fork(before=hold_back, after_in_parent=let_through, after_in_child=_obey)


def _obey() -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    let_through()
