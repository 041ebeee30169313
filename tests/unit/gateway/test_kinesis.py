"""A connection's thread: it waits for whoever listens, and ends when nobody does."""

import asyncio
import contextlib
import threading

import pytest
from urllib3.exceptions import ProtocolError

from vivavoce.errors import SourceRefused
from vivavoce.gateway.kinesis import _Download, _LostError

pytestmark = pytest.mark.anyio


class Body:
    """A response that goes on until it is shut down."""

    def __init__(self, *, silent=False, error: Exception | None = None):
        self.reads = 0
        self.closed = threading.Event()
        self._silent = silent
        self._error = error

    def read1(self, amt):
        self.reads += 1
        if self._error is not None:
            raise self._error
        if self._silent:
            assert self.closed.wait(10), "nobody shut it down"
        return b"" if self.closed.is_set() else b"data"

    def shutdown(self):
        self.closed.set()


@contextlib.contextmanager
def no_thread_left():
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name == "kinesis":
            thread.join(5)
            assert not thread.is_alive()


async def settled(body):
    """How often it was read, once that stays the same."""
    while True:
        reads = body.reads
        await asyncio.sleep(0.1)
        if body.reads == reads:
            return reads


async def test_no_more_is_read_than_a_few_pieces_ahead():
    body = Body()
    with no_thread_left():
        download = _Download(lambda: contextlib.nullcontext(body))
        assert await settled(body) == 4  # three wait beside the first, empty piece; one is held
        assert [await download.receive() for _ in range(3)] == [b"", b"data", b"data"]
        assert await settled(body) == 7
        download.stop()


@pytest.mark.parametrize("silent", [False, True], ids=["waits for room", "waits for data"])
async def test_who_stops_it_leaves_no_thread_behind(silent):
    body = Body(silent=silent)
    with no_thread_left():
        download = _Download(lambda: contextlib.nullcontext(body))
        await settled(body)
        download.stop()
    assert body.closed.is_set()


async def test_it_may_be_stopped_while_it_connects():
    connecting = threading.Event()

    def connect():
        assert connecting.wait(10)
        return contextlib.nullcontext(Body())

    with no_thread_left():
        download = _Download(connect)
        download.stop()
        connecting.set()


async def test_a_connection_that_breaks_off_is_told_after_what_came():
    body = Body(error=ProtocolError("Connection broken"))
    download = _Download(lambda: contextlib.nullcontext(body))
    assert await download.receive() == b""
    with pytest.raises(_LostError, match="ProtocolError"):
        await download.receive()


async def test_a_connection_that_is_refused_is_told():
    def connect():
        raise SourceRefused("no such stream")

    with pytest.raises(SourceRefused):
        await _Download(connect).receive()
