"""Delivery: one worker a sink, which brings events from the outbox to it.

Of each resource only the oldest waiting event is tried, so events of one resource keep their order;
resources are served side by side. An event is taken out of the outbox after the sink took it: what
is interrupted in between is delivered again.

A sink that takes nothing at all (down, overloaded, full disk) is left alone for a while and then
asked with one event at a time, until it takes one. An event that the sink refuses for what it is
holds up its own resource only, until it is given up.
"""

import asyncio
import contextlib
import logging
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from vivavoce.clock import Clock
from vivavoce.errors import DeliveryFailed, SinkBusy
from vivavoce.events.sink import Sink

_POLL_S = 5.0
"""How soon events are noticed that nobody told of: another process may revive dead ones."""

_SLACK_S = 0.01  # a timer may fire a little before the clock says so

LONGEST_PAUSE_S = 3600.0
"""No attempt is put off further. What seems to be was noted before the clock was set back."""

_log = logging.getLogger(__name__)


class Waiting(Protocol):
    """An event that waits for delivery."""

    @property
    def sequence(self) -> int:
        """Its number in the outbox."""
        ...

    @property
    def resource(self) -> str:
        """What it is about."""
        ...

    @property
    def event_id(self) -> str:
        """Its id."""
        ...

    @property
    def body(self) -> str:
        """The whole envelope as JSON."""
        ...

    @property
    def created_ms(self) -> int:
        """When it was made."""
        ...

    @property
    def attempts(self) -> int:
        """How often it was tried."""
        ...

    @property
    def next_attempt_ms(self) -> int:
        """When it may be tried next."""
        ...


class Outbox(Protocol):
    """Where events wait. Each method is a transaction of its own."""

    async def due(self, sink: str, *, now_ms: int, limit: int) -> Sequence[Waiting]:
        """Of each resource the oldest event, if it may be tried now; oldest first.

        One that is put off by more than `LONGEST_PAUSE_S` may be, too.
        """
        ...

    async def delivered(self, sequence: int) -> Waiting | None:
        """Take an event out; gives the next one of its resource, if one waits."""
        ...

    async def failed(self, sequence: int, error: str, *, next_attempt_ms: int) -> None:
        """Note a failed attempt."""
        ...

    async def bury(self, sequence: int, error: str) -> None:
        """Give an event up."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long an event is tried.

    Attributes:
        first_s: until the second attempt, in seconds; doubles with each.
        longest_s: that it grows to at most; never above `LONGEST_PAUSE_S`.
        attempts: after so many an event is given up.
        age_s: an event as old as that is given up, too, unless it was hardly tried yet: the server
            may have stood still, or an operator revived it.
        least_attempts: so many are made at any age.
    """

    first_s: float = 1.0
    longest_s: float = 300.0
    attempts: int = 50
    age_s: float = 86_400.0
    least_attempts: int = 10

    def delay_s(self, attempts: int, *, chance: float) -> float:
        """How long to wait after so many failed attempts.

        Args:
            attempts: 1 after the first.
            chance: 0..1, evenly distributed: it spreads what failed together.
        """
        doubled = self.first_s * 2.0 ** min(attempts - 1, 60)  # 60: floats end somewhere
        return min(self.longest_s, LONGEST_PAUSE_S, doubled) * (1 + chance) / 2

    def is_exhausted(self, *, attempts: int, age_s: float) -> bool:
        """Whether an event is given up after so many failed attempts at this age."""
        too_old = age_s >= self.age_s and attempts >= self.least_attempts
        return too_old or attempts >= self.attempts


