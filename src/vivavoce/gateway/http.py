"""The server's HTTP/1.1 protocol: uvicorn's over httptools, with a limit on what is not body.

httptools (a wrapper of llhttp) reads a request in a third of the time that h11 takes, but it takes
heads, trailers and chunk extensions of any size. Here a connection that sends more than the limit
without any body getting further is refused.
"""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024
"""Request line and headers: AWS's clients stay far below 8 KiB, and h11 has the same limit."""


class HttpProtocol(HttpToolsProtocol):
    """One connection; everything but the limit is uvicorn's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*args, **kwargs)
        self._head_bytes = 0  # of what the parser has told of
        self._unheard_bytes = 0  # of what it has not, as it is not complete

    def data_received(self, data: bytes) -> None:
        """Take what came; refuse a head, a trailer or a chunk's extension without end."""
        self._unheard_bytes += len(data)
        super().data_received(data)
        if self._unheard_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The head of the request is too large.")

    def on_message_begin(self) -> None:
        """A request begins."""
        self._head_bytes = 0
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
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body has come."""
        self._unheard_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._unheard_bytes = 0
        super().on_message_complete()

    def _count(self, length: int) -> None:
        self._head_bytes += length
        if self._head_bytes > MAX_HEAD_BYTES:
            # The parser stops at any exception, and uvicorn answers 400.
            raise ValueError("the head of the request is too large")
