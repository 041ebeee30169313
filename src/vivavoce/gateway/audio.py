"""A call's audio over a WebSocket: `/v1/audio/{SessionId}`, and `/v1/asterisk` for Asterisk.

Two tasks a connection. The receiver feeds the call's inbox and, while that is full, does not read:
the peer is slowed by TCP's flow control instead of its audio being dropped or piled up. The sender
shows the call's latest state; it keeps no queue, so a peer that does not read costs nothing.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.websockets import WebSocket

from vivavoce.call.inbox import InboxClosed
from vivavoce.call.runner import LiveCall
from vivavoce.errors import (
    AlreadyStreaming,
    AtCapacity,
    BadAudioParameters,
    InvalidRequest,
    NotFound,
    PeerIdle,
    StreamTokenRejected,
    VivavoceError,
)
from vivavoce.gateway.delivery import (
    GONE,
    Outcome,
    Patience,
    PeerGone,
    Stream,
    attend,
    deliver,
    receive,
)
from vivavoce.protocols import chanwebsocket, freeswitch
from vivavoce.protocols.chanwebsocket import ChanWebSocketStream
from vivavoce.protocols.events import WireEvent
from vivavoce.protocols.freeswitch import FreeSwitchStream
from vivavoce.protocols.native import CloseCode, NativeStream, read_parameters
from vivavoce.sessions.desk import SessionDesk
from vivavoce.sessions.documents import Document, evaluation_document, progress_document
from vivavoce.store.records import Session

_PROGRESS_S = 1.0
_LOOK_S = 5.0
"""Who changes a session wakes those who show it. What is changed elsewhere, such as the speaker's
enrolment, is seen after this: to look every second would cost a third of the event loop's time."""

_LAST_WORDS_S = 5.0
"""Time in which a peer must take the final messages; one that reads nothing is left."""

_log = logging.getLogger(__name__)

