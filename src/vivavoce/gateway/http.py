"""The server's HTTP/1.1 protocol: uvicorn's over httptools, with limits of size and time.

httptools (a wrapper of llhttp) reads a request in a third of the time that h11 takes, but it takes
heads, trailers and chunk extensions of any size. Here a connection that sends more than the limit
without any body getting further is refused. uvicorn waits for the rest of a request for ever; here
a request that does not come to its end in time is given up, and so is a connection without one.
"""

from __future__ import annotations

from asyncio import TimerHandle, Transport
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

MAX_HEAD_BYTES = 64 * 1024
"""Request line and headers: AWS's clients stay far below 8 KiB, and h11 has the same limit."""

HEAD_S = 10.0
"""Time for a request's head, and for a connection's first one to begin."""

BODY_S = 30.0
"""Time for a request's body: a megabyte over the slowest line that anybody would bank over."""


class HttpProtocol(HttpToolsProtocol):
    """One connection; everything but the limits is uvicorn's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*args, **kwargs)
        self._head_bytes = 0  # of what the parser has told of
        self._unheard_bytes = 0  # of what it has not, as it is not complete
        self._deadline: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin."""
        super().connection_made(transport)
        self._give(HEAD_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_waiting()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over; from here on its peer's patience is the gateway's matter."""
        self._stop_waiting()
        super().handle_websocket_upgrade()

    def data_received(self, data: bytes) -> None:
        """Take what came; refuse a head, a trailer or a chunk's extension without end."""
        self._unheard_bytes += len(data)
        super().data_received(data)
        if self._unheard_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The head of the request is too large.")

    def on_message_begin(self) -> None:
        """A request begins."""
        self._head_bytes = 0
        self._give(HEAD_S)
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A piece of the request line has come."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header has come, or a trailer."""
        self._count(len(name) + len(value) + len(": \r\n"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self._unheard_bytes = 0
        self._give(BODY_S)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body has come."""
        self._unheard_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._unheard_bytes = 0
        self._stop_waiting()
        super().on_message_complete()

    def _give(self, seconds: float) -> None:
        """Wait so long for what comes next."""
        self._stop_waiting()
        self._deadline = self.loop.call_later(seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(_TOO_SLOW)
            self.transport.close()

    def _count(self, length: int) -> None:
        self._head_bytes += length
        if self._head_bytes > MAX_HEAD_BYTES:
            # The parser stops at any exception, and uvicorn answers 400.
            raise ValueError("the head of the request is too large")
