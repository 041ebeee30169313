"""Twilio's Media Streams: `/v1/twilio`.

Twilio understands no refusal but that of the handshake: whoever is not Twilio, or has no place,
gets an HTTP status, which Twilio shows in its console (error 31920). What is wrong later closes the
connection.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import logging
from collections.abc import Iterator
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket

from vivavoce.call.inbox import InboxClosed
from vivavoce.call.runner import LiveCall
from vivavoce.errors import AtCapacity, InvalidRequest, PeerIdle, VivavoceError
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
from vivavoce.protocols.events import Announced, WireEvent
from vivavoce.protocols.native import CloseCode
from vivavoce.protocols.twilio import TwilioStream
from vivavoce.sessions.reception import Reception
from vivavoce.store.connectors import Connector

_START_S = 10.0
"""Time in which the stream must start; Twilio does so at once."""

_SCHEMES = ("wss", "https", "ws", "http")
"""Twilio signs the URL as the call flow has it. Before a proxy that may have been any of these, and
a signature over the wrong one is still nobody else's."""

_log = logging.getLogger(__name__)


class TwilioGateway:
    """Serves Twilio's connections."""

    def __init__(self, reception: Reception, patience: Patience) -> None:
        self._reception = reception
        self._patience = patience

    async def serve(self, socket: WebSocket) -> None:
        """One connection, from handshake to close."""
        connectors = _genuine(socket, await self._reception.connectors("twilio"))
        if not connectors:
            _log.warning("Twilio: a connection was refused: no connector's token signed its URL")
            await _refuse(socket, 403, "X-Twilio-Signature is missing, or not by a known token")
            return
        try:
            self._reception.check_admission()
        except AtCapacity as error:
            _log.warning("Twilio: a connection was refused: %s", error)
            await _refuse(socket, 503, str(error))
            return
        await socket.accept()
        with contextlib.suppress(*GONE):
            await socket.close(await self._serve(socket, connectors))

    async def _serve(self, socket: WebSocket, connectors: list[Connector]) -> int:
        """Hear a call; gives the code to close with."""
        stream = TwilioStream()
        try:
            announced, events = await self._greet(socket, stream)
            call = await self._reception.take(connectors, announced)
        except PeerGone:
            return CloseCode.DONE
        except VivavoceError as error:
            _log.warning("Twilio: a call was refused: %s", error)
            full = isinstance(error, AtCapacity)
            return CloseCode.AT_CAPACITY if full else CloseCode.TOKEN_REJECTED
        feeding = asyncio.create_task(self._feed(socket, stream, call, events))
        outcome = await attend(call, feeding, self._patience)
        if outcome.kind != "lost":
            await call.end()
        if outcome.refusal is not None:
            _log.warning("session %s: Twilio: %s", call.identity.session_id, outcome.refusal)
            idle = isinstance(outcome.refusal, PeerIdle)
            return CloseCode.IDLE if idle else CloseCode.INVALID_TEXT
        return CloseCode.DONE

    async def _greet(
        self, socket: WebSocket, stream: TwilioStream
    ) -> tuple[Announced, list[WireEvent]]:
        """The call that the peer announces, and what came with it."""
        try:
            async with asyncio.timeout(_START_S):
                while True:
                    match await receive(socket, stream, within_s=_START_S):
                        case [Announced() as announced, *events]:
                            return announced, events
                        case []:
                            pass
                        case _:
                            raise PeerGone(CloseCode.DONE)
        except TimeoutError:
            raise PeerIdle(_START_S) from None

    async def _feed(
        self, socket: WebSocket, stream: TwilioStream, call: LiveCall, events: list[WireEvent]
    ) -> Outcome:
        try:
            while not await deliver(events, call.inbox):
                events = await receive(socket, stream, within_s=self._patience.idle_s)
        except PeerGone as gone:
            with contextlib.suppress(InboxClosed):
                await deliver(stream.finish(), call.inbox)
            return Outcome(kind="left" if gone.on_purpose else "lost")
        except (InvalidRequest, PeerIdle) as error:
            return Outcome(kind="ended", refusal=error)
        except InboxClosed:
            pass  # the session was ended from elsewhere, or the server shuts down
        return Outcome(kind="ended")


def _genuine(socket: WebSocket, connectors: list[Connector]) -> list[Connector]:
    """The connectors whose token signed the URL that Twilio connected to."""
    try:
        signature = base64.b64decode(socket.headers.get("x-twilio-signature", ""), validate=True)
    except ValueError:
        return []
    urls = list(_urls(socket))
    return [
        each
        for each in connectors
        if any(hmac.compare_digest(_sign(url, each.secret), signature) for url in urls)
    ]


def _urls(socket: WebSocket) -> Iterator[str]:
    """The URL of the connection, with and without its port, as Twilio may have signed it.

    Source: Twilio's "Validating requests": HMAC-SHA1 with the auth token over the full URL; its own
    libraries try with and without the port.
    """
    authority = urlsplit(f"//{socket.headers.get('host', '')}")
    target = target_of(socket)
    host = authority.netloc.rpartition(":")[0] if authority.port else authority.netloc
    for scheme in _SCHEMES:
        default = 443 if scheme in ("wss", "https") else 80
        yield f"{scheme}://{host}{target}"
        yield f"{scheme}://{host}:{authority.port or default}{target}"


def _sign(url: str, token: str) -> bytes:
    return hmac.new(token.encode(), url.encode(), hashlib.sha1).digest()


async def _refuse(socket: WebSocket, status: int, reason: str) -> None:
    await socket.send_denial_response(PlainTextResponse(reason + "\n", status_code=status))
