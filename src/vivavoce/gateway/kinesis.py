"""Kinesis Video Streams, where Amazon Connect puts a call's audio: here it is us who connect.

botocore blocks while it reads, so each connection has a thread of its own, which hands over a few
pieces and waits until they are taken: a call whose inbox is full slows its stream down. Kinesis
Video keeps what was not read yet; a lost connection loses nothing.

The credentials are those that boto3 finds. They need `kinesisvideo:GetDataEndpoint` and
`kinesisvideo:GetMedia` on the streams, and `kms:Decrypt` on the key that these are encrypted with.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import AbstractContextManager
from functools import lru_cache, partial
from typing import Any, Protocol, cast

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NotConnected
from urllib3.exceptions import HTTPError

from vivavoce.call.inbox import InboxClosed
from vivavoce.call.runner import LiveCall
from vivavoce.errors import InvalidRequest, PeerIdle, SourceRefused, VivavoceError
from vivavoce.gateway.delivery import Outcome, Patience, attend, deliver
from vivavoce.protocols.events import WireEvent
from vivavoce.protocols.kinesis import KinesisStream
from vivavoce.sessions.desk import SessionDesk
from vivavoce.store.records import Session

_CONNECT_S = 5.0
_ANSWER_S = 10.0
"""Time for AWS to say where a stream is served. The stream itself may be silent for `idle_s`."""

_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 2.0
"""Between attempts to connect. GetMedia may be called five times a second on a stream. Source: the
quotas of Kinesis Video Streams."""

_READ_BYTES = 16 * 1024
_MOST_WAITING = 4
"""Pieces of a body that may wait to be taken."""

_MOST_CLIENTS = 64
"""Kept, one an endpoint: making one takes longer than a request."""

_BUSY = frozenset(
    {
        "ClientLimitExceededException",
        "ConnectionLimitExceededException",
        "InvalidEndpointException",
        "RequestTimeout",
        "Throttling",
        "ThrottlingException",
    }
)
"""Of the errors that are the request's fault (4xx) those that pass. Source: the service
descriptions of kinesisvideo and kinesis-video-media."""

_log = logging.getLogger(__name__)


class KinesisGateway:
    """Reads the streams of sessions that were started with one; a `StreamReader` of the API."""

    def __init__(self, desk: SessionDesk, patience: Patience, *, endpoint_url: str | None) -> None:
        """No connection is made yet.

        Args:
            desk: everything about sessions.
            patience: how long to wait.
            endpoint_url: another Kinesis Video than AWS's own; None: AWS's.
        """
        self._desk = desk
        self._patience = patience
        self._videos = _VideoStreams(endpoint_url, idle_s=patience.idle_s)
        self._reading: dict[tuple[str, int], asyncio.Task[None]] = {}

    def read(self, session: Session, token: str, *, arn: str, after: str | None) -> None:
        """Begin to feed a session's stream, unless it is being read; returns at once."""
        stream = session.session_id, session.stream_number
        if stream in self._reading:
            return  # a request that was repeated
        source = _Source(partial(self._videos.open, arn), after, self._patience)
        task = asyncio.create_task(self._serve(session, token, source, arn))
        self._reading[stream] = task
        task.add_done_callback(lambda _: self._reading.pop(stream))

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncGenerator[None]:
        """Streams are read within this context; at its end all are left where they are."""
        try:
            yield
        finally:
            tasks = list(self._reading.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, session: Session, token: str, source: "_Source", arn: str) -> None:
        """One stream, from the first connection to the end of the call."""
        try:
            if call := await self._open(session, token, source, arn):
                feeding = asyncio.create_task(self._feed(call, source))
                await attend(call, feeding, self._patience)
                await call.end()
        except Exception:  # noqa: BLE001 - nobody waits for this task
            _log.exception("session %s: its Kinesis stream was not read", session.session_id)
        finally:
            source.close()

    async def _open(
        self, session: Session, token: str, source: "_Source", arn: str
    ) -> LiveCall | None:
        """The call, once there is something to feed it with; None if there will be none."""
        try:
            await source.connect()
        except SourceRefused as error:
            _log.warning("session %s: %s cannot be read: %s", session.session_id, arn, error)
            await self._desk.give_up_stream(session.session_id, session.stream_number, error)
            return None
        try:
            return await self._desk.open_stream(session.session_id, token)
        except VivavoceError as error:
            _log.warning("session %s: %s is not read: %s", session.session_id, arn, error)
            return None

    async def _feed(self, call: LiveCall, source: "_Source") -> Outcome:
        """Pass on what comes, until the call is over or its stream is."""
        with contextlib.suppress(InboxClosed):  # ended from elsewhere
            try:
                while not await deliver(await source.receive(), call.inbox):
                    pass
            except (InvalidRequest, PeerIdle) as error:
                _log.warning("session %s: Kinesis Video: %s", call.identity.session_id, error)
            except SourceRefused as error:
                _log.warning("session %s: Kinesis Video: %s", call.identity.session_id, error)
                await deliver(source.finish(), call.inbox)
        return Outcome(kind="ended")


