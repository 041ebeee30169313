"""The server's WebSocket protocol: uvicorn's, but for broken peers and for live audio.

uvicorn 0.54 leaves a connection open without a word, and without a limit of time, when its
handshake cannot be read (a URL or header over 8 KiB, more than 128 headers), and writes a traceback
to the log when a text message is not UTF-8. Both can be had by anybody who reaches the port. And it
logs an error for every handshake that the application refuses with a response of its own.

A live call is a message every 20 ms. uvicorn reads the next one as soon as one was taken, which
costs the event loop a turn for each: a hundred calls would be 5000 turns a second. Here a
connection is left alone for a moment after each reading, and what came meanwhile is read at once,
as one message where it is audio.
"""

from collections import deque
from typing import cast

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from vivavoce.protocols.native import CloseCode

_UNREADABLE = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


_REST_S = 0.1
"""Five messages of 20 ms are read together. A decision comes 50 ms later in the mean."""

_LIVE_BYTES = 8000
"""Who sends more than this in `_REST_S` sends a recording, and is not made to wait."""


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One connection; everything but the cases above is uvicorn's."""

    _read_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Take what came; refuse a handshake that cannot be read."""
        self._read_bytes = len(data)
        super().data_received(data)
        unreadable = self.conn.handshake_exc is not None and not self.handshake_initiated
        if unreadable and not self.transport.is_closing():
            self.transport.write(_UNREADABLE)
            self.transport.close()

    async def receive(self) -> ASGIReceiveEvent:
        """The next message; when there is no other, reading goes on, of live audio after a rest."""
        message = self._with_following(await self.queue.get())
        if self._read_bytes > _LIVE_BYTES:
            self._read_on()
        elif self.read_paused and self.queue.empty():
            self.loop.call_later(_REST_S, self._read_on)
        return message

    def _with_following(self, message: ASGIReceiveEvent) -> ASGIReceiveEvent:
        """A binary message with those that wait behind it: no dialect minds where audio is cut."""
        pieces: list[bytes] = []
        while data := message.get("bytes"):
            pieces.append(data)
            if self.queue.empty() or not self._next_is_binary():
                return {"type": "websocket.receive", "bytes": b"".join(pieces), "text": None}
            message = self.queue.get_nowait()
        return message

    def _next_is_binary(self) -> bool:
        waiting = cast("deque[dict[str, object]]", self.queue._queue)  # type: ignore[attr-defined]  # noqa: SLF001
        return bool(waiting[0].get("bytes"))

    def _read_on(self) -> None:
        if self.read_paused and self.queue.empty() and not self.transport.is_closing():
            self.read_paused = False
            self.transport.resume_reading()

    def send_receive_event_to_app(self) -> None:
        """Pass a whole message on; close on a text that is none."""
        if self.curr_msg_data_type == "text" and not _is_utf8(b"".join(self.frames)):
            self.frames = []
            self.conn.send_close(CloseCode.INVALID_TEXT)
            self.handle_parser_exception()  # tells the application, and closes
            return
        super().send_receive_event_to_app()

    async def send(self, message: ASGISendEvent) -> None:
        """Send what the application has to say; a refusal completes the handshake as well."""
        await super().send(message)
        is_refusal = message["type"] == "websocket.http.response.body"
        if is_refusal and not message.get("more_body", False):
            self.handshake_complete = True


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
