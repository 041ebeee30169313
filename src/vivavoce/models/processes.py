"""Work in processes of its own, so that it holds up nobody who listens to calls.

Python runs one thread of a process at a time, and half of what inference does is Python: features,
digests, what goes to and from ONNX Runtime. In a thread of the server it would make the event loop
wait thousands of times a second.
"""

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Processes:
    """A few processes, started when there is work and none is free.

    One that dies takes the others with it; all are replaced, and what was lost is done again once.
    """

    def __init__(self, begin: Callable[[], None], *, count: int) -> None:
        """Nothing is started yet.

        Args:
            begin: what a process does first; a function of a module, or a partial of one.
            count: processes at most.
        """
        self._begin = begin
        self._count = count
        self._executor: ProcessPoolExecutor = self._new()
        self._running = 0

    @property
    def waiting(self) -> int:
        """Pieces of work for which there is no process free."""
        return max(0, self._running - self._count)

    async def run(self, work: Callable[[Unpack[Ts]], T], *arguments: *Ts) -> T:
        """What a function gives, which is called in one of the processes.

        Args:
            work: a function of a module.
            arguments: for it; copies of them.

        Raises:
            Exception: what the function raises.
            BrokenProcessPool: the process died of it, twice.
        """
        self._running += 1
        try:
            executor = self._executor
            try:
                return await self._run(executor, work, *arguments)
            except BrokenProcessPool:
                if self._executor is executor:
                    self._executor: ProcessPoolExecutor = self._new()
                return await self._run(self._executor, work, *arguments)
        finally:
            self._running -= 1

    def close(self) -> None:
        """End the processes when what runs in them is done."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def kill(self) -> None:
        """End the processes at once; what runs in them is given up."""
        # The executor has no way to do so.
        for process in list((self._executor._processes or {}).values()):  # noqa: SLF001
            process.kill()
        self._executor.shutdown(wait=True, cancel_futures=True)

    @staticmethod
    async def _run(
        executor: ProcessPoolExecutor,
        work: Callable[[Unpack[Ts]], T],
        *arguments: *Ts,
    ) -> T:
        return await asyncio.get_running_loop().run_in_executor(executor, work, *arguments)

    def _new(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._count,
            # A fork would copy locks that threads of this process hold.
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(self._begin,),
        )


def _begin(begin: Callable[[], None]) -> None:
    # Ctrl-C and systemd signal all processes; this one ends when the server says so, or with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    begin()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