class DeliveryWorker:
    """Brings one sink's events to it, until stopped."""

    def __init__(
        self,
        sink: Sink,
        *,
        outbox: Outbox,
        clock: Clock,
        patience: Patience | None = None,
        concurrency: int = 8,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Put together; nothing runs before `start`.

        Args:
            sink: where to.
            outbox: where from.
            clock: the time.
            patience: how long an event is tried.
            concurrency: resources served side by side.
            chance: gives evenly distributed numbers, 0..1.
        """
        self._sink = sink
        self._outbox = outbox
        self._clock = clock
        self._patience = patience or Patience()
        self._concurrency = concurrency
        self._chance = chance
        self._wake = asyncio.Event()
        self._chains: dict[str, asyncio.Task[None]] = {}  # by resource
        self._stopping = False
        self._troubles = 0  # in a row that were nobody's in particular
        self._quiet_until_s = -math.inf  # on the event loop's clock, which nobody sets
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to deliver."""
        self._task = asyncio.create_task(self._run(), name=f"events to {self._sink.name}")

    def news(self) -> None:
        """Look into the outbox now; to be called in the event loop, after events were committed."""
        self._wake.set()

    async def stop(self, *, grace_s: float) -> None:
        """Take up nothing more, let deliveries that run finish, close the sink.

        What does not finish in `grace_s` seconds is cut off; it will be delivered again.
        """
        self._stopping = True
        self._wake.set()
        if self._task is not None:
            await self._task
        running = list(self._chains.values())
        if running:
            _, late = await asyncio.wait(running, timeout=grace_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._sink.close()

    async def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            try:
                await self._take_up()
            except Exception:  # noqa: BLE001 - deliveries go on once the database does
                _log.exception("events for %s cannot be read from the outbox", self._sink.name)
                self._note_trouble(None)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_S):
                    await self._wake.wait()

    async def _take_up(self) -> None:
        if self._is_quiet():
            return
        # After trouble one event goes ahead alone.
        room = (1 if self._troubles else self._concurrency) - len(self._chains)
        if room <= 0:
            return
        found = await self._outbox.due(
            self._sink.name, now_ms=self._clock.now_ms(), limit=room + len(self._chains)
        )
        free = [event for event in found if event.resource not in self._chains]
        for event in free[:room]:
            self._chains[event.resource] = asyncio.create_task(self._deliver_chain(event))

    async def _deliver_chain(self, event: Waiting) -> None:
        """Deliver an event, and those of its resource behind it, as long as they go through."""
        following: Waiting | None = event
        try:
            while following is not None and not self._must_pause(following):
                following = await self._deliver(following)
        except Exception:  # noqa: BLE001 - the event is still in the outbox
            _log.exception("the outbox cannot note what became of an event")
            self._note_trouble(None)
        finally:
            del self._chains[event.resource]
            self._wake.set()

    def _must_pause(self, event: Waiting) -> bool:
        wait_s = (event.next_attempt_ms - self._clock.now_ms()) / 1000
        return self._stopping or self._is_quiet() or 0 < wait_s <= LONGEST_PAUSE_S

    def _is_quiet(self) -> bool:
        """Whether the sink is left alone."""
        return asyncio.get_running_loop().time() < self._quiet_until_s

    async def _deliver(self, event: Waiting) -> Waiting | None:
        """Try an event once; if it goes through, gives the next one of its resource."""
        try:
            await self._sink.deliver(event.event_id, event.body)
        except DeliveryFailed as error:
            await self._note_failure(event, error)
            return None
        except Exception as error:  # noqa: BLE001 - a sink may do what it likes
            _log.exception("the sink %s failed in a way that nobody thought of", self._sink.name)
            await self._note_failure(event, DeliveryFailed(type(error).__name__))
            return None
        if self._troubles:
            _log.info("the sink %s takes events again", self._sink.name)
            self._troubles = 0
        return await self._outbox.delivered(event.sequence)

    async def _note_failure(self, event: Waiting, error: DeliveryFailed) -> None:
        attempts = event.attempts + 1
        now_ms = self._clock.now_ms()
        age_s = (now_ms - event.created_ms) / 1000
        wait_s = self._patience.delay_s(attempts, chance=self._chance())
        if isinstance(error, SinkBusy):
            if not self._troubles:
                _log.warning("the sink %s takes no events: %s", self._sink.name, error)
            wait_s = self._note_trouble(error.after_s)
        if error.is_final or self._patience.is_exhausted(attempts=attempts, age_s=age_s):
            _log.error(
                "event %s is given up after %d attempts to deliver it to %s: %s",
                event.event_id,
                attempts,
                self._sink.name,
                error,
            )
            await self._outbox.bury(event.sequence, str(error))
            return
        self._wake_after(wait_s)
        await self._outbox.failed(
            event.sequence, str(error), next_attempt_ms=now_ms + round(wait_s * 1000)
        )

    def _note_trouble(self, after_s: float | None) -> float:
        """Leave the sink alone for a while; gives how long, in seconds."""
        if not self._is_quiet():
            self._troubles += 1  # what was under way at the same time tells of the same trouble
        wait_s = self._patience.delay_s(self._troubles, chance=self._chance())
        if after_s is not None:
            wait_s = min(max(wait_s, after_s), LONGEST_PAUSE_S)
        until_s = asyncio.get_running_loop().time() + wait_s
        self._quiet_until_s = max(self._quiet_until_s, until_s)
        self._wake_after(wait_s)
        return wait_s

    def _wake_after(self, wait_s: float) -> None:
        asyncio.get_running_loop().call_later(wait_s + _SLACK_S, self._wake.set)