class _Source:
    """A call on its Kinesis video stream, over as many connections as it takes."""

    def __init__(
        self,
        open_body: "Callable[[str | None], AbstractContextManager[_Body]]",
        after: str | None,
        patience: Patience,
    ) -> None:
        """No connection is made yet.

        Args:
            open_body: connects, to go on after a fragment; blocks.
            after: number of the first such fragment; None: what comes from now on.
            patience: how long to wait.
        """
        self._open_body = open_body
        self._after = after
        self._patience = patience
        self._stream = KinesisStream()
        self._download: _Download | None = None
        self._pause_s = _FIRST_PAUSE_S
        self._lost_at: float | None = None  # since when nothing new was heard for want of a line

    async def connect(self) -> None:
        """Connect, for the first time or again, as often as it takes within the grace period.

        Raises:
            SourceRefused: it cannot be done, or was not done in time.
        """
        reason = "the connection ends at once"
        while True:
            await self._pause(reason)
            self.close()
            self._stream.reconnect()
            after = self._stream.latest_fragment or self._after
            self._download = _Download(partial(self._open_body, after))
            try:
                await self._download.receive()
            except _LostError as error:
                reason = str(error)
            else:
                return

    async def receive(self) -> list[WireEvent]:
        """What comes next; nothing where the connection had to be made anew.

        Raises:
            PeerIdle: nothing came for too long.
            SourceRefused: the connection was lost and cannot be made anew.
        """
        if self._download is None:
            raise RuntimeError("a source is connected before anything is received")
        try:
            async with asyncio.timeout(self._patience.idle_s):
                data = await self._download.receive()
        except TimeoutError:
            raise PeerIdle(self._patience.idle_s) from None
        except _LostError:
            data = None
        if data is None:
            await self.connect()
            return []
        events = self._stream.receive_bytes(data)
        if events:
            self._lost_at = None
        return events

    def finish(self) -> list[WireEvent]:
        """Nothing more is read."""
        return self._stream.finish()

    def close(self) -> None:
        """Leave the connection, if there is one."""
        if self._download is not None:
            self._download.stop()

    async def _pause(self, reason: str) -> None:
        """Wait before another attempt; the first one after something was heard is made at once."""
        now = asyncio.get_running_loop().time()
        if self._lost_at is None:
            self._lost_at, self._pause_s = now, _FIRST_PAUSE_S
            return
        if now + self._pause_s > self._lost_at + self._patience.grace_s:
            raise SourceRefused(f"Nothing came within {self._patience.grace_s:g} s: {reason}")
        await asyncio.sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)


class _LostError(Exception):
    """The connection cannot be made now, or broke off; another one may do."""


class _Body(Protocol):
    """What is used of urllib3's response, which is inside of what boto3 gives."""

    def read1(self, amt: int) -> bytes: ...

    def shutdown(self) -> None: ...


