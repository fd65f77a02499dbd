"""The clock of the tests that measure: a pause of the machine does not count, one of ours does."""

import asyncio
import os
import signal
import subprocess
import sys
import time

from tests.pace import clock

MEASURE = """
import sys, time
from tests.pace import clock
began, really = clock(), time.monotonic()
print("go", flush=True)
while time.monotonic() - really < 1.5: time.sleep(0.01)
print(time.monotonic() - really, clock() - began)
"""


def test_a_pause_of_the_whole_process_does_not_count() -> None:
    with subprocess.Popen([sys.executable, "-c", MEASURE], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "go\n"
        os.kill(child.pid, signal.SIGSTOP)
        time.sleep(1.2)
        os.kill(child.pid, signal.SIGCONT)
        really, counted = map(float, child.stdout.readline().split())
    assert really - counted > 1


async def test_a_loop_that_is_held_up_does() -> None:
    began = clock()
    await asyncio.sleep(0)
    end = time.thread_time() + 0.3
    while time.thread_time() < end:  # work, which a busy machine may well make longer
        sum(range(100))
    assert clock() - began > 0.15
