import asyncio
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vivavoce.models.batch import MicroBatcher


class Engine:
    """Sums each window; keeps the size of every batch; fails on a window that holds nan."""

    def __init__(self, delay_s=0.0):
        self.sizes = []
        self.delay_s = delay_s
        self.running = self.most_running = 0
        self.lock = threading.Lock()

    def __call__(self, windows):
        with self.lock:
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            self.sizes.append(len(windows))
        time.sleep(self.delay_s)
        with self.lock:
            self.running -= 1
        if np.isnan(windows).any():
            raise ValueError("poison")
        return windows.sum(axis=(1, 2))[:, np.newaxis]


def windows(*values, frames=2):
    return np.stack([np.full((frames, 3), value, np.float32) for value in values])


def with_batcher(scenario, engine=None, **options):
    """Run a scenario on a batcher that is closed afterwards; gives its result and the engine."""
    engine = engine or Engine()

    async def main():
        batcher = MicroBatcher(engine, **options)
        try:
            return await asyncio.wait_for(scenario(batcher), timeout=20)
        finally:
            await asyncio.wait_for(batcher.aclose(), timeout=20)

    return asyncio.run(main()), engine


def test_callers_at_the_same_time_share_a_batch():
    async def scenario(batcher):
        return await asyncio.gather(*(batcher.run(windows(i)) for i in range(8)))

    answers, engine = with_batcher(scenario, max_batch=16, max_wait_ms=20)
    assert [answer.tolist() for answer in answers] == [[[6.0 * i]] for i in range(8)]
    assert engine.sizes == [8]


def test_a_full_batch_does_not_wait():
    async def scenario(batcher):
        start = time.monotonic()
        await asyncio.gather(*(batcher.run(windows(i)) for i in range(8)))
        return time.monotonic() - start

    elapsed_s, engine = with_batcher(scenario, max_batch=4, max_wait_ms=5000)
    assert engine.sizes == [4, 4]
    assert elapsed_s < 2


def test_a_lonely_window_leaves_after_the_wait():
    async def scenario(batcher):
        start = time.monotonic()
        await batcher.run(windows(1))
        return time.monotonic() - start

    elapsed_s, engine = with_batcher(scenario, max_batch=16, max_wait_ms=50)
    assert 0.045 < elapsed_s < 2
    assert engine.sizes == [1]


def test_more_windows_than_a_batch_are_cut_and_put_together_again():
    async def scenario(batcher):
        return await batcher.run(windows(*range(11)))

    answer, engine = with_batcher(scenario, max_batch=4, max_wait_ms=1)
    assert answer[:, 0].tolist() == [6.0 * i for i in range(11)]
    assert sum(engine.sizes) == 11
    assert max(engine.sizes) <= 4


def test_windows_of_other_lengths_go_in_other_batches():
    async def scenario(batcher):
        return await asyncio.gather(
            *(batcher.run(windows(1, frames=2 + i % 2)) for i in range(6)),
        )

    answers, engine = with_batcher(scenario, max_batch=16, max_wait_ms=10)
    assert [float(answer[0, 0]) for answer in answers] == [6.0, 9.0] * 3
    assert sorted(engine.sizes) == [3, 3]


def test_a_failure_reaches_only_the_caller_that_caused_it():
    async def scenario(batcher):
        return await asyncio.gather(
            *(batcher.run(windows(value)) for value in (1, float("nan"), 3)),
            return_exceptions=True,
        )

    answers, _ = with_batcher(scenario, max_batch=16, max_wait_ms=10)
    first, poisoned, last = answers
    assert isinstance(poisoned, ValueError)
    assert not isinstance(first, BaseException)
    assert not isinstance(last, BaseException)
    assert (float(first[0, 0]), float(last[0, 0])) == (6.0, 18.0)


def test_a_failure_leaves_the_batcher_working():
    async def scenario(batcher):
        with pytest.raises(ValueError, match="poison"):
            await batcher.run(windows(float("nan")))
        return await batcher.run(windows(2))

    answer, _ = with_batcher(scenario, max_wait_ms=1)
    assert float(answer[0, 0]) == 12.0


