"""The service's one HTTP route: `POST /`, JSON 1.0.

An answer is made in this order, and the first refusal ends it: body within its limit, signature,
operation, JSON, description, policy, rate, domain, handler. AWS answers every client error with
HTTP 400.
"""

import asyncio
import logging
import time
import traceback
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, cast

from botocore.model import ServiceModel
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from vivavoce.api import sigv4
from vivavoce.api.access import Guard
from vivavoce.api.codec import Codec, encode_error
from vivavoce.api.context import Context, Handler
from vivavoce.api.keys import AccessKey
from vivavoce.api.records import ApiCall
from vivavoce.api.throttle import Throttle
from vivavoce.clock import Clock, to_datetime
from vivavoce.errors import (
    AccessDenied,
    AtCapacity,
    AudioError,
    Conflict,
    InvalidRequest,
    KeyDenied,
    KeyServiceDown,
    KeyUnavailable,
    NotFound,
    QuotaExceeded,
    RequestRefused,
    SignatureError,
    Throttled,
)

S = TypeVar("S")

_LOG = logging.getLogger(__name__)
_MEDIA_TYPE = "application/x-amz-json-1.0"
_UNRECORDED = frozenset({"SerializationException", "ThrottlingException", "ValidationException"})


class Keys(Protocol):
    """Knows the keys that requests are signed with."""

    def find(self, access_key_id: str) -> AccessKey | None:
        """A key; None where it is unknown or revoked."""
        ...

    async def find_anew(self, access_key_id: str) -> AccessKey | None:
        """The same, for a key that may have been made a moment ago."""
        ...


class Directory(Protocol):
    """Knows where domains are."""

    async def require(self, domain_id: str, arn: str) -> None:
        """Raises `NotFound` if the domain has another ARN."""
        ...


class Audit(Protocol):
    """Keeps a record of calls."""

    def wants(self, operation: str, *, denied: bool) -> bool:
        """Whether a call is recorded."""
        ...

    async def require_log(self) -> None:
        """Make sure that calls can be recorded; raises if not."""
        ...

    async def add(self, call: ApiCall) -> None:
        """Record a call."""
        ...


class Meter(Protocol):
    """Counts and times requests."""

    def answered(self, operation: str | None, seconds: float, code: str | None) -> None:
        """Count a request: its operation if it named one, and its error if it failed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """An error as the wire has it."""

    code: str
    message: str
    status: int = 400
    members: Mapping[str, str] = field(default_factory=dict[str, str])


_CODES: tuple[tuple[type[Exception], str], ...] = (
    (InvalidRequest, "ValidationException"),
    (AudioError, "ValidationException"),
    (NotFound, "ResourceNotFoundException"),
    (Conflict, "ConflictException"),
    (AtCapacity, "ServiceQuotaExceededException"),
    (QuotaExceeded, "ServiceQuotaExceededException"),
    (Throttled, "ThrottlingException"),
    (AccessDenied, "AccessDeniedException"),
    (KeyDenied, "AccessDeniedException"),
)


def fault_of(error: Exception) -> Fault:
    """The one table from our errors to AWS's; what is not in it is our own failure."""
    if isinstance(error, RequestRefused):
        return Fault(code=error.code, message=str(error), status=error.status)
    for kind, code in _CODES:
        if isinstance(error, kind):
            return Fault(code=code, message=str(error), members=_members(error))
    return Fault(code="InternalServerException", message="Internal Server Error", status=500)


def _members(error: Exception) -> dict[str, str]:
    match error:
        case NotFound():
            return {"ResourceType": error.resource_type}
        case Conflict():
            return {"ConflictType": error.conflict_type}
        case _:
            return {}


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


@dataclass(slots=True, kw_only=True)
class _Exchange:
    """What is known of a request so far; whoever counts and records looks here."""

    request_id: str
    started_s: float
    operation: str | None = None
    caller: sigv4.Caller | None = None
    members: Mapping[str, Any] | None = None


