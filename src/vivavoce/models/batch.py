"""Many calls share one engine: their windows are gathered into batches.

A batch leaves when it is full, or when its oldest window has waited `max_wait_ms`. The engine runs
in threads (ONNX Runtime releases the interpreter lock), so the event loop goes on.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from vivavoce.audio.arrays import Floats

Engine = Callable[[Floats], Floats]
"""(n, frames, bands) to (n, dimension); row i of the output belongs to row i of the input."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Piece:
    """Windows of one caller that go into one batch."""

    windows: Floats
    due_s: float
    answer: asyncio.Future[Floats]


class MicroBatcher:
    """Gathers the windows of many callers for one engine.

    At most `max_waiting` pieces wait for the engine; a further caller waits its turn before its
    windows are taken, so memory is bounded by the callers themselves.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        max_batch: int = 16,
        max_wait_ms: float = 5.0,
        max_waiting: int = 64,
        threads: int = 1,
    ) -> None:
        """Prepare; nothing runs before the first call of `run`.

        Args:
            engine: run in one of the threads, by several at a time if there are several.
            max_batch: windows in a batch, at least 1.
            max_wait_ms: how long a window may wait for company.
            max_waiting: pieces (up to `max_batch` windows of one caller) that may wait.
            threads: batches that may run at the same time.
        """
        self._engine = engine
        self._max_batch = max_batch
        self._max_wait_s = max_wait_ms / 1000
        self._places = asyncio.Semaphore(max_waiting)
        self._waiting: deque[_Piece] = deque()
        self._free_threads = threads
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="engine")
        self._batches: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._callers = 0
        self._closing = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def waiting(self) -> int:
        """Pieces that wait for a free thread or for company."""
        return len(self._waiting)

    async def run(self, windows: Floats) -> Floats:
        """The engine's answer for windows, (n, frames, bands): shape (n, dimension), n at least 1.

        Raises:
            RuntimeError: the batcher is closed, or the engine gave another number of rows.
            Exception: whatever the engine raises for these windows; other callers do not see it.
        """
        if self._closing:
            raise RuntimeError("the batcher is closed")
        self._callers += 1
        self._idle.clear()
        answers: list[asyncio.Future[Floats]] = []
        try:
            for start in range(0, len(windows), self._max_batch):
                await self._places.acquire()
                answers.append(self._enter(windows[start : start + self._max_batch]))
            return np.concatenate(await asyncio.gather(*answers))
        finally:
            for answer in answers:
                _drop(answer)
            self._callers -= 1
            if self._callers == 0:
                self._idle.set()

    async def aclose(self) -> None:
        """Refuse new callers, answer those that are there, and stop the threads."""
        self._closing = True
        self._dispatch()
        await self._idle.wait()
        await asyncio.gather(*self._batches)
        if self._timer is not None:
            self._timer.cancel()
        self._executor.shutdown()

    def _enter(self, windows: Floats) -> asyncio.Future[Floats]:
        loop = asyncio.get_running_loop()
        piece = _Piece(
            windows=windows,
            due_s=loop.time() + self._max_wait_s,
            answer=loop.create_future(),
        )
        self._waiting.append(piece)
        self._dispatch()
        return piece.answer

    def _dispatch(self) -> None:
        """Start every batch that is ready and for which there is a thread."""
        loop = asyncio.get_running_loop()
        while self._waiting and self._free_threads:
            batch, full = self._next_batch()
            due_s = batch[0].due_s
            if not (full or self._closing or loop.time() >= due_s):
                if self._timer is None:
                    self._timer = loop.call_at(due_s, self._on_timer)
                return
            for piece in batch:
                self._waiting.remove(piece)
                self._places.release()
            self._free_threads -= 1
            task = loop.create_task(self._run_batch(batch))
            self._batches.add(task)
            task.add_done_callback(self._batches.discard)

    def _on_timer(self) -> None:
        self._timer = None
        self._dispatch()

    def _next_batch(self) -> tuple[list[_Piece], bool]:
        """The oldest piece and those that fit to it; and whether there is no room for more."""
        shape = self._waiting[0].windows.shape[1:]
        batch: list[_Piece] = []
        rows = 0
        for piece in self._waiting:
            if piece.windows.shape[1:] != shape:
                continue
            if rows + len(piece.windows) > self._max_batch:
                return batch, True
            batch.append(piece)
            rows += len(piece.windows)
        return batch, rows == self._max_batch

    async def _run_batch(self, batch: list[_Piece]) -> None:
        try:
            wanted = [piece for piece in batch if not piece.answer.done()]
            if wanted and not await self._try(wanted):
                # One of them spoils it for all: each alone, so that only that one fails.
                for piece in wanted:
                    await self._try([piece])
        finally:
            self._free_threads += 1
            self._dispatch()

    def _infer(self, windows: Floats) -> Floats:
        rows = self._engine(windows)
        if len(rows) != len(windows):
            raise RuntimeError(f"the engine gave {len(rows)} rows for {len(windows)} windows")
        return rows

    async def _try(self, batch: list[_Piece]) -> bool:
        """Run a batch; answer its pieces, or say False if it failed with several in it."""
        loop = asyncio.get_running_loop()
        stacked = np.concatenate([piece.windows for piece in batch])
        try:
            rows = await loop.run_in_executor(self._executor, self._infer, stacked)
        except Exception as error:  # noqa: BLE001 - it belongs to the caller, whatever it is
            if len(batch) > 1:
                return False
            if not batch[0].answer.done():
                batch[0].answer.set_exception(error)
            return True
        start = 0
        for piece in batch:
            end = start + len(piece.windows)
            if not piece.answer.done():
                piece.answer.set_result(rows[start:end])
            start = end
        return True


def _drop(answer: asyncio.Future[Floats]) -> None:
    """Nobody waits for this answer any more."""
    if not answer.cancel() and not answer.cancelled():
        answer.exception()  # Looked at, or asyncio would complain that nobody did.
