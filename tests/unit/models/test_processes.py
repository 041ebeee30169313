import asyncio
import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import pytest

from vivavoce.models.processes import Processes

pytestmark = pytest.mark.anyio

PARENT = """
import asyncio, os, sys
from vivavoce.models.processes import Processes
from tests.unit.models.test_processes import begin, number

if __name__ == "__main__":
    print(asyncio.run(Processes(begin, count=1).run(number)), flush=True)
    sys.stdin.read()
"""


def begin():
    os.environ["BEGUN"] = "yes"


def number():
    assert os.environ["BEGUN"] == "yes"
    return os.getpid()


def fail():
    raise LookupError("as asked")


def die_once(mark):
    """Die as a process does for which there is no memory, but not the second time."""
    if not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def wait(seconds):
    time.sleep(seconds)
    return os.getpid()


@pytest.fixture
def processes():
    processes = Processes(begin, count=2)
    yield processes
    processes.close()


async def test_work_is_done_elsewhere_after_what_comes_first(processes):
    assert await processes.run(number) != os.getpid()


async def test_there_are_no_more_processes_than_allowed(processes):
    done = await asyncio.gather(*(processes.run(wait, 0.2) for _ in range(6)))
    assert len(set(done)) <= 2


async def test_what_waits_is_told(processes):
    working = [asyncio.create_task(processes.run(wait, 0.2)) for _ in range(5)]
    await asyncio.sleep(0.05)
    assert processes.waiting == 3
    await asyncio.gather(*working)
    assert processes.waiting == 0


async def test_what_work_raises_is_raised_here(processes):
    with pytest.raises(LookupError, match="as asked"):
        await processes.run(fail)
    assert await processes.run(number)


async def test_a_process_that_dies_is_replaced_and_its_work_is_done_again(processes, tmp_path):
    before = await processes.run(number)
    others = [asyncio.create_task(processes.run(wait, 0.3)) for _ in range(2)]
    assert await processes.run(die_once, str(tmp_path / "died")) != before
    assert all(await asyncio.gather(*others))


async def test_work_that_kills_every_process_is_given_up_and_other_work_goes_on(processes):
    with pytest.raises(BrokenProcessPool):
        await processes.run(die)
    assert await processes.run(number)


async def test_signals_to_all_are_left_to_the_server(processes):
    process = await processes.run(number)
    os.kill(process, signal.SIGINT)
    os.kill(process, signal.SIGTERM)
    await asyncio.sleep(0.2)
    assert await processes.run(number) == process


def test_a_process_ends_with_the_server_however_that_dies(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
    until = time.monotonic() + 20
    while _is_running(child):
        assert time.monotonic() < until, "it goes on"
        time.sleep(0.05)


def _is_running(process):
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_nothing_is_started_before_there_is_work():
    Processes(partial(begin), count=2).close()
