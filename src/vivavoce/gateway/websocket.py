"""The server's WebSocket protocol: uvicorn's, except that a broken peer gets an answer.

uvicorn 0.54 leaves a connection open without a word, and without a limit of time, when its
handshake cannot be read (a URL or header over 8 KiB, more than 128 headers), and writes a traceback
to the log when a text message is not UTF-8. Both can be had by anybody who reaches the port. And it
logs an error for every handshake that the application refuses with a response of its own.
"""

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from vivavoce.protocols.native import CloseCode

_UNREADABLE = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One connection; everything but the cases above is uvicorn's."""

    def data_received(self, data: bytes) -> None:
        """Take what came; refuse a handshake that cannot be read."""
        super().data_received(data)
        unreadable = self.conn.handshake_exc is not None and not self.handshake_initiated
        if unreadable and not self.transport.is_closing():
            self.transport.write(_UNREADABLE)
            self.transport.close()

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
