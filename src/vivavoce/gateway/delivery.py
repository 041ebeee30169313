"""What every gateway does with a call: feeds it, and lets go of it when the connection is over."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected

from vivavoce.audio.arrays import CALL_RATE_HZ
from vivavoce.call import machine
from vivavoce.call.inbox import Inbox
from vivavoce.call.runner import LiveCall
from vivavoce.errors import InvalidRequest, PeerIdle, VivavoceError
from vivavoce.protocols.events import Announced, Audio, Closed, Gap, Malformed, Named, WireEvent
from vivavoce.protocols.native import CloseCode

_PIECE_SAMPLES = CALL_RATE_HZ // 2
_LEFT_ON_PURPOSE = (CloseCode.DONE, CloseCode.GOING_AWAY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long the gateway waits.

    Attributes:
        grace_s: for a lost connection to come back.
        idle_s: for a connected peer to say anything.
    """

    grace_s: float
    idle_s: float


GONE = (WebSocketDisconnect, WebSocketDisconnected)
"""What sending raises where the peer is gone: the first time, and from then on."""


class PeerGone(Exception):
    """The peer closed its WebSocket, or it was lost.

    Attributes:
        on_purpose: whether the peer meant to leave.
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"the peer closed with {code}")
        self.on_purpose = code in _LEFT_ON_PURPOSE


class Stream(Protocol):
    """One connection in some dialect, sans I/O."""

    def receive_bytes(self, data: bytes) -> list[WireEvent]:
        """Take a binary message."""
        ...

    def receive_text(self, text: str) -> list[WireEvent]:
        """Take a text message."""
        ...

    def finish(self) -> list[WireEvent]:
        """The connection is over."""
        ...


async def receive(socket: WebSocket, stream: Stream, *, within_s: float) -> list[WireEvent]:
    """What the next message of a peer says in its dialect.

    Raises:
        PeerIdle: nothing came in time.
        PeerGone: there will be none.
        InvalidRequest: the peer broke the rules of its dialect.
    """
    try:
        async with asyncio.timeout(within_s):
            message = await socket.receive()
    except TimeoutError:
        raise PeerIdle(within_s) from None
    if message["type"] == "websocket.disconnect":
        raise PeerGone(message.get("code", CloseCode.INTERNAL_ERROR))
    data: bytes | None = message.get("bytes")
    if data is not None:
        return stream.receive_bytes(data)
    return stream.receive_text(message.get("text") or "")


def target_of(socket: WebSocket) -> str:
    """Path and query that a peer connected to, as its signature covers them."""
    return socket.url.path + (f"?{socket.url.query}" if socket.url.query else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a connection came to its end.

    Attributes:
        kind: the call "ended", the peer "left" on purpose, or it was "lost".
        refusal: what was wrong with what the peer sent, if that ended the call.
    """

    kind: Literal["ended", "left", "lost"]
    refusal: VivavoceError | None = None


async def deliver(events: Sequence[WireEvent], inbox: Inbox) -> Closed | None:
    """Pass events on to a call, waiting while its inbox is full; gives the one that ends it.

    Raises:
        InboxClosed: the call has ended.
        InvalidRequest: the peer broke the rules of its dialect; what came before was passed on.
    """
    for event in events:
        match event:
            case Audio(samples=samples, agent=agent):
                # Small pieces: a thread that listens to one call is not free for others.
                for start in range(0, len(samples), _PIECE_SAMPLES):
                    piece = slice(start, start + _PIECE_SAMPLES)
                    heard = None if agent is None else agent[piece]
                    await inbox.put(samples[piece], agent=heard)
            case Gap(samples=samples, is_loss=is_loss):
                inbox.put_other(machine.Gap(samples=samples, is_loss=is_loss))
            case Closed():
                return event
            case Malformed(reason=reason):
                raise InvalidRequest(reason)
            case Named() | Announced():
                pass  # whoever opened the call has read it
    return None


async def attend(call: LiveCall, receiving: asyncio.Task[Outcome], patience: Patience) -> Outcome:
    """Wait until a connection is over, or its call ends elsewhere.

    A call whose connection was lost is left to come back; ending it otherwise is the caller's.

    Args:
        call: that the connection feeds.
        receiving: feeds it, and says how that ended; cancelled when the call ends first.
        patience: how long a lost connection may stay away.
    """
    ending = asyncio.create_task(call.wait_ended())
    try:
        await asyncio.wait({receiving, ending}, return_when=asyncio.FIRST_COMPLETED)
        outcome = receiving.result() if receiving.done() else Outcome(kind="ended")
    except BaseException:
        call.detach(grace_s=patience.grace_s)
        raise
    finally:
        for task in (receiving, ending):
            task.cancel()
        await asyncio.gather(receiving, ending, return_exceptions=True)
    if outcome.kind == "lost":
        call.detach(grace_s=patience.grace_s)
    return outcome
