"""A client of a running server: the API through boto3, a call's audio through a WebSocket."""

import asyncio
import contextlib
import json
import os
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import boto3
import typer
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
)
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from vivavoce.api.description import data_path
from vivavoce.audio.arrays import CALL_RATE_HZ, Samples
from vivavoce.errors import CallFailed, ServerSilent

Pace = Literal["real-time", "fast"]
Message = dict[str, Any]

_MESSAGE_SAMPLES = CALL_RATE_HZ // 50
"""Samples of a message in real time: 20 ms, as telephony has it."""

_FAST_MESSAGE_SAMPLES = CALL_RATE_HZ // 2


ENDPOINT = "http://127.0.0.1:8470"
"""Where a server on this machine is, if nothing else is said."""


def new_client(*, endpoint_url: str, credentials: Path | None) -> Any:  # noqa: ANN401 - boto3's
    """A boto3 client of the server, with the session operations.

    Args:
        endpoint_url: such as `http://127.0.0.1:8470`.
        credentials: a shared-credentials file; None leaves it to boto3's own chain.

    Raises:
        CallFailed: the address is none, or the AWS configuration found is not sound.
    """
    # boto3 reads these from the environment alone, and this process is nobody else's.
    os.environ["AWS_DATA_PATH"] = str(data_path())
    if credentials is not None:
        os.environ["AWS_SHARED_CREDENTIALS_FILE"] = str(credentials)
    try:
        with explained():
            return cast("Any", boto3).client(
                "voice-id",
                endpoint_url=endpoint_url,
                region_name=os.environ.get("AWS_DEFAULT_REGION", "us-east-1"),
                config=Config(retries={"mode": "standard"}, read_timeout=60),
            )
    except ValueError as error:  # so botocore calls an address that is none
        raise CallFailed(str(error)) from error


def client_of(endpoint_url: str | None, data_dir: Path | None) -> Any:  # noqa: ANN401 - boto3's
    """The client that a command's options ask for.

    Args:
        endpoint_url: the server; None: where AWS_ENDPOINT_URL_VOICE_ID says, or on this machine.
        data_dir: a server's data folder, whose credentials to use; None: as any AWS client.

    Raises:
        BadParameter: the folder holds no credentials.
        CallFailed: the address is none, or the AWS configuration found is not sound.
    """
    if data_dir is not None and not (data_dir / "credentials").is_file():
        raise typer.BadParameter(f"{data_dir} holds no credentials: is it a server's data folder?")
    return new_client(
        endpoint_url=endpoint_url or os.environ.get("AWS_ENDPOINT_URL_VOICE_ID") or ENDPOINT,
        credentials=None if data_dir is None else data_dir / "credentials",
    )


@contextlib.contextmanager
def explained() -> Generator[None]:
    """Turns what boto3 raises into one line.

    Raises:
        CallFailed: the server refused.
        ServerSilent: it could not be reached.
    """
    try:
        yield
    except ClientError as error:
        fault = cast("dict[str, str]", error.response.get("Error", {}))
        raise CallFailed(f"{fault.get('Code')}: {fault.get('Message')}") from error
    except NoCredentialsError as error:
        raise CallFailed(
            "no credentials: set AWS_SHARED_CREDENTIALS_FILE to the server's credentials file, or "
            "name its data folder with --data-dir"
        ) from error
    except EndpointConnectionError as error:
        raise ServerSilent(
            f"{error} Is the server running (vivavoce serve)? Another one: --endpoint-url"
        ) from error
    except HTTPClientError as error:
        raise ServerSilent(" ".join(str(error).splitlines())) from error
    except BotoCoreError as error:
        raise CallFailed(" ".join(str(error).splitlines())) from error


@contextlib.contextmanager
def ending_on_failure(client: Any, domain_id: str, session: str) -> Generator[None]:  # noqa: ANN401
    """Ends a session's stream if what is done with it fails.

    Until it expires, a stream that was started and not opened would leave the session without any
    result, keep others from calling on it, and count against the quota.
    """
    try:
        yield
    except BaseException:
        with contextlib.suppress(BotoCoreError, ClientError):  # the failure itself is what counts
            client.end_session(DomainId=domain_id, SessionNameOrId=session)
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class Hearing:
    """How a call is sent.

    Attributes:
        pace: as a phone would, or as fast as the server takes it.
        on_message: is told each message of the server, and the seconds sent so far.
    """

    pace: Pace
    on_message: Callable[[Message, float], None]


async def send_call(stream_url: str, samples: Samples, hearing: Hearing) -> Message:
    """Send audio as a live call and give the server's last evaluation.

    Args:
        stream_url: of StartSession.
        samples: the caller, shape (n,) at the call rate.
        hearing: how to send it.

    Raises:
        CallFailed: the server refused the stream or broke it off.
    """
    try:
        # The server makes a fast sender wait, and its pongs wait as well: no keepalive of ours.
        async with connect(stream_url, ping_interval=None, max_size=None) as socket:
            return await _converse(socket, samples, hearing)
    except (OSError, InvalidHandshake) as error:
        raise CallFailed(f"the stream could not be opened: {error}") from error


async def _converse(socket: ClientConnection, samples: Samples, hearing: Hearing) -> Message:
    sent = _Sent()
    sender = asyncio.create_task(_send(socket, samples, hearing.pace, sent))
    evaluation: Message = {}
    try:
        async for text in socket:
            message: Message = json.loads(text)
            if message["type"] == "error":
                raise CallFailed(f"{message['code']}: {message['message']}")
            if message["type"] == "result":
                evaluation = message["evaluation"]
            hearing.on_message(message, sent.samples / CALL_RATE_HZ)
    except ConnectionClosed as error:
        raise CallFailed(f"the server broke the stream off: {error}") from error
    finally:
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)
    return evaluation


@dataclass(slots=True)
class _Sent:
    samples: int = 0


async def _send(socket: ClientConnection, samples: Samples, pace: Pace, sent: _Sent) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    step = _MESSAGE_SAMPLES if pace == "real-time" else _FAST_MESSAGE_SAMPLES
    for start in range(0, len(samples), step):
        piece = samples[start : start + step]
        await socket.send(piece.astype("<i2").tobytes())
        sent.samples += len(piece)
        if pace == "real-time":
            # Against the clock, not one after the other: small delays must not add up.
            await asyncio.sleep(max(0.0, began + sent.samples / CALL_RATE_HZ - loop.time()))
    await socket.send(json.dumps({"type": "end"}))
