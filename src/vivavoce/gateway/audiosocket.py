"""Asterisk's AudioSocket: a TCP connection a call, which names its session by a UUID.

Whoever is refused is hung up on by closing the connection, not by a hangup frame: the caller's own
call goes on in the dialplan.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from vivavoce.call.inbox import InboxClosed
from vivavoce.call.runner import LiveCall
from vivavoce.errors import InvalidRequest, PeerIdle, VivavoceError
from vivavoce.gateway.delivery import Outcome, Patience, attend, deliver
from vivavoce.protocols.audiosocket import AudioSocketStream
from vivavoce.protocols.events import Malformed, Named, WireEvent
from vivavoce.sessions.desk import SessionDesk

_HANDSHAKE_S = 5.0
"""Asterisk sends the UUID at once; whoever does not is no Asterisk."""

_READ_BYTES = 16 * 1024
_MOST_UNREAD_BYTES = 64 * 1024
"""A peer that does not read its silence gets no more of it."""

_log = logging.getLogger(__name__)


class AudioSocketGateway:
    """Serves AudioSocket's connections."""

    def __init__(self, desk: SessionDesk, patience: Patience) -> None:
        self._desk = desk
        self._patience = patience

    @contextlib.asynccontextmanager
    async def listening(self, listener: socket.socket | None) -> AsyncGenerator[None]:
        """Take connections of a socket that listens, if there is one; at the end, no new ones."""
        if listener is None:
            yield
            return
        server = await asyncio.start_server(self._serve, sock=listener)
        try:
            yield
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its UUID to its end."""
        line = _Line(AudioSocketStream(), reader, writer)
        try:
            name, events = await self._greet(line)
            call = await self._desk.open_named_stream(name)
        except (VivavoceError, OSError) as error:
            _log.warning("an AudioSocket connection was refused: %s", error)
            await _hang_up(writer)
            return
        try:
            feeding = asyncio.create_task(self._feed(call, line, events))
            outcome = await attend(call, feeding, self._patience)
            if outcome.kind != "lost":
                await call.end()
        finally:
            await _hang_up(writer)

    async def _greet(self, line: "_Line") -> tuple[str, list[WireEvent]]:
        """The session's name, and what came with it."""
        try:
            async with asyncio.timeout(_HANDSHAKE_S):
                while data := await line.reader.read(_READ_BYTES):
                    match line.stream.receive_bytes(data):
                        case [Named(name=name), *events]:
                            return name, events
                        case [Malformed(reason=reason)]:
                            raise InvalidRequest(reason)
                        case _:
                            pass  # only the beginning of a frame yet
        except TimeoutError:
            raise PeerIdle(_HANDSHAKE_S) from None
        raise InvalidRequest("The connection was closed before it named a session")

    async def _feed(self, call: LiveCall, line: "_Line", events: list[WireEvent]) -> Outcome:
        """Pass on what comes, until the call is over or the line breaks."""
        try:
            while not await deliver(events, call.inbox):
                answer = line.stream.take_answer()
                if line.writer.transport.get_write_buffer_size() < _MOST_UNREAD_BYTES:
                    line.writer.write(answer)
                async with asyncio.timeout(self._patience.idle_s):
                    data = await line.reader.read(_READ_BYTES)
                if not data:
                    # Asterisk closes the connection when the caller has hung up.
                    await deliver(line.stream.finish(), call.inbox)
                    return Outcome(kind="left")
                events = line.stream.receive_bytes(data)
        except InboxClosed:
            pass  # the session was ended from elsewhere, or the server shuts down
        except InvalidRequest as error:
            _log.warning("session %s: AudioSocket: %s", call.identity.session_id, error)
        except TimeoutError:
            idle = PeerIdle(self._patience.idle_s)
            _log.warning("session %s: AudioSocket: %s", call.identity.session_id, idle)
        except OSError:
            return Outcome(kind="lost")
        return Outcome(kind="ended")


@dataclass(frozen=True, slots=True)
class _Line:
    stream: AudioSocketStream
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