class _Download:
    """One connection, read by a thread of its own.

    The thread is a daemon: while it connects nothing can stop it, and nobody waits for that.
    """

    def __init__(self, open_body: Callable[[], AbstractContextManager[_Body]]) -> None:
        self._open_body = open_body
        self._loop = asyncio.get_running_loop()
        self._arrived: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self._room = threading.Semaphore(_MOST_WAITING)
        self._guard = threading.Lock()
        self._body: _Body | None = None
        self._stopped = False
        threading.Thread(target=self._run, name="kinesis", daemon=True).start()

    async def receive(self) -> bytes | None:
        """The next piece, empty at first, when the connection is made; None at the end.

        Raises:
            SourceRefused: the connection cannot be made.
            _LostError: it cannot be made now, or broke off.
        """
        arrived = await self._arrived.get()
        self._room.release()
        if isinstance(arrived, Exception):
            raise arrived
        return arrived

    def stop(self) -> None:
        """Read no more."""
        with self._guard:
            self._stopped = True
            body = self._body
        self._room.release()
        if body is not None:
            # It may have ended meanwhile, or have been taken apart by who read it.
            with contextlib.suppress(OSError, RuntimeError, ValueError):
                body.shutdown()

    def _run(self) -> None:
        try:
            with self._open_body() as body:
                with self._guard:
                    self._body = body
                self._hand_over(b"")
                while not self._stopped and (data := body.read1(_READ_BYTES)):
                    self._hand_over(data)
                with self._guard:
                    self._body = None
            self._hand_over(None)
        except (HTTPError, OSError) as error:
            self._hand_over(_LostError(f"the connection broke off ({type(error).__name__})"))
        except Exception as error:  # noqa: BLE001 - it is for whoever waits
            self._hand_over(error)

    def _hand_over(self, item: bytes | Exception | None) -> None:
        if not self._stopped:
            self._room.acquire()
        if not self._stopped:
            with contextlib.suppress(RuntimeError):  # the loop has closed
                self._loop.call_soon_threadsafe(self._arrived.put_nowait, item)


class _VideoStreams:
    """Kinesis Video Streams through boto3; every call blocks."""

    def __init__(self, endpoint_url: str | None, *, idle_s: float) -> None:
        self._endpoint_url = endpoint_url
        self._control = _config(read_s=_ANSWER_S)
        # Who waits for it leaves a silent stream; this is for the thread to end some time as well.
        self._media = _config(read_s=idle_s + _ANSWER_S)
        self._making = threading.Lock()
        self._client = lru_cache(maxsize=_MOST_CLIENTS)(self._new_client)

    def open(self, arn: str, after: str | None) -> AbstractContextManager[_Body]:
        """Connect to a stream, to read on after a fragment, or from now on.

        Raises:
            SourceRefused: AWS does not let us, or there is no such stream.
            _LostError: it cannot be had now.
        """
        region = arn.split(":")[3]
        with _explained():
            answer = self._client("kinesisvideo", region, self._endpoint_url).get_data_endpoint(
                APIName="GET_MEDIA", StreamARN=arn
            )
            media = self._client("kinesis-video-media", region, answer["DataEndpoint"])
            found = media.get_media(StreamARN=arn, StartSelector=_selector(after))
            # As a context, botocore's body gives the response of urllib3, which can read what is
            # there without waiting for more.
            return found["Payload"]

    def _new_client(self, service: str, region: str, endpoint_url: str | None) -> Any:  # noqa: ANN401
        import boto3.session  # noqa: PLC0415 - only who reads such streams pays for it

        config = self._control if service == "kinesisvideo" else self._media
        with self._making:  # boto3's clients may be shared by threads, making them may not
            return cast("Any", boto3.session.Session()).client(
                service, region_name=region, endpoint_url=endpoint_url, config=config
            )


def _config(*, read_s: float) -> Config:
    return Config(
        connect_timeout=_CONNECT_S,
        read_timeout=read_s,
        retries={"total_max_attempts": 1},  # whoever waits tries again
        tcp_keepalive=True,
    )


def _selector(after: str | None) -> Mapping[str, str]:
    if after is None:
        return {"StartSelectorType": "NOW"}
    return {"StartSelectorType": "FRAGMENT_NUMBER", "AfterFragmentNumber": after}


@contextlib.contextmanager
def _explained() -> Generator[None]:
    """Turns what boto3 raises into whether trying again may help."""
    try:
        yield
    except ClientError as error:
        facts = cast("dict[str, Any]", error.response)
        code = facts.get("Error", {}).get("Code", "an error")
        status = facts.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        if status >= 500 or code in _BUSY:
            raise _LostError(f"Kinesis Video answers {code}") from error
        message = facts.get("Error", {}).get("Message", "")
        raise SourceRefused(f"Kinesis Video answers {code}: {message}") from error
    except (NotConnected, HTTPClientError) as error:
        raise _LostError(f"Kinesis Video is not reached ({type(error).__name__})") from error
    except (BotoCoreError, LookupError, ValueError) as error:
        raise SourceRefused(f"Kinesis Video cannot be asked: {error}") from error
