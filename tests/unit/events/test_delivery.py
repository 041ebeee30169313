import asyncio
import logging
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.clock import SystemClock
from vivavoce.errors import DeliveryFailed, SinkBusy
from vivavoce.events.delivery import LONGEST_PAUSE_S, DeliveryWorker, Patience
from vivavoce.store.outbox import LONGEST_PAUSE_MS

pytestmark = pytest.mark.anyio

QUICK = Patience(first_s=0.01, longest_s=0.02, attempts=5)


@dataclass(frozen=True, kw_only=True)
class Event:
    sequence: int
    resource: str
    event_id: str
    created_ms: int
    body: str = "{}"
    attempts: int = 0
    next_attempt_ms: int = 0


class SetClock:
    """A clock that runs, and can be set."""

    def __init__(self):
        self.off_ms = 0

    def now_ms(self):
        return SystemClock().now_ms() + self.off_ms


class MemoryOutbox:
    """An outbox of one sink."""

    def __init__(self):
        self.waiting = {}
        self.dead = {}
        self.broken = False
        self.empty = asyncio.Event()

    def add(self, event_id, *, age_s=0.0):
        """Its resource is the first letter of its id."""
        number = len(self.waiting) + len(self.dead) + 1
        created_ms = SystemClock().now_ms() - round(age_s * 1000)
        self.waiting[number] = Event(
            sequence=number, resource=event_id[0], event_id=event_id, created_ms=created_ms
        )
        return number

    def _fail_if_broken(self):
        if self.broken:
            raise OSError("no space left")

    async def due(self, sink, *, now_ms, limit):
        self._fail_if_broken()
        heads = {}
        for event in sorted(self.waiting.values(), key=lambda event: event.sequence):
            heads.setdefault(event.resource, event)
        latest_ms = now_ms + LONGEST_PAUSE_MS
        return [
            event for event in heads.values() if not now_ms < event.next_attempt_ms <= latest_ms
        ][:limit]

    async def delivered(self, sequence):
        self._fail_if_broken()
        gone = self.waiting.pop(sequence)
        if not self.waiting:
            self.empty.set()
        following = [event for event in self.waiting.values() if event.resource == gone.resource]
        return min(following, key=lambda event: event.sequence, default=None)

    async def failed(self, sequence, error, *, next_attempt_ms):
        event = self.waiting[sequence]
        self.waiting[sequence] = replace(
            event, attempts=event.attempts + 1, next_attempt_ms=next_attempt_ms
        )

    async def bury(self, sequence, error):
        self.dead[sequence] = (self.waiting.pop(sequence), error)
        if not self.waiting:
            self.empty.set()


class ScriptedSink:
    """Takes events, except where the script says what to raise first."""

    name = "scripted"

    def __init__(self, **script):
        self.script = script  # by event id: errors, one an attempt
        self.tried = []
        self.taken = []
        self.running = 0
        self.most_running = 0
        self.closed = False
        self.held = asyncio.Event()
        self.held.set()

    async def deliver(self, event_id, body):
        self.tried.append(event_id)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.held.wait()
            await asyncio.sleep(0)
            if self.script.get(event_id):
                raise self.script[event_id].pop(0)
            self.taken.append(event_id)
        finally:
            self.running -= 1

    async def close(self):
        self.closed = True


@pytest.fixture
def outbox():
    return MemoryOutbox()


async def until(condition):
    while not condition():  # noqa: ASYNC110 - what is waited for has no event to wait on
        await asyncio.sleep(0)


async def run_until_empty(outbox, sink, **options):
    worker = make(outbox, sink, **options)
    worker.start()
    async with asyncio.timeout(5):
        await outbox.empty.wait()
    await worker.stop(grace_s=1)
    return worker


def make(outbox, sink, *, patience=QUICK, clock=None, **options):
    clock = clock or SystemClock()
    return DeliveryWorker(sink, outbox=outbox, clock=clock, patience=patience, **options)


async def test_events_of_one_resource_arrive_in_order(outbox):
    sink = ScriptedSink()
    wanted = [f"{resource}{number}" for number in range(20) for resource in "abc"]
    for event_id in wanted:
        outbox.add(event_id)
    await run_until_empty(outbox, sink)
    for resource in "abc":
        ours = [event_id for event_id in sink.taken if event_id[0] == resource]
        assert ours == [event_id for event_id in wanted if event_id[0] == resource]


async def test_a_failed_event_is_tried_again_before_those_behind_it(outbox):
    sink = ScriptedSink(a1=[DeliveryFailed("no"), DeliveryFailed("still no")])
    for event_id in ("a1", "a2", "b1"):
        outbox.add(event_id)
    await run_until_empty(outbox, sink)
    assert [event_id for event_id in sink.tried if event_id[0] == "a"] == ["a1"] * 3 + ["a2"]
    assert sink.taken[0] == "b1"


