"""Ctrl-C at the moments in which Python cannot stop cleanly: a process of its own interrupts itself there."""

import subprocess
import sys
import textwrap

import pytest

from ingest.cli.shell.ctrl_c import is_interrupt

BEGIN = """
import asyncio, os, signal
from ingest.interrupts import run_main

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)

async def work():
    print("began", flush=True)
    try:
        await asyncio.sleep(60)
    finally:
        print("ended", flush=True)
"""
WHILE_BUILT = """
class Loops(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self):
        interrupt()
        return super().new_event_loop()

asyncio.set_event_loop_policy(Loops())
"""
WHILE_CLOSED = """
class Loop(asyncio.SelectorEventLoop):
    def close(self):
        interrupt()
        print("closed", flush=True)
        super().close()

class Loops(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self):
        return Loop()

asyncio.set_event_loop_policy(Loops())

async def work():
    print("began", flush=True)
"""
RUN = """
try:
    run_main(work())
except KeyboardInterrupt:
    print("interrupted", signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""


@pytest.mark.parametrize(
    ("setting", "printed"),
    [
        (WHILE_BUILT, ["began", "ended", "interrupted set()"]),
        (WHILE_CLOSED, ["began", "closed", "interrupted set()"]),
    ],
    ids=["built", "closed"],
)
def test_loop_is_built_and_closed_whole(setting: str, printed: list[str]) -> None:
    program = BEGIN + setting + RUN

    done = subprocess.run(
        ["env", "--default-signal=INT", sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert (done.stdout.splitlines(), done.stderr, done.returncode) == (printed, "", 0)


def test_error_that_replaces_an_interrupt_is_one() -> None:
    program = textwrap.dedent(
        """
        class Field:
            def __set_name__(self, owner, name):
                raise KeyboardInterrupt

        class Frame:
            field = Field()
        """
    )

    with pytest.raises((RuntimeError, KeyboardInterrupt)) as raised:
        exec(program, {})

    assert is_interrupt(raised.value)
    assert not is_interrupt(RuntimeError("something else"))


def test_causes_of_an_error_may_go_in_a_circle() -> None:
    first, second = RuntimeError("first"), OSError("second")
    first.__cause__, second.__context__ = second, first

    assert not is_interrupt(first)