def test_an_engine_that_loses_rows_is_an_error():
    async def scenario(batcher):
        with pytest.raises(RuntimeError, match="0 rows for 1"):
            await batcher.run(windows(1))

    with_batcher(scenario, engine=lambda batch: batch[:0, :, 0], max_wait_ms=1)


def test_a_caller_that_gives_up_does_not_disturb_the_others():
    async def scenario(batcher):
        leaving = asyncio.ensure_future(batcher.run(windows(1, 2, 3)))
        staying = asyncio.ensure_future(batcher.run(windows(4)))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        return await staying

    answer, engine = with_batcher(scenario, max_batch=8, max_wait_ms=20)
    assert float(answer[0, 0]) == 24.0
    assert engine.sizes == [1]


def test_a_caller_may_give_up_while_the_engine_runs():
    async def scenario(batcher):
        leaving = asyncio.ensure_future(batcher.run(windows(1)))
        await asyncio.sleep(0.03)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        return await batcher.run(windows(2))

    answer, _ = with_batcher(scenario, engine=Engine(delay_s=0.08), max_wait_ms=1)
    assert float(answer[0, 0]) == 12.0


def test_the_number_that_waits_is_bounded_and_the_rest_wait_their_turn():
    seen = []

    async def scenario(batcher):
        callers = [asyncio.ensure_future(batcher.run(windows(i))) for i in range(30)]
        while not all(caller.done() for caller in callers):
            seen.append(len(batcher._waiting))
            await asyncio.sleep(0.001)
        return [float(caller.result()[0, 0]) for caller in callers]

    answers, _ = with_batcher(
        scenario, engine=Engine(delay_s=0.005), max_batch=2, max_wait_ms=1, max_waiting=3
    )
    assert answers == [6.0 * i for i in range(30)]
    assert 0 < max(seen) <= 3


@pytest.mark.parametrize("threads", [1, 2])
def test_batches_run_side_by_side_up_to_the_number_of_threads(threads):
    async def scenario(batcher):
        await asyncio.gather(*(batcher.run(windows(i)) for i in range(6)))

    _, engine = with_batcher(
        scenario, engine=Engine(delay_s=0.05), max_batch=1, max_wait_ms=1, threads=threads
    )
    assert engine.most_running == threads


def test_closing_answers_those_who_are_there_and_refuses_others():
    async def main():
        batcher = MicroBatcher(Engine(delay_s=0.02), max_batch=2, max_wait_ms=10_000, max_waiting=2)
        callers = [asyncio.ensure_future(batcher.run(windows(i))) for i in range(7)]
        await asyncio.sleep(0)
        await batcher.aclose()
        answers = await asyncio.gather(*callers)
        with pytest.raises(RuntimeError, match="closed"):
            await batcher.run(windows(1))
        return [float(answer[0, 0]) for answer in answers]

    assert asyncio.run(asyncio.wait_for(main(), 20)) == [6.0 * i for i in range(7)]


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    max_batch=st.integers(1, 6),
    max_waiting=st.integers(1, 4),
    threads=st.integers(1, 3),
)
def test_everybody_gets_the_answer_to_their_own_windows(sizes, max_batch, max_waiting, threads):
    async def scenario(batcher):
        return await asyncio.gather(
            *(
                batcher.run(windows(*range(100 * caller, 100 * caller + size), frames=1 + size % 2))
                for caller, size in enumerate(sizes)
            )
        )

    answers, engine = with_batcher(
        scenario, max_batch=max_batch, max_wait_ms=1, max_waiting=max_waiting, threads=threads
    )
    for caller, (size, answer) in enumerate(zip(sizes, answers, strict=True)):
        expected = 3.0 * (1 + size % 2) * np.arange(100 * caller, 100 * caller + size)
        np.testing.assert_allclose(answer[:, 0], expected)
    assert max(engine.sizes) <= max_batch
    assert sum(engine.sizes) == sum(sizes)