async def test_a_final_refusal_is_not_tried_again_and_lets_the_next_pass(outbox):
    sink = ScriptedSink(a1=[DeliveryFailed("gone", is_final=True)])
    first = outbox.add("a1")
    outbox.add("a2")
    await run_until_empty(outbox, sink)
    assert sink.tried == ["a1", "a2"]
    assert outbox.dead[first][1] == "gone"


async def test_after_so_many_attempts_an_event_is_given_up(outbox, caplog):
    sink = ScriptedSink(a1=[DeliveryFailed("no") for _ in range(99)])
    first = outbox.add("a1")
    outbox.add("a2")
    await run_until_empty(outbox, sink)
    assert sink.tried == ["a1"] * QUICK.attempts + ["a2"]
    assert list(outbox.dead) == [first]
    assert "given up after 5 attempts" in caplog.text


async def test_an_old_event_gets_a_fair_try_before_it_is_given_up(outbox):
    patience = Patience(first_s=0.001, longest_s=0.001, age_s=60, least_attempts=3)
    sink = ScriptedSink(a1=[DeliveryFailed("no") for _ in range(99)])
    outbox.add("a1", age_s=3600)
    await run_until_empty(outbox, sink, patience=patience)
    assert sink.tried == ["a1"] * 3


async def test_a_sink_that_fails_in_its_own_way_is_survived(outbox, caplog):
    sink = ScriptedSink(a1=[ZeroDivisionError("secret")])
    outbox.add("a1")
    await run_until_empty(outbox, sink)
    assert sink.taken == ["a1"]
    assert "nobody thought of" in caplog.text


async def test_a_sink_that_is_down_is_asked_with_one_event_at_a_time(outbox):
    down = [SinkBusy("down") for _ in range(3)]
    sink = ScriptedSink(a=down)
    outbox.add("a")
    worker = make(outbox, sink)
    worker.start()
    async with asyncio.timeout(5):
        await until(lambda: not down)
    for resource in "bcdefg":
        outbox.add(resource)
    sink.most_running = 0
    async with asyncio.timeout(5):
        while not sink.taken:
            assert sink.most_running <= 1
            await asyncio.sleep(0)
        await outbox.empty.wait()
    await worker.stop(grace_s=1)
    assert sorted(sink.taken) == list("abcdefg")


async def test_failures_at_the_same_time_are_one_trouble(outbox):
    sink = ScriptedSink(**{letter: [SinkBusy("down")] for letter in "abcdefgh"})
    for letter in "abcdefgh":
        outbox.add(letter)
    # Were each of the eight counted, the sink would be left alone for 2.56 s and more.
    patience = Patience(first_s=0.02, longest_s=60)
    worker = make(outbox, sink, patience=patience, chance=lambda: 1.0)
    worker.start()
    async with asyncio.timeout(1.0):
        await outbox.empty.wait()
    await worker.stop(grace_s=1)


async def test_a_sink_that_names_a_time_is_left_alone_until_then(outbox):
    sink = ScriptedSink(a1=[SinkBusy("busy", after_s=0.15)])
    outbox.add("a1")
    outbox.add("b1")
    worker = make(outbox, sink, concurrency=1)
    worker.start()
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    await until(lambda: sink.tried)
    worker.news()
    async with asyncio.timeout(5):
        await outbox.empty.wait()
    assert loop.time() - started_s >= 0.14
    await worker.stop(grace_s=1)
    assert sink.tried == ["a1", "a1", "b1"]


@pytest.mark.parametrize(
    "error", [DeliveryFailed("no"), SinkBusy("down")], ids=["the event", "the sink"]
)
@pytest.mark.parametrize("by_ms", [-(10**11), 10**11], ids=["back", "ahead"])
async def test_a_clock_that_is_set_does_not_stop_delivery(outbox, error, by_ms):
    clock = SetClock()
    sink = ScriptedSink(a1=[error])
    for event_id in ("a1", "a2", "b1"):
        outbox.add(event_id)
    worker = make(outbox, sink, clock=clock)
    worker.start()
    async with asyncio.timeout(2):
        await until(lambda: outbox.waiting[1].attempts)
        clock.off_ms = by_ms
        await outbox.empty.wait()
    await worker.stop(grace_s=1)
    assert sorted(sink.taken) == ["a1", "a2", "b1"]


async def test_an_event_behind_one_that_was_put_off_before_the_clock_was_set_back_follows(outbox):
    sink = ScriptedSink()
    outbox.add("a1")
    second = outbox.add("a2")
    outbox.waiting[second] = replace(
        outbox.waiting[second], next_attempt_ms=SystemClock().now_ms() + 10**11
    )
    await run_until_empty(outbox, sink)
    assert sink.taken == ["a1", "a2"]


async def test_a_clock_that_is_set_ahead_does_not_end_the_pause_of_a_sink(outbox):
    clock = SetClock()
    sink = ScriptedSink(a1=[SinkBusy("busy", after_s=0.15)])
    outbox.add("a1")
    worker = make(outbox, sink, clock=clock)
    worker.start()
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    async with asyncio.timeout(5):
        await until(lambda: outbox.waiting[1].attempts)
        clock.off_ms = 10**11
        worker.news()
        await outbox.empty.wait()
    assert loop.time() - started_s >= 0.14
    await worker.stop(grace_s=1)


