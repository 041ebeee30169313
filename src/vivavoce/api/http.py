"""The service's one HTTP route: `POST /`, JSON 1.0.

An answer is made in this order, and the first refusal ends it: body within its limit, signature,
operation, JSON, description, handler. AWS answers every client error with HTTP 400.
"""

import asyncio
import logging
import traceback
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar, cast

from botocore.model import ServiceModel
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from vivavoce.api import sigv4
from vivavoce.api.codec import Codec, encode_error
from vivavoce.api.context import Context, Handler
from vivavoce.clock import Clock, to_datetime
from vivavoce.errors import (
    AtCapacity,
    AudioError,
    Conflict,
    InvalidRequest,
    NotFound,
    RequestRefused,
    SignatureError,
)

S = TypeVar("S")

_LOG = logging.getLogger(__name__)
_MEDIA_TYPE = "application/x-amz-json-1.0"


class AccessKeys(Protocol):
    """Knows the secrets that requests are signed with."""

    def secret_of(self, access_key_id: str) -> str | None:
        """The secret of a key; None where the key is unknown or revoked."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """An error as the wire has it."""

    code: str
    message: str
    status: int = 400
    members: Mapping[str, str] = field(default_factory=dict[str, str])


def fault_of(error: Exception) -> Fault:
    """The one table from our errors to AWS's; what is not in it is our own failure."""
    match error:
        case RequestRefused():
            return Fault(code=error.code, message=str(error), status=error.status)
        case InvalidRequest() | AudioError():
            return Fault(code="ValidationException", message=str(error))
        case NotFound():
            return Fault(
                code="ResourceNotFoundException",
                message=str(error),
                members={"ResourceType": error.resource_type},
            )
        case Conflict():
            return Fault(
                code="ConflictException",
                message=str(error),
                members={"ConflictType": error.conflict_type},
            )
        case AtCapacity():
            return Fault(code="ServiceQuotaExceededException", message=str(error))
        case _:
            return Fault(
                code="InternalServerException", message="Internal Server Error", status=500
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one request may take.

    Attributes:
        body_bytes: the longest body that is read.
        drained_bytes: how much of a longer body is thrown away before the answer. Most clients read
            no answer while they send, so a refusal in the middle looks to them like a broken line.
        body_s: the time in which a body must have come, in seconds.
    """

    body_bytes: int = 1024 * 1024
    drained_bytes: int = 64 * 1024 * 1024
    body_s: float = 30.0


class VoiceIdEndpoint(Generic[S]):
    """An ASGI application for the path `/`.

    Args:
        handlers: by operation name; an operation without one is unknown to callers.
        service: the description that requests and responses follow.
        services: given to every handler in its context.
        access_keys: None switches authentication off, for a sandbox.
        account_id: twelve digits.
        clock: what signatures are dated by.
        default_region: for unsigned requests in a sandbox.
        limits: what one request may take.

    Raises:
        ValueError: a handler is named after no operation of the description.
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler[S]],
        *,
        service: ServiceModel,
        services: S,
        access_keys: AccessKeys | None,
        account_id: str,
        clock: Clock,
        default_region: str = "us-east-1",
        limits: Limits | None = None,
    ) -> None:
        self._codec = Codec(service)
        if strangers := handlers.keys() - self._codec.operations:
            raise ValueError(f"no such operation: {', '.join(sorted(strangers))}")
        self._handlers = dict(handlers)
        prefix = cast("str", service.metadata["targetPrefix"])
        self._operations = {f"{prefix}.{operation}": operation for operation in handlers}
        self._services = services
        self._access_keys = access_keys
        self._account_id = account_id
        self._clock = clock
        self._default_region = default_region
        self._limits = limits or Limits()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one HTTP request."""
        request = Request(scope, receive)
        request_id = str(uuid.uuid4())
        try:
            content = await self._answer(request, request_id)
        except (ClientDisconnect, asyncio.CancelledError):
            # Nobody waits for the answer: the peer has left, or the server shuts down.
            return
        except Exception as error:  # noqa: BLE001  every failure gets an answer
            response = _failure(fault_of(error))
            if response.status_code >= 500:
                _LOG.error("request %s failed\n%s", request_id, "".join(_anonymous_trace(error)))
        else:
            response = Response(content, media_type=_MEDIA_TYPE)
        response.headers["x-amzn-RequestId"] = request_id
        await response(scope, receive, send)

    async def _answer(self, request: Request, request_id: str) -> bytes:
        if request.method != "POST":
            raise RequestRefused(
                "MethodNotAllowedException",
                "This is the Voice ID API: POST / with an X-Amz-Target header",
                status=405,
            )
        body = await self._read(request)
        caller = self._caller(request, body)
        operation = self._operations.get(request.headers.get("x-amz-target", ""))
        if operation is None:
            raise RequestRefused(
                "UnknownOperationException",
                "X-Amz-Target names no operation that this version serves",
            )
        members = self._codec.decode(operation, body)
        context = Context(
            request_id=request_id,
            account_id=self._account_id,
            region=caller.region,
            access_key_id=caller.access_key_id,
            host=request.headers.get("host", ""),
            services=self._services,
        )
        response = await self._handlers[operation](context, members)
        return self._codec.encode(operation, response)

    async def _read(self, request: Request) -> bytes:
        try:
            async with asyncio.timeout(self._limits.body_s):
                return await _body(request, self._limits)
        except TimeoutError:
            raise RequestRefused(
                "RequestTimeoutException",
                f"The body did not come within {self._limits.body_s:g} s",
                status=408,
            ) from None

    def _caller(self, request: Request, body: bytes) -> sigv4.Caller:
        headers: list[tuple[bytes, bytes]] = request.headers.raw
        signed = sigv4.SignedRequest(
            headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers],
            query=request.scope["query_string"].decode("latin-1"),
            body=body,
        )
        if self._access_keys is not None:
            now = to_datetime(self._clock.now_ms())
            return sigv4.verify(signed, secret_of=self._access_keys.secret_of, now=now)
        try:
            region = sigv4.claimed(signed).caller.region
        except SignatureError:
            region = self._default_region
        return sigv4.Caller(access_key_id="", region=region)


async def _body(request: Request, limits: Limits) -> bytes:
    """The whole body, of which never more than the limit is held."""
    body = bytearray()
    length_bytes = 0
    async for chunk in request.stream():
        length_bytes += len(chunk)
        if length_bytes <= limits.body_bytes:
            body += chunk
        elif length_bytes > limits.drained_bytes:
            break
    if length_bytes > limits.body_bytes:
        raise RequestRefused(
            "RequestEntityTooLargeException",
            f"The body is longer than {limits.body_bytes} bytes",
            status=413,
        )
    return bytes(body)


def _failure(fault: Fault) -> Response:
    response = Response(
        encode_error(fault.code, fault.message, fault.members),
        status_code=fault.status,
        headers={"x-amzn-ErrorType": fault.code},
        media_type=_MEDIA_TYPE,
    )
    if fault.status == 405:
        response.headers["allow"] = "POST"
    if fault.status in (408, 413):
        # What is left of the body would be taken for the next request.
        response.headers["connection"] = "close"
    return response


def _anonymous_trace(error: BaseException) -> Iterator[str]:
    """A traceback with the classes of errors but without their texts, which may quote a caller."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        yield from _anonymous_trace(cause)
        yield "which led to\n"
    yield from traceback.format_tb(error.__traceback__)
    yield f"{type(error).__name__}\n"
