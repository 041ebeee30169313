import asyncio
import time

import pytest

from tests.fakes import FakeEngines, LoudDetector, RecordingListener, cut, silence, voice
from vivavoce.audio.arrays import CALL_RATE_HZ
from vivavoce.call.calls import Calls
from vivavoce.call.inbox import InboxClosed
from vivavoce.call.machine import Plan
from vivavoce.call.runner import CallIdentity, News
from vivavoce.errors import AtCapacity

pytestmark = pytest.mark.anyio

PLAN = Plan(authentication_samples=5 * CALL_RATE_HZ)


@pytest.fixture
def engines():
    return FakeEngines()


@pytest.fixture
def listener():
    return RecordingListener()


@pytest.fixture
async def calls(engines):
    calls = Calls(engines=engines, new_detector=LoudDetector, limit=2, inbox_s=4.0)
    yield calls
    async with asyncio.timeout(5):
        await calls.drain(within_s=30)


def begin(calls, listener, session_id="id#1", stream_number=1):
    identity = CallIdentity(
        session_id=session_id, domain_id="d", stream_number=stream_number, started_ms=1000
    )
    call = calls.begin(identity, plan=PLAN, listener=listener)
    call.attach()
    return call


async def send(call, samples):
    for piece in cut(samples, range(160, len(samples), 1600)):
        await call.inbox.put(piece)


async def test_a_call_is_heard_and_tells_in_order(calls, engines, listener):
    call = begin(calls, listener)
    await send(call, voice(3, 31))
    await call.end()
    assert listener.names == ["evidence"] * 5 + ["complete", "end"]
    assert [e.number for _, e in listener.told[:5]] == [1, 2, 3, 4, 5]
    assert [round(e.net_speech_samples / CALL_RATE_HZ) for _, e in listener.told[:5]] == [
        3,
        5,
        10,
        20,
        30,
    ]
    assert len(call.speech()) == call.progress.net_speech_samples
    assert call.news.ended
    assert not call.news.failed
    assert (len(calls), calls.find("id#1")) == (0, None)


async def test_the_end_decides_on_everything_that_came_first(calls, listener):
    call = begin(calls, listener)
    await call.inbox.put(voice(3, 7))
    await call.end()
    assert listener.names == ["evidence"] * 3 + ["end"]  # at 3 and 5 s, and at the end
    with pytest.raises(InboxClosed):
        await call.inbox.put(voice(3, 1))


async def test_ending_twice_and_at_once_notes_one_end(calls, listener):
    call = begin(calls, listener)
    await asyncio.gather(call.end(), call.end(), call.wait_ended())
    assert listener.names == ["end"]


async def test_who_stops_waiting_for_the_end_does_not_stop_the_call(calls, engines, listener):
    engines.held = asyncio.Event()
    call = begin(calls, listener)
    await call.inbox.put(voice(3, 6))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(call.wait_ended(), 0.05)
    engines.held.set()
    await call.end()
    assert "evidence" in listener.names


async def test_a_failing_engine_ends_its_call_and_the_end_is_still_noted(calls, engines, listener):
    engines.failure = RuntimeError("out of memory")
    call, other = begin(calls, listener), begin(calls, RecordingListener(), "id#2")
    await call.inbox.put(voice(3, 6))
    async with asyncio.timeout(5):
        await call.wait_ended()
    assert listener.names == ["end"]
    assert call.news.failed
    assert call.inbox.closed
    assert calls.find("id#2") is other
    assert not other.news.failed


@pytest.mark.parametrize("what", ["evidence", "complete", "end"])
async def test_a_failing_listener_ends_the_call_too(calls, what):
    listener = RecordingListener(failing={what})
    call = begin(calls, listener)
    await call.inbox.put(voice(3, 31))
    async with asyncio.timeout(5):
        await call.end()
    assert listener.names[-1] == "end"
    assert call.news.failed
    assert len(calls) == 0


async def test_what_is_found_ahead_is_there_at_the_next_checkpoint(calls, engines, listener):
    call = begin(calls, listener)
    await send(call, voice(3, 11))
    await call.end()
    assert [round(samples / CALL_RATE_HZ, 1) for samples in engines.ahead] == [4.5, 7.5, 10.5]
    # At 3 s, at 5, at 10, and at the end.
    assert engines.ahead_before == [False, True, True, True]


