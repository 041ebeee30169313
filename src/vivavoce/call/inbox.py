"""A call's inbox: bounded in samples, never silently lossy.

Two ways to put audio in. A sender that can wait (a file, a peer on a connection with flow control)
uses `put`. A live source that cannot uses `offer`: when the inbox is full the oldest audio makes
room, and a `Gap` stands in its place. Audio taken plus gaps taken always equals what was sent.
"""

import asyncio
import contextlib
from collections import deque
from dataclasses import replace

import numpy as np

from vivavoce.audio.arrays import Samples
from vivavoce.call.machine import Audio, Configure, Gap, Item


class InboxClosed(Exception):
    """Something was put into an inbox after its end."""


class Inbox:
    """Items on their way into one call; for one event loop."""

    def __init__(self, *, limit_samples: int) -> None:
        self._limit_samples = limit_samples
        self._items: deque[Item] = deque()
        self._waiting_samples = 0
        self._wake_samples = 1  # audio from which on whoever takes is woken
        self._closed = False
        self._changed = asyncio.Event()

    @property
    def waiting_samples(self) -> int:
        """Samples of audio that were put in and not yet taken out."""
        return self._waiting_samples

    @property
    def closed(self) -> bool:
        """Whether the end has been announced."""
        return self._closed

    async def put(self, samples: Samples, *, agent: Samples | None = None) -> None:
        """Add audio, shape (n,), when there is room; a larger piece than the limit goes in alone.

        Raises:
            InboxClosed: the call has ended meanwhile.
        """
        while self._waiting_samples and self._overfull_with(samples) and not self._closed:
            await self._change()
        self._append(Audio(samples=samples, agent=agent))

    def offer(self, samples: Samples, *, agent: Samples | None = None) -> None:
        """Add audio, shape (n,), at once; the oldest audio makes room.

        Raises:
            InboxClosed: the call has ended.
        """
        self._append(Audio(samples=samples, agent=agent))
        while self._waiting_samples > self._limit_samples:
            self._shed_oldest()

    def put_other(self, item: Gap | Configure) -> None:
        """Add something that is not audio: it takes no room, and gaps of a kind become one."""
        self._check_open()
        last = self._items[-1] if self._items else None
        if isinstance(item, Gap) and isinstance(last, Gap) and last.is_loss == item.is_loss:
            self._items[-1] = replace(last, samples=last.samples + item.samples)
        else:
            self._items.append(item)
        self._notify()

    def close(self) -> None:
        """Nothing more will come; what is inside can still be taken."""
        self._closed = True
        self._notify()

    async def gather(self, samples: int, *, within_s: float) -> None:
        """Let audio come together: wait for so much of it, or the end, or anything but audio.

        No longer than `within_s` after there is something to take.
        """
        while not self._items and not self._closed:
            await self._change()
        if not self._wants_more(samples):
            return  # as mostly: a timer takes as long as the rest of this
        self._wake_samples = samples
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    while self._wants_more(samples):
                        await self._change()
        finally:
            self._wake_samples = 1

    async def take(self, *, at_most: int = 0) -> Item | None:
        """The next item, or None after the last one.

        Pieces of audio in a row are one item as long as that is no more than `at_most` samples.
        """
        while not self._items:
            if self._closed:
                return None
            await self._change()
        item = self._items.popleft()
        if isinstance(item, Audio):
            item = self._with_following(item, at_most)
            self._waiting_samples -= len(item.samples)
            self._notify()
        return item

    def _with_following(self, audio: Audio, at_most: int) -> Audio:
        pieces, total = [audio], len(audio.samples)
        while self._items and isinstance(following := self._items[0], Audio):
            total += len(following.samples)
            if total > at_most or (following.agent is None) != (audio.agent is None):
                break
            pieces.append(following)
            self._items.popleft()
        if len(pieces) == 1:
            return audio
        agents = [piece.agent for piece in pieces if piece.agent is not None]
        return Audio(
            samples=np.concatenate([piece.samples for piece in pieces]),
            agent=np.concatenate(agents) if agents else None,
        )

    def _wants_more(self, samples: int) -> bool:
        """Whether less than so much audio waits, and nothing that must be taken at once."""
        if self._closed or self._waiting_samples >= samples:
            return False
        return all(isinstance(item, Audio) for item in self._items)

    def _append(self, audio: Audio) -> None:
        self._check_open()
        self._items.append(audio)
        self._waiting_samples += len(audio.samples)
        if self._waiting_samples >= self._wake_samples:
            self._notify()

    def _shed_oldest(self) -> None:
        """Replace the oldest audio by a gap, joined to the gap before it if there is one."""
        index = next(i for i, item in enumerate(self._items) if isinstance(item, Audio))
        oldest = self._items[index]
        assert isinstance(oldest, Audio)  # noqa: S101 - narrows the type of what was just found
        lost = len(oldest.samples)
        self._waiting_samples -= lost
        before = self._items[index - 1] if index else None
        if isinstance(before, Gap) and before.is_loss:
            self._items[index - 1] = Gap(samples=before.samples + lost)
            del self._items[index]
        else:
            self._items[index] = Gap(samples=lost)

    def _overfull_with(self, samples: Samples) -> bool:
        return self._waiting_samples + len(samples) > self._limit_samples

    def _check_open(self) -> None:
        if self._closed:
            raise InboxClosed

    def _notify(self) -> None:
        self._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