async def test_no_event_is_put_off_further_than_the_outbox_believes(outbox):
    assert LONGEST_PAUSE_S * 1000 == LONGEST_PAUSE_MS
    sink = ScriptedSink(a1=[SinkBusy("never again", after_s=1e9)])
    outbox.add("a1")
    worker = make(outbox, sink)
    worker.start()
    async with asyncio.timeout(5):
        await until(lambda: outbox.waiting[1].attempts)
    assert outbox.waiting[1].next_attempt_ms <= SystemClock().now_ms() + LONGEST_PAUSE_MS
    await worker.stop(grace_s=1)
    patience = Patience(first_s=1e9, longest_s=1e9)
    assert patience.delay_s(1, chance=1.0) == LONGEST_PAUSE_S


async def test_a_sink_that_comes_back_is_used_in_full_again(outbox):
    sink = ScriptedSink(a1=[SinkBusy("down")])
    outbox.add("a1")
    worker = make(outbox, sink, concurrency=4)
    worker.start()
    async with asyncio.timeout(5):
        await outbox.empty.wait()
    outbox.empty.clear()
    sink.held.clear()
    for resource in "bcdefg":
        outbox.add(resource)
    worker.news()
    async with asyncio.timeout(5):
        await until(lambda: sink.running == 4)
    for _ in range(10):
        await asyncio.sleep(0)
    assert sink.most_running == 4
    sink.held.set()
    await worker.stop(grace_s=1)


async def test_news_wake_the_worker(outbox):
    sink = ScriptedSink()
    worker = make(outbox, sink)
    worker.start()
    await asyncio.sleep(0.02)
    outbox.add("a1")
    worker.news()
    async with asyncio.timeout(1):
        await outbox.empty.wait()
    await worker.stop(grace_s=1)


async def test_an_event_whose_delivery_could_not_be_noted_is_delivered_again(outbox, caplog):
    sink = ScriptedSink()
    sink.held.clear()
    outbox.add("a1")
    worker = make(outbox, sink)
    worker.start()
    async with asyncio.timeout(5):
        await until(lambda: sink.tried)
        outbox.broken = True
        sink.held.set()
        await until(lambda: sink.taken)
        await asyncio.sleep(0.1)
        # Not over and over again: the database may be broken for long.
        assert len(sink.taken) == 1
        outbox.broken = False
        await outbox.empty.wait()
    await worker.stop(grace_s=1)
    assert sink.taken == ["a1", "a1"]
    assert "no space left" in caplog.text


async def test_stopping_lets_what_runs_finish_and_begins_nothing_more(outbox):
    sink = ScriptedSink()
    sink.held.clear()
    outbox.add("a1")
    outbox.add("a2")
    worker = make(outbox, sink)
    worker.start()
    await until(lambda: sink.tried)
    stopping = asyncio.create_task(worker.stop(grace_s=5))
    await asyncio.sleep(0.02)
    assert not sink.closed
    sink.held.set()
    async with asyncio.timeout(1):
        await stopping
    assert sink.taken == ["a1"]
    assert sink.closed
    assert [event.event_id for event in outbox.waiting.values()] == ["a2"]


async def test_a_delivery_that_does_not_finish_is_cut_off_and_kept(outbox):
    sink = ScriptedSink()
    sink.held.clear()
    outbox.add("a1")
    worker = make(outbox, sink)
    worker.start()
    await until(lambda: sink.tried)
    async with asyncio.timeout(1):
        await worker.stop(grace_s=0.01)
    assert sink.running == 0
    assert sink.closed
    assert len(outbox.waiting) == 1


async def test_a_worker_that_never_started_can_be_stopped(outbox):
    sink = ScriptedSink()
    await make(outbox, sink).stop(grace_s=1)
    assert sink.closed


async def test_a_sink_that_is_down_is_logged_once_and_once_when_it_is_back(outbox, caplog):
    caplog.set_level(logging.INFO)
    sink = ScriptedSink(a=[SinkBusy("down") for _ in range(3)])
    outbox.add("a")
    await run_until_empty(outbox, sink)
    assert caplog.text.count("takes no events: down") == 1
    assert caplog.text.count("takes events again") == 1


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_the_waits_double_up_to_a_limit_and_never_fall_below_half(attempts, chance):
    patience = Patience()
    full_s = min(300.0, 2.0 ** min(attempts - 1, 20))
    assert full_s / 2 <= patience.delay_s(attempts, chance=chance) <= full_s


def test_fifty_attempts_or_a_day_are_enough():
    patience = Patience()
    assert patience.is_exhausted(attempts=50, age_s=0)
    assert not patience.is_exhausted(attempts=49, age_s=86_399)
    assert patience.is_exhausted(attempts=49, age_s=86_400)
    assert not patience.is_exhausted(attempts=9, age_s=10**9)
