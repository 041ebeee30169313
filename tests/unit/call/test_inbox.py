import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vivavoce.call.inbox import Inbox, InboxClosed
from vivavoce.call.machine import Audio, Configure, Gap


def numbered(sizes):
    """Pieces of audio in which every sample can be told from every other."""
    ends = np.cumsum(sizes)
    return [
        np.arange(end - size, end, dtype=np.int16) for size, end in zip(sizes, ends, strict=True)
    ]


def follow(items):
    """What was taken, as sample numbers; None for a lost one. Checks nothing but the length."""
    position, told = 0, []
    for item in items:
        if isinstance(item, Audio):
            told += item.samples.tolist()
            position += len(item.samples)
        elif isinstance(item, Gap):
            told += [None] * item.samples
            position += item.samples
    return told


async def drain(inbox):
    items = []
    while (item := await inbox.take()) is not None:
        items.append(item)
    return items


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 60), max_size=30),
    takes=st.lists(st.integers(0, 3), max_size=30),
    limit=st.integers(1, 100),
)
def test_audio_and_gaps_taken_are_what_was_offered_in_order(sizes, takes, limit):
    async def one():
        inbox = Inbox(limit_samples=limit)
        items = []
        for index, piece in enumerate(numbered(sizes)):
            inbox.offer(piece)
            assert inbox.waiting_samples <= limit
            wanted = takes[index] if index < len(takes) else 0
            while wanted and inbox.waiting_samples:
                items.append(await inbox.take())
                wanted -= 1
        inbox.close()
        return items + await drain(inbox)

    told = follow(asyncio.run(one()))
    assert len(told) == sum(sizes)
    assert all(got is None or got == sent for sent, got in enumerate(told))


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 60), max_size=30),
    limit=st.integers(1, 100),
    pauses=st.lists(st.booleans(), max_size=30),
)
def test_who_waits_loses_nothing_and_never_fills_it_over_its_bound(sizes, limit, pauses):
    async def one():
        inbox = Inbox(limit_samples=limit)

        async def send():
            for index, piece in enumerate(numbered(sizes)):
                await inbox.put(piece)
                # A piece larger than the limit goes in alone.
                assert inbox.waiting_samples <= max(limit, len(piece))
                if index < len(pauses) and pauses[index]:
                    await asyncio.sleep(0)
            inbox.close()

        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            group.create_task(send())
            taking = group.create_task(drain(inbox))
        return taking.result()

    assert follow(asyncio.run(one())) == list(range(sum(sizes)))


@settings(max_examples=30, deadline=None)
@given(counts=st.lists(st.integers(0, 12), min_size=2, max_size=5), limit=st.integers(1, 4))
def test_no_wake_up_is_lost_among_many_that_put_and_take(counts, limit):
    async def one():
        inbox = Inbox(limit_samples=limit)
        taken = []

        async def send(sender, count):
            for _ in range(count):
                await inbox.put(np.full(1, sender, np.int16))

        async def receive():
            while (item := await inbox.take()) is not None:
                assert isinstance(item, Audio)
                taken.append(int(item.samples[0]))
                await asyncio.sleep(0)

        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(receive())
            async with asyncio.TaskGroup() as senders:
                for sender, count in enumerate(counts):
                    senders.create_task(send(sender, count))
            inbox.close()
        return taken

    taken = asyncio.run(one())
    assert [taken.count(sender) for sender in range(len(counts))] == counts


def test_put_waits_until_there_is_room():
    async def one():
        inbox = Inbox(limit_samples=10)
        await inbox.put(np.zeros(8, np.int16))
        waiting = asyncio.create_task(inbox.put(np.zeros(3, np.int16)))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        await inbox.take()
        await asyncio.wait_for(waiting, 1)
        assert inbox.waiting_samples == 3

    asyncio.run(one())


def test_a_piece_larger_than_the_limit_goes_in_alone():
    async def one():
        inbox = Inbox(limit_samples=10)
        await asyncio.wait_for(inbox.put(np.zeros(50, np.int16)), 1)
        assert inbox.waiting_samples == 50

    asyncio.run(one())


