"""Genesys Cloud's AudioHook: `/v1/audiohook`.

Whoever is not Genesys, or has no place, is told so by a `disconnect` message, as the protocol has
it, and closes the connection itself; one that does not is closed.
"""

import asyncio
import contextlib
import logging
from dataclasses import dataclass

from starlette.websockets import WebSocket

from vivavoce.call.inbox import InboxClosed
from vivavoce.call.runner import LiveCall
from vivavoce.clock import Clock
from vivavoce.errors import CallRefused, InvalidRequest, PeerIdle, VivavoceError
from vivavoce.gateway.delivery import (
    GONE,
    Outcome,
    Patience,
    PeerGone,
    attend,
    deliver,
    receive,
    target_of,
)
from vivavoce.protocols.audiohook import AudioHookStream, DisconnectReason
from vivavoce.protocols.events import Announced, Closed, WireEvent
from vivavoce.protocols.httpsignature import SignatureChecker, SignedRequest
from vivavoce.protocols.native import CloseCode
from vivavoce.sessions.reception import Reception
from vivavoce.store.connectors import Connector

_ORGANIZATION, _SESSION = "audiohook-organization-id", "audiohook-session-id"
_KEY = "x-api-key"
_SIGNED = frozenset(
    {"@request-target", "@authority", _ORGANIZATION, _SESSION, "audiohook-correlation-id", _KEY}
)
"""What a signature must cover. Source: Genesys's authenticator."""

_REFUSAL_S = 0.5
"""A refusal comes no sooner, so that its time tells nothing. Source: as in Genesys's own."""

_OPEN_S = 10.0
"""Time in which the session must be opened. Genesys itself gives an answer to it 5 s."""

_CLOSE_S = 5.0
"""Time in which the client must close when it was asked to. Genesys itself gives us 10 s."""

_log = logging.getLogger(__name__)


class AudioHookGateway:
    """Serves AudioHook's connections."""

    def __init__(self, reception: Reception, patience: Patience, clock: Clock) -> None:
        self._reception = reception
        self._patience = patience
        self._clock = clock
        self._checker = SignatureChecker(_SIGNED)

    async def serve(self, socket: WebSocket) -> None:
        """One connection, from handshake to close."""
        stream = AudioHookStream(
            session_id=socket.headers.get(_SESSION, ""),
            organization_id=socket.headers.get(_ORGANIZATION, ""),
        )
        line = _Line(socket, stream)
        await socket.accept()
        with contextlib.suppress(*GONE, PeerGone):
            connector = await self._authenticate(line)
            if connector is not None:
                await self._serve(line, connector)
            await socket.close(CloseCode.DONE)

    async def _authenticate(self, line: "_Line") -> Connector | None:
        """The connector that the peer is; one that is none is sent away."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _REFUSAL_S
        connectors = await self._reception.connectors("genesys")
        by_key = {each.connector_id: each for each in connectors}
        request = _signed_request(line.socket)

        def secret_of(key: str) -> bytes | None:
            is_known = key in by_key and key == request.headers.get(_KEY)
            return by_key[key].secret_bytes if is_known else None

        try:
            key = self._checker.check(
                request, secret_of=secret_of, now_s=self._clock.now_ms() / 1000
            )
        except CallRefused as error:
            await asyncio.sleep(until - loop.time())
            _log.warning("AudioHook: a connection was refused: %s", error)
            await line.part("unauthorized", str(error))
            return None
        return by_key[key]

    async def _serve(self, line: "_Line", connector: Connector) -> None:
        try:
            announced = await self._greet(line)
            if announced is None:
                await line.until_closed(within_s=self._patience.idle_s)
                return
            call = await self._reception.take([connector], announced)
        except VivavoceError as error:
            _log.warning("AudioHook: connector %s: a call was refused: %s", connector.name, error)
            reason = "unauthorized" if isinstance(error, CallRefused) else "error"
            await line.part(reason, str(error))
            return
        await self._attend(line, call)

    async def _greet(self, line: "_Line") -> Announced | None:
        """The call that the peer opens; None where it only probes."""
        try:
            async with asyncio.timeout(_OPEN_S):
                while True:
                    match await line.receive(within_s=_OPEN_S):
                        case [Announced() as announced]:
                            return announced
                        case [Closed()]:
                            raise PeerGone(CloseCode.DONE)
                        case _ if line.stream.is_probe:
                            line.stream.opened()
                            await line.answer()
                            return None
                        case _:
                            pass
        except TimeoutError:
            raise PeerIdle(_OPEN_S) from None

    async def _attend(self, line: "_Line", call: LiveCall) -> None:
        """Feed a call until either side ends it."""
        line.stream.opened()
        feeding = asyncio.create_task(self._feed(line, call))
        outcome = await attend(call, feeding, self._patience)
        if outcome.kind == "ended":
            await call.end()
        await self._say_goodbye(line, call, outcome)

    async def _feed(self, line: "_Line", call: LiveCall) -> Outcome:
        try:
            await line.answer()
            while True:
                events = await line.receive(within_s=self._patience.idle_s)
                closed = await deliver(events, call.inbox)
                if closed is not None:
                    return Outcome(kind="lost" if closed.returns else "ended")
                await line.answer()
        except (PeerGone, *GONE):
            return Outcome(kind="lost")
        except (InvalidRequest, PeerIdle) as error:
            return Outcome(kind="ended", refusal=error)
        except InboxClosed:
            return Outcome(kind="ended")  # from elsewhere, or the server shuts down

    async def _say_goodbye(self, line: "_Line", call: LiveCall, outcome: Outcome) -> None:
        """Answer a close, or ask for one; nothing where the connection is gone."""
        session_id = call.identity.session_id
        _log.info(
            "session %s: AudioHook: round trip %s s, last error %s",
            session_id,
            line.stream.round_trip_s,
            line.stream.error,
        )
        if line.stream.is_over:
            line.stream.closed()
            await line.answer()
        elif outcome.refusal is not None:
            _log.warning("session %s: AudioHook: %s", session_id, outcome.refusal)
            await line.part("error", str(outcome.refusal))
        elif self._reception.is_closing:
            line.stream.reconnect("This server shuts down")
            await line.answer()
            await line.until_closed(within_s=_CLOSE_S)
        elif outcome.kind == "ended":
            await line.part("completed", "The session was ended")


def _signed_request(socket: WebSocket) -> SignedRequest:
    """What of a handshake can be signed; a header that comes twice is signed as one."""
    names = set(socket.headers.keys())
    return SignedRequest(
        target=target_of(socket),
        headers={name: ", ".join(socket.headers.getlist(name)) for name in names},
    )


@dataclass(frozen=True, slots=True)
class _Line:
    """A connection and its dialect."""

    socket: WebSocket
    stream: AudioHookStream

    async def receive(self, *, within_s: float) -> list[WireEvent]:
        return await receive(self.socket, self.stream, within_s=within_s)

    async def answer(self) -> None:
        """Send what the dialect has to say."""
        for message in self.stream.take_answers():
            await self.socket.send_text(message)

    async def part(self, reason: DisconnectReason, info: str) -> None:
        """Ask the peer to close, and wait for it."""
        self.stream.disconnect(reason, info)
        await self.answer()
        await self.until_closed(within_s=_CLOSE_S)

    async def until_closed(self, *, within_s: float) -> None:
        """Answer the peer until it closes, but no longer than this without a word of it."""
        with contextlib.suppress(PeerIdle, InvalidRequest):
            while not any(
                isinstance(event, Closed) for event in await self.receive(within_s=within_s)
            ):
                await self.answer()
            self.stream.closed()
            await self.answer()