_CLOSE_CODES: tuple[tuple[type[VivavoceError], int, str], ...] = (
    (StreamTokenRejected, CloseCode.TOKEN_REJECTED, "TokenRejected"),
    (NotFound, CloseCode.NO_SUCH_SESSION, "NoSuchSession"),
    (AlreadyStreaming, CloseCode.ALREADY_STREAMING, "AlreadyStreaming"),
    (AtCapacity, CloseCode.AT_CAPACITY, "AtCapacity"),
    (BadAudioParameters, CloseCode.BAD_PARAMETERS, "BadAudioParameters"),
    (InvalidRequest, CloseCode.INVALID_TEXT, "InvalidMessage"),
    (PeerIdle, CloseCode.IDLE, "Idle"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How a peer speaks.

    Attributes:
        stream: begins a connection, from the URL's query.
        is_told: whether the peer understands our messages; Asterisk does not.
        subprotocol: to agree to if the peer offers it.
    """

    stream: Callable[[Mapping[str, str]], Stream]
    is_told: bool = True
    subprotocol: str | None = None


_DIALECTS: Mapping[str, Dialect] = {
    "native": Dialect(stream=lambda query: NativeStream(read_parameters(query))),
    "freeswitch": Dialect(
        stream=lambda query: FreeSwitchStream(read_parameters(query)),
        subprotocol=freeswitch.SUBPROTOCOL,
    ),
}
"""By the name that the URL's query may hold as `dialect`."""

_ASTERISK = Dialect(
    stream=lambda _: ChanWebSocketStream(), is_told=False, subprotocol=chanwebsocket.SUBPROTOCOL
)


def _no_dialect(_: Mapping[str, str]) -> Stream:
    raise BadAudioParameters(f"dialect must be one of {', '.join(_DIALECTS)}")


_UNKNOWN = Dialect(stream=_no_dialect)


class AudioGateway:
    """Serves the WebSockets of peers whose session was started beforehand."""

    def __init__(self, desk: SessionDesk, patience: Patience) -> None:
        self._desk = desk
        self._patience = patience

    async def serve(self, socket: WebSocket) -> None:
        """One connection, from handshake to close, in the native dialect or one like it."""
        dialect = _DIALECTS.get(socket.query_params.get("dialect", "native"), _UNKNOWN)
        await self._serve(socket, dialect, socket.path_params["session_id"])

    async def serve_asterisk(self, socket: WebSocket) -> None:
        """The same of Asterisk's WebSocket channel; its dial string can set the query alone."""
        await self._serve(socket, _ASTERISK, socket.query_params.get("session", ""))

    async def _serve(self, socket: WebSocket, dialect: Dialect, session_id: str) -> None:
        peer, offered = _Peer(socket, dialect.is_told), socket.scope["subprotocols"]
        await socket.accept(dialect.subprotocol if dialect.subprotocol in offered else None)
        try:
            stream = dialect.stream(socket.query_params)
            token = socket.query_params.get("token", "")
            call = await self._desk.open_stream(_session_id(session_id), token)
        except VivavoceError as error:
            with contextlib.suppress(*GONE):
                await peer.refuse(error)
            return
        await _Connection(peer, stream, call, self._desk, self._patience).run()


@dataclass(frozen=True, slots=True)
class _Peer:
    """Who is at the other end, and whether it understands our messages."""

    socket: WebSocket
    is_told: bool

    async def refuse(self, error: VivavoceError) -> None:
        """Close, with the code and the name of an error."""
        code, name = next(
            ((code, name) for kind, code, name in _CLOSE_CODES if isinstance(error, kind)),
            (CloseCode.INTERNAL_ERROR, "InternalError"),
        )
        await self.close(code, name, str(error))

    async def close(self, code: int, name: str, message: str) -> None:
        """Close, and say why: to the peer, or else to the log."""
        if self.is_told:
            error = {"type": "error", "code": name, "message": message}
            await self.socket.send_text(json.dumps(error))
        else:
            path = self.socket.url.path
            _log.warning("%s: a connection was closed with %d: %s", path, code, message)
        await self.socket.close(code, reason=name)


class _Connection:
    """One connection on one call."""

    def __init__(
        self, peer: _Peer, stream: Stream, call: LiveCall, desk: SessionDesk, patience: Patience
    ) -> None:
        self._peer = peer
        self._stream = stream
        self._call = call
        self._desk = desk
        self._patience = patience
        self._shown: dict[str, Document] = {}  # what the peer was last told, by type of message

    async def run(self) -> None:
        """Feed the call until the peer ends it, leaves or is lost, or the call ends elsewhere."""
        showing = asyncio.create_task(self._show())
        try:
            receiving = asyncio.create_task(self._receive())
            outcome = await attend(self._call, receiving, self._patience)
        finally:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)
            _log_failure(showing)
        match outcome.kind:
            case "lost":
                pass
            case "left":
                await self._call.end()
            case "ended":
                await self._finish(outcome.refusal)

    async def _receive(self) -> Outcome:
        """Feed the call with what the peer sends."""
        try:
            while not await deliver(await self._read(), self._call.inbox):
                pass
        except PeerGone as gone:
            return await self._leave() if gone.on_purpose else Outcome(kind="lost")
        except (InvalidRequest, PeerIdle) as error:
            return Outcome(kind="ended", refusal=error)
        except InboxClosed:
            pass  # the session was ended from elsewhere, or the server shuts down
        return Outcome(kind="ended")

    async def _read(self) -> list[WireEvent]:
        return await receive(self._peer.socket, self._stream, within_s=self._patience.idle_s)

    async def _leave(self) -> Outcome:
        with contextlib.suppress(InboxClosed):
            await deliver(self._stream.finish(), self._call.inbox)
        return Outcome(kind="left")

    async def _finish(self, refusal: VivavoceError | None) -> None:
        """End the call, show its final state, and close."""
        await self._call.end()
        # The peer may be gone by now, or read nothing.
        with contextlib.suppress(*GONE, TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_S):
                await self._say_goodbye(refusal)

    async def _say_goodbye(self, refusal: VivavoceError | None) -> None:
        try:
            if self._peer.is_told:
                await self._tell(final=True)
        except VivavoceError:
            _log.exception("the final state of a call could not be shown")
            self._call.news.fail()
        if refusal is not None:
            await self._peer.refuse(refusal)
        elif self._call.news.failed:
            await self._peer.close(CloseCode.INTERNAL_ERROR, "InternalError", "The call failed")
        else:
            await self._peer.socket.close(CloseCode.DONE)

    async def _show(self) -> None:
        """Tell the peer about once a second how far the call is, and what was decided."""
        loop = asyncio.get_running_loop()
        while self._peer.is_told and not self._call.news.ended:
            session = await self._tell(final=False)
            look_s = loop.time() + _LOOK_S
            while not await self._call.news.wait(at_most_s=_PROGRESS_S) and loop.time() < look_s:
                document = progress_document(session, self._call.progress)
                await self._send({"type": "progress", **document})

    async def _tell(self, *, final: bool) -> Session:
        """Look at the session, tell what is new, and give what was seen."""
        identity = self._call.identity
        evaluation, progress = await self._desk.evaluate(identity.domain_id, identity.session_id)
        session = evaluation.session
        await self._send({"type": "progress", **progress_document(session, progress)})
        if session.enrollment_status is not None:
            await self._send_changed({"type": "enrollment", "status": session.enrollment_status})
        decided = evaluation_document(evaluation, progress)
        await self._send_changed({"type": "result", "evaluation": decided}, always=final)
        return session

    async def _send_changed(self, message: Document, *, always: bool = False) -> None:
        """Send a message unless the peer knows it already."""
        essence = _essence(message)
        if always or self._shown.get(message["type"]) != essence:
            self._shown[message["type"]] = essence
            await self._send(message)

    async def _send(self, message: Document) -> None:
        await self._peer.socket.send_text(json.dumps(message))


def _essence(message: Document) -> Document:
    """What makes a message worth sending again: for a result, the decisions and an early risk."""
    if message["type"] != "result":
        return message
    evaluation = message["evaluation"]
    return {
        member: evaluation.get(kind, {}).get(member)
        for kind, member in (
            ("AuthenticationResult", "AuthenticationResultId"),
            ("FraudDetectionResult", "FraudDetectionResultId"),
            ("FraudDetectionResult", "EarlyVoiceSpoofingRisk"),
        )
    }


def _log_failure(showing: asyncio.Task[None]) -> None:
    """A peer that is gone is no failure of ours; anything else in its display is."""
    error = None if showing.cancelled() else showing.exception()
    if error is not None and not isinstance(error, GONE):
        _log.error("the state of a call could not be shown", exc_info=error)


def _session_id(text: str) -> str:
    """The id in the path; its `#` may be left out, since URLs must escape it."""
    return text if text.startswith("id#") else f"id#{text}"