def test_the_end_wakes_those_that_wait_and_refuses_more():
    async def one():
        inbox = Inbox(limit_samples=1)
        empty = Inbox(limit_samples=1)
        await inbox.put(np.zeros(1, np.int16))
        putting = asyncio.create_task(inbox.put(np.zeros(1, np.int16)))
        taking = asyncio.create_task(empty.take())
        await asyncio.sleep(0)
        inbox.close()
        empty.close()
        with pytest.raises(InboxClosed):
            await asyncio.wait_for(putting, 1)
        assert await asyncio.wait_for(taking, 1) is None
        with pytest.raises(InboxClosed):
            inbox.offer(np.zeros(1, np.int16))
        with pytest.raises(InboxClosed):
            inbox.put_other(Gap(samples=1))
        assert len(await drain(inbox)) == 1  # what is inside can still be taken
        assert await inbox.take() is None

    asyncio.run(one())


def test_what_is_not_audio_takes_no_room_and_keeps_its_place():
    async def one():
        inbox = Inbox(limit_samples=2)
        configure = Configure(authentication_samples=1)
        inbox.offer(np.zeros(2, np.int16))
        inbox.put_other(configure)
        inbox.offer(np.zeros(2, np.int16))  # sheds the first piece
        assert inbox.waiting_samples == 2
        inbox.close()
        gap, other, audio = await drain(inbox)
        assert gap == Gap(samples=2)
        assert other is configure
        assert isinstance(audio, Audio)

    asyncio.run(one())


def test_neighbouring_losses_become_one_gap():
    async def one():
        inbox = Inbox(limit_samples=4)
        for piece in numbered([4] * 1000):
            inbox.offer(piece)
        inbox.close()
        gap, audio = await drain(inbox)
        assert gap == Gap(samples=3996)
        assert audio.samples.tolist() == [3996, 3997, 3998, 3999]

    asyncio.run(one())


def test_gaps_in_a_row_become_one():
    async def one():
        inbox = Inbox(limit_samples=10)
        for samples in (3, 0, 4):
            inbox.put_other(Gap(samples=samples))
        inbox.close()
        return await drain(inbox)

    assert asyncio.run(one()) == [Gap(samples=7)]


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 60), max_size=30),
    gap_after=st.integers(0, 30),
    at_most=st.integers(0, 200),
)
def test_pieces_in_a_row_are_taken_as_one_up_to_a_bound(sizes, gap_after, at_most):
    async def one():
        inbox = Inbox(limit_samples=10_000)
        for index, piece in enumerate(numbered(sizes)):
            if index == gap_after:
                inbox.put_other(Gap(samples=5))
            inbox.offer(piece, agent=-piece if index % 7 else None)
        inbox.close()
        items = []
        while (item := await inbox.take(at_most=at_most)) is not None:
            items.append(item)
        assert inbox.waiting_samples == 0
        return items

    items = asyncio.run(one())
    audio = [item for item in items if isinstance(item, Audio)]
    assert [sample for item in audio for sample in item.samples] == list(range(sum(sizes)))
    assert all(len(item.samples) <= max(at_most, *sizes) for item in audio)
    for item in audio:
        if item.agent is not None:
            np.testing.assert_array_equal(item.agent, -item.samples)
    before = sum(sizes[:gap_after])
    if gap_after < len(sizes):
        place = next(i for i, item in enumerate(items) if isinstance(item, Gap))
        assert sum(len(item.samples) for item in items[:place]) == before


def test_audio_is_gathered_until_there_is_enough():
    async def one():
        inbox = Inbox(limit_samples=1000)
        gathering = asyncio.create_task(inbox.gather(100, within_s=5))
        for _ in range(4):
            inbox.offer(np.zeros(24, np.int16))
            await asyncio.sleep(0.002)
        assert not gathering.done()
        inbox.offer(np.zeros(24, np.int16))
        await asyncio.wait_for(gathering, 1)

    asyncio.run(one())


@pytest.mark.parametrize(
    "interrupt", [lambda inbox: inbox.put_other(Gap(samples=1)), lambda inbox: inbox.close()]
)
def test_gathering_ends_with_the_audio(interrupt):
    async def one():
        inbox = Inbox(limit_samples=1000)
        inbox.offer(np.zeros(24, np.int16))
        gathering = asyncio.create_task(inbox.gather(100, within_s=5))
        await asyncio.sleep(0.002)
        assert not gathering.done()
        interrupt(inbox)
        await asyncio.wait_for(gathering, 1)

    asyncio.run(one())


def test_what_there_is_is_enough_after_a_while():
    async def one():
        inbox = Inbox(limit_samples=1000)
        gathering = asyncio.create_task(inbox.gather(100, within_s=0.01))
        await asyncio.sleep(0.03)
        assert not gathering.done()  # nothing has come yet
        inbox.offer(np.zeros(24, np.int16))
        await asyncio.wait_for(gathering, 1)
        assert inbox.waiting_samples == 24

    asyncio.run(one())