class VoiceIdEndpoint(Generic[S]):
    """An ASGI application for the path `/`.

    Args:
        handlers: by operation name; an operation without one is unknown to callers.
        service: the description that requests and responses follow.
        services: given to every handler in its context.
        keys: None switches authentication off, for a sandbox.
        guard: asks a caller's policy.
        throttle: holds up what comes too often.
        directory: knows where domains are.
        audit: keeps a record of calls.
        meter: counts and times requests.
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
        keys: Keys | None,
        guard: Guard,
        throttle: Throttle,
        directory: Directory,
        audit: Audit,
        meter: Meter,
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
        self._keys = keys
        self._guard = guard
        self._throttle = throttle
        self._directory = directory
        self._audit = audit
        self._meter = meter
        self._account_id = account_id
        self._clock = clock
        self._default_region = default_region
        self._limits = limits or Limits()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one HTTP request."""
        request = Request(scope, receive)
        exchange = _Exchange(request_id=str(uuid.uuid4()), started_s=time.perf_counter())
        fault = None
        try:
            content = await self._answer(request, exchange)
        except (ClientDisconnect, asyncio.CancelledError):
            # Nobody waits for the answer: the peer has left, or the server shuts down.
            return
        except Exception as error:  # noqa: BLE001  every failure gets an answer
            fault = fault_of(error)
            response = _failure(fault)
            # What a key service refuses is explained in the vault's own log, once a minute.
            if fault.status >= 500 and not isinstance(error, KeyUnavailable | KeyServiceDown):
                trace = "".join(_anonymous_trace(error))
                _LOG.error("request %s failed\n%s", exchange.request_id, trace)
        else:
            response = Response(content, media_type=_MEDIA_TYPE)
        response.headers["x-amzn-RequestId"] = exchange.request_id
        self._meter.answered(
            exchange.operation,
            time.perf_counter() - exchange.started_s,
            None if fault is None else fault.code,
        )
        await response(scope, receive, send)

    async def _answer(self, request: Request, exchange: _Exchange) -> bytes:
        if request.method != "POST":
            raise RequestRefused(
                "MethodNotAllowedException",
                "This is the Voice ID API: POST / with an X-Amz-Target header",
                status=405,
            )
        body = await self._read(request)
        caller = exchange.caller = await self._caller(request, body)
        operation = self._operations.get(request.headers.get("x-amz-target", ""))
        if operation is None:
            raise RequestRefused(
                "UnknownOperationException",
                "X-Amz-Target names no operation of this service",
            )
        exchange.operation = operation
        try:
            members = exchange.members = self._codec.decode(operation, body)
            response = await self._perform(request, caller, operation, members, exchange)
        except Exception as error:
            fault = fault_of(error)
            denied = fault.code == "AccessDeniedException"
            # What was turned away unread, or for its rate, would fill the log at will.
            is_worth_it = fault.code not in _UNRECORDED
            if is_worth_it and self._audit.wants(operation, denied=denied):
                await self._audit.add(self._call(request, exchange, fault=fault))
            raise
        if self._audit.wants(operation, denied=False):
            await self._audit.add(self._call(request, exchange, response=response))
        return self._codec.encode(operation, response)

    async def _perform(
        self,
        request: Request,
        caller: sigv4.Caller,
        operation: str,
        members: Mapping[str, Any],
        exchange: _Exchange,
    ) -> Mapping[str, Any] | None:
        if self._keys is not None:
            peer = request.client
            await self._guard.check(
                caller,
                operation,
                members,
                source_ip=None if peer is None else peer.host,
                is_secure=request.url.scheme == "https",
            )
        self._throttle.take(operation)
        context = Context(
            request_id=exchange.request_id,
            account_id=self._account_id,
            region=caller.region,
            access_key_id=caller.access_key_id,
            host=request.headers.get("host", ""),
            services=self._services,
        )
        if "DomainId" in members:
            domain_id = members["DomainId"]
            await self._directory.require(domain_id, context.domain_arn(domain_id))
        if self._audit.wants(operation, denied=False):
            await self._audit.require_log()
        return await self._handlers[operation](context, members)

    def _call(
        self,
        request: Request,
        exchange: _Exchange,
        *,
        response: Mapping[str, Any] | None = None,
        fault: Fault | None = None,
    ) -> ApiCall:
        caller, peer = exchange.caller, request.client
        key = None if caller is None else caller.key
        return ApiCall(
            operation=exchange.operation or "",
            request_id=exchange.request_id,
            at_ms=self._clock.now_ms(),
            account_id=self._account_id,
            region="" if caller is None else caller.region,
            access_key_id="" if caller is None else caller.access_key_id,
            user_name="" if key is None else key.name,
            source_ip="" if peer is None else peer.host,
            user_agent=request.headers.get("user-agent", ""),
            request=exchange.members,
            response=response,
            error_code=None if fault is None else fault.code,
            error_message=None if fault is None else fault.message,
        )

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

    async def _caller(self, request: Request, body: bytes) -> sigv4.Caller:
        headers: list[tuple[bytes, bytes]] = request.headers.raw
        signed = sigv4.SignedRequest(
            headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers],
            query=request.scope["query_string"].decode("latin-1"),
            body=body,
        )
        if self._keys is not None:
            authorization = sigv4.claimed(signed)
            access_key_id = authorization.caller.access_key_id
            key = self._keys.find(access_key_id) or await self._keys.find_anew(access_key_id)
            now = to_datetime(self._clock.now_ms())
            return sigv4.verify(signed, authorization, key=key, now=now)
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
