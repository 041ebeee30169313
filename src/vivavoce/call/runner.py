"""A live call: runs the machine, waits for the engines, tells the listener.

The only asyncio between a call's inbox and its decisions. Stages follow one another within a call;
what runs side by side are calls.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from vivavoce.audio.arrays import CALL_RATE_HZ, Floats, Samples
from vivavoce.call.inbox import Inbox
from vivavoce.call.machine import (
    CallMachine,
    Event,
    EvidenceAnswer,
    EvidenceNeeded,
    EvidenceReady,
    Gap,
    Item,
    Progress,
    SpeechAhead,
    SpeechComplete,
)
from vivavoce.models.memory import Memory
from vivavoce.scoring.spoofing import SpoofEvidence
from vivavoce.scoring.voices import VoicesFound

_log = logging.getLogger(__name__)

_LISTEN_S = 0.1
_LISTEN_SAMPLES = round(0.08 * CALL_RATE_HZ)
"""A call is listened to about ten times a second: what comes every 20 ms is not worth the trouble
each time."""

_PIECE_SAMPLES = CALL_RATE_HZ // 2
"""No more at once: while one call is listened to, others wait."""


class Engines(Protocol):
    """What judges speech; shared by all calls."""

    async def judge(
        self, speech: Samples, memory: Memory
    ) -> tuple[Floats, SpoofEvidence | None, VoicesFound | None]:
        """The voice, shape (dimension,); what the speech says of spoofing, and of two voices.

        `memory` is the call's: what is found of its speech is looked up and kept there.
        """
        ...

    async def look_ahead(self, speech: Samples, memory: Memory) -> None:
        """Find what can be found of a call's speech before it is judged; kept in the memory."""
        ...


class Listener(Protocol):
    """Who wants to know what a call has shown."""

    async def on_evidence(self, call: "LiveCall", evidence: EvidenceReady) -> None:
        """There is new evidence."""
        ...

    async def on_speech_complete(self, call: "LiveCall") -> None:
        """All speech that is collected has been collected."""
        ...

    async def on_end(self, call: "LiveCall") -> None:
        """The call is over; nothing follows."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CallIdentity:
    """Which stream a call is.

    Attributes:
        session_id: the session.
        domain_id: its domain.
        stream_number: which stream of the session.
        started_ms: when its first sample came.
    """

    session_id: str
    domain_id: str
    stream_number: int
    started_ms: int


class LiveCall:
    """One call while it lasts. Made and ended on one event loop."""

    def __init__(
        self,
        identity: CallIdentity,
        *,
        machine: CallMachine,
        inbox: Inbox,
        engines: Engines,
        listener: Listener,
        on_gone: Callable[["LiveCall"], None],
    ) -> None:
        self.identity = identity
        self.inbox = inbox
        self.news = News()
        self.kept_samples = 0  # so much of its speech is in the store; set by who put it there
        self._machine = machine
        self._memory: Memory = {}
        self._engines = engines
        self._listener = listener
        self._on_gone = on_gone
        self._attached = False
        self._grace: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._detached_at: float | None = None

    def start(self) -> None:
        """Begin to take from the inbox."""
        name = f"call {self.identity.session_id} {self.identity.stream_number}"
        self._task = asyncio.create_task(self._run(), name=name)

    @property
    def progress(self) -> Progress:
        """How far the call has come."""
        return self._machine.progress

    @property
    def attached(self) -> bool:
        """Whether a connection feeds the call at the moment."""
        return self._attached

    def speech(self) -> Samples:
        """All net speech so far, shape (n,)."""
        return self._machine.speech()

    def at_ms(self, index: int, *, now_ms: int) -> int:
        """When a sample was said; never later than now, as a file may come faster than speech."""
        return min(self.identity.started_ms + index * 1000 // CALL_RATE_HZ, now_ms)

    def attach(self) -> None:
        """A connection takes the call up, for the first time or again within the grace period."""
        self._attached = True
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
        if self._detached_at is not None:
            away_s = asyncio.get_running_loop().time() - self._detached_at
            self._detached_at = None
            if not self.inbox.closed:
                self.inbox.put_other(Gap(samples=round(away_s * CALL_RATE_HZ)))

    def detach(self, *, grace_s: float) -> None:
        """The connection is lost; without another one the call ends after the grace period."""
        loop = asyncio.get_running_loop()
        self._attached = False
        self._detached_at = loop.time()
        self._grace = loop.call_later(grace_s, self.inbox.close)

    async def end(self) -> None:
        """No more audio comes; returns when everything that came has been decided on."""
        self.inbox.close()
        if self._grace is not None:
            self._grace.cancel()
        await self.wait_ended()

    async def wait_ended(self) -> None:
        """Returns when the call is over and everything that came has been decided on."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def _run(self) -> None:
        try:
            await self._consume()
        except Exception:  # noqa: BLE001 - whatever it is, the call ends as a call
            # One call's failure must not take others along, and its end must still be noted.
            _log.exception("call of session %s failed", self.identity.session_id)
            self.news.fail()
        finally:
            self.inbox.close()
            await self._settle(self._listener.on_end(self))
            self._on_gone(self)
            self.news.end()

    async def _consume(self) -> None:
        # On the event loop itself: a tenth of a second of a call takes a fifth of a millisecond,
        # and to hand that to a thread and back took twice as long again.
        while (item := await self._next()) is not None:
            await self._handle(self._machine.push(item))
        await self._handle(self._machine.finish())

    async def _next(self) -> Item | None:
        await self.inbox.gather(_LISTEN_SAMPLES, within_s=_LISTEN_S)
        return await self.inbox.take(at_most=_PIECE_SAMPLES)

    async def _handle(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case EvidenceNeeded():
                    if self._looking is not None:
                        await self._looking  # or the same would be looked for twice
                    vector, spoof, voices = await self._engines.judge(event.speech, self._memory)
                    answer = EvidenceAnswer(
                        number=event.number, vector=vector, spoof=spoof, voices=voices
                    )
                    await self._handle(self._machine.accept(answer))
                case EvidenceReady():
                    await self._listener.on_evidence(self, event)
                    self.news.tell()
                case SpeechAhead():
                    self._look_ahead(event.speech)
                case SpeechComplete():
                    await self._listener.on_speech_complete(self)
                    self.news.tell()

    def _look_ahead(self, speech: Samples) -> None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._try_look_ahead(speech))

    async def _try_look_ahead(self, speech: Samples) -> None:
        try:
            await self._engines.look_ahead(speech, self._memory)
        except Exception as error:  # noqa: BLE001 - the next checkpoint will meet it again
            _log.warning("looking ahead failed: %s", error)

    async def _settle(self, ending: Awaitable[None]) -> None:
        try:
            await ending
        except Exception:  # noqa: BLE001 - there is nobody left to raise it to
            _log.exception("the end of session %s was not noted", self.identity.session_id)
            self.news.fail()


class News:
    """Wakes whoever shows a call, without keeping a queue: only the latest state matters."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.ended = False
        self.failed = False

    def tell(self) -> None:
        """Something changed."""
        self._event.set()

    def end(self) -> None:
        """Nothing changes any more."""
        self.ended = True
        self._event.set()

    def fail(self) -> None:
        """The call broke; its results are what they were before."""
        self.failed = True
        self._event.set()

    async def wait(self, *, at_most_s: float) -> bool:
        """Wait for news, but no longer than this; whether there is any."""
        try:
            await asyncio.wait_for(self._event.wait(), at_most_s)
        except TimeoutError:
            return False
        if not self.ended:
            self._event.clear()
        return True
