"""A stand-in for Kinesis Video Streams: GetDataEndpoint, and GetMedia with a body in chunks.

Source: the service descriptions of kinesisvideo and kinesis-video-media; chunks as of RFC 9112.
"""

import contextlib
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.matroska import FIRST_NUMBER

ARN = "arn:aws:kinesisvideo:eu-west-2:111111111111:stream/connect-contact-{}/1571360125131"
"""Of a stream by its name."""


class VideoStream:
    """What was put on one stream, and what happens to those who read it."""

    def __init__(self):
        self.fragments = []
        self.error: tuple[int, str] | None = None
        self.breaks_after_bytes = []
        self.ended = False
        self.selectors = []
        self.left = 0
        self.changed = threading.Condition()

    def put(self, *fragments):
        with self.changed:
            self.fragments += fragments
            self.changed.notify_all()

    def end(self):
        """Whoever reads is told that this was all."""
        with self.changed:
            self.ended = True
            self.changed.notify_all()


class KinesisVideo:
    """The service, on a port of its own."""

    def __init__(self):
        self.streams: dict[str, VideoStream] = {}
        self.closing = False
        service = self

        class Handler(_Handler):
            videos = service

        class Server(ThreadingHTTPServer):
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def add(self, name):
        """A new stream, and its ARN."""
        arn = ARN.format(name)
        self.streams[arn] = VideoStream()
        return self.streams[arn], arn

    def close(self):
        self.closing = True
        for stream in self.streams.values():
            stream.end()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    videos: KinesisVideo

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        stream = self.videos.streams.get(asked["StreamARN"])
        assert "/eu-west-2/kinesisvideo/aws4_request" in self.headers["Authorization"]
        if stream is None:
            self._refuse(404, "ResourceNotFoundException")
        elif stream.error is not None:
            self._refuse(*stream.error)
        elif self.path == "/getDataEndpoint":
            assert asked["APIName"] == "GET_MEDIA"
            self._answer(200, {"DataEndpoint": self.videos.url})
        else:
            assert self.path == "/getMedia"
            stream.selectors.append(asked["StartSelector"])
            self._stream(stream, asked["StartSelector"])

    def log_message(self, format, *args):  # noqa: A002 - the name is the base's
        pass

    def _refuse(self, status, code):
        self._answer(status, {"Message": f"it is {code}"}, {"x-amzn-ErrorType": code})

    def _answer(self, status, body, headers=None):
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, stream, selector):
        self.send_response(200)
        self.send_header("Content-Type", "video/webm")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        left = stream.breaks_after_bytes.pop(0) if stream.breaks_after_bytes else None
        index = _first_wanted(stream, selector)
        try:
            while (fragment := self._next(stream, index)) is not None:
                index += 1
                for start in range(0, len(fragment), 4096):
                    chunk = fragment[start : start + 4096]
                    if left is not None and (left := left - len(chunk)) < 0:
                        self.close_connection = True
                        return  # in mid-body
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True  # whoever read has left

    def _next(self, stream, index):
        with stream.changed:
            while index >= len(stream.fragments):
                if stream.ended or self.videos.closing:
                    return None
                stream.changed.wait(0.2)
                if self._peer_has_left():
                    stream.left += 1
                    raise ConnectionError
            return stream.fragments[index]

    def _peer_has_left(self):
        with contextlib.suppress(BlockingIOError):
            return self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        return False


def _first_wanted(stream, selector):
    """The index of the first fragment to send."""
    if selector["StartSelectorType"] == "NOW":
        return max(0, len(stream.fragments) - 1)
    return int(selector["AfterFragmentNumber"]) - FIRST_NUMBER + 1