async def test_a_look_ahead_that_fails_costs_the_call_nothing(calls, engines, listener, caplog):
    engines.ahead_failure = OSError("no processes")
    call = begin(calls, listener)
    await send(call, voice(3, 11))
    await call.end()
    assert listener.names == ["evidence"] * 4 + ["end"]
    assert "no processes" in caplog.text


async def test_over_the_limit_a_call_is_refused_until_a_place_is_free(calls, listener):
    first = begin(calls, listener, "id#1")
    begin(calls, listener, "id#2")
    with pytest.raises(AtCapacity) as refused:
        begin(calls, listener, "id#3")
    assert "All 2 places" in str(refused.value)
    assert calls.find("id#3") is None
    await first.end()
    begin(calls, listener, "id#3")


async def test_draining_ends_what_runs_and_admits_nothing(calls, listener):
    call = begin(calls, listener)
    await call.inbox.put(voice(3, 12))
    await calls.drain(within_s=30)
    assert listener.names == ["evidence"] * 4 + ["end"]
    with pytest.raises(AtCapacity):
        begin(calls, listener)


async def test_the_next_stream_is_not_forgotten_with_the_one_before(calls, engines):
    engines.held = asyncio.Event()
    first = begin(calls, RecordingListener())
    await first.inbox.put(voice(3, 6))
    second = begin(calls, RecordingListener(), stream_number=2)
    engines.held.set()
    await first.end()
    assert calls.find("id#1") is second


async def test_a_lost_connection_ends_the_call_after_the_grace_period(calls, listener):
    call = begin(calls, listener)
    call.detach(grace_s=0.02)
    assert not call.attached
    async with asyncio.timeout(2):
        await call.wait_ended()
    assert listener.names == ["end"]


async def test_who_comes_back_in_time_is_not_ended(calls, listener):
    call = begin(calls, listener)
    call.detach(grace_s=0.05)
    call.attach()
    await asyncio.sleep(0.1)
    assert call.attached
    await call.inbox.put(voice(3, 2))


async def test_what_was_said_while_away_is_a_gap(calls, listener):
    call = begin(calls, listener)
    await call.inbox.put(voice(3, 2))
    left = time.monotonic()
    call.detach(grace_s=30)
    await asyncio.sleep(0.05)
    call.attach()
    away_s = time.monotonic() - left
    await call.inbox.put(voice(3, 2))
    await call.end()
    assert call.progress.received_samples == 4 * CALL_RATE_HZ
    assert 0.049 <= call.progress.lost_samples / CALL_RATE_HZ <= away_s + 0.001


async def test_a_full_inbox_makes_the_sender_wait_for_a_slow_engine(calls, engines, listener):
    engines.held = asyncio.Event()
    call = begin(calls, listener)
    sending = asyncio.create_task(send(call, voice(3, 12)))
    await asyncio.sleep(0.2)
    assert not sending.done()
    assert call.inbox.waiting_samples <= 4 * CALL_RATE_HZ
    engines.held.set()
    await asyncio.wait_for(sending, 5)


async def test_times_follow_the_samples_but_never_run_ahead_of_the_clock(calls, listener):
    call = begin(calls, listener)
    assert call.at_ms(CALL_RATE_HZ, now_ms=10_000) == 2000
    assert call.at_ms(600 * CALL_RATE_HZ, now_ms=10_000) == 10_000


async def test_silence_is_received_and_nothing_else(calls, listener):
    call = begin(calls, listener)
    await send(call, silence(3))
    await call.end()
    assert (listener.names, len(call.speech())) == (["end"], 0)
    assert call.progress.received_samples == 3 * CALL_RATE_HZ


async def test_news_wakes_once_and_after_the_end_always():
    news = News()
    news.tell()
    news.tell()
    started = time.monotonic()
    await news.wait(at_most_s=5)
    assert time.monotonic() - started < 4
    await news.wait(at_most_s=0.02)  # told already: waits, and gives up quietly
    assert time.monotonic() - started >= 0.02
    news.fail()
    news.end()
    for _ in range(3):
        await asyncio.wait_for(news.wait(at_most_s=5), 1)
    assert news.failed
