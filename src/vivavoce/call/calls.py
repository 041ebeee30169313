"""All live calls of this process: admission, look-up, drain."""

import asyncio
import logging
from collections.abc import Callable

from vivavoce.audio.arrays import CALL_RATE_HZ
from vivavoce.call.inbox import Inbox
from vivavoce.call.machine import CallMachine, Plan
from vivavoce.call.runner import CallIdentity, Engines, Listener, LiveCall
from vivavoce.call.speech import FrameDetector
from vivavoce.errors import AtCapacity

_log = logging.getLogger(__name__)


class Calls:
    """The live calls. A call over the limit is refused; those that run are not slowed by it."""

    def __init__(
        self,
        *,
        engines: Engines,
        new_detector: Callable[[], FrameDetector],
        limit: int,
        inbox_s: float,
    ) -> None:
        self._engines = engines
        self._new_detector = new_detector
        self._limit = limit
        self._inbox_samples = round(inbox_s * CALL_RATE_HZ)
        self._live: dict[str, LiveCall] = {}
        self.draining = False

    def __len__(self) -> int:
        return len(self._live)

    def find(self, session_id: str) -> LiveCall | None:
        """The live call of a session, or None."""
        return self._live.get(session_id)

    def of_domain(self, domain_id: str) -> list[LiveCall]:
        """The live calls of a domain."""
        return [call for call in self._live.values() if call.identity.domain_id == domain_id]

    def check_admission(self) -> None:
        """Make sure that one more call may begin.

        Raises:
            AtCapacity: all places are taken, or the server is shutting down.
        """
        if self.draining:
            raise AtCapacity("The server is shutting down")
        if len(self._live) >= self._limit:
            raise AtCapacity(f"All {self._limit} places for live calls are taken; try again later")

    def begin(self, identity: CallIdentity, *, plan: Plan, listener: Listener) -> LiveCall:
        """Begin a call.

        Raises:
            AtCapacity: all places are taken, or the server is shutting down.
        """
        self.check_admission()
        call = LiveCall(
            identity,
            machine=CallMachine(self._new_detector(), plan),
            inbox=Inbox(limit_samples=self._inbox_samples),
            engines=self._engines,
            listener=listener,
            on_gone=self._forget,
        )
        self._live[identity.session_id] = call
        call.start()
        return call

    async def drain(self, *, within_s: float) -> None:
        """Admit no more calls, and end those that run; some may be cut off after `within_s`."""
        self.draining = True
        try:
            async with asyncio.timeout(within_s):
                await asyncio.gather(*(call.end() for call in list(self._live.values())))
        except TimeoutError:
            _log.warning("%d calls were cut off after %g s", len(self), within_s)

    def _forget(self, call: LiveCall) -> None:
        # The session may have begun its next stream meanwhile.
        if self._live.get(call.identity.session_id) is call:
            del self._live[call.identity.session_id]
