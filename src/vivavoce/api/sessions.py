"""Sessions: the public `EvaluateSession`, and the operations that AWS kept private."""

from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, cast
from urllib.parse import quote

from vivavoce.api import shapes
from vivavoce.api.services import Request
from vivavoce.errors import InvalidRequest
from vivavoce.ids import is_generated
from vivavoce.sessions import announcements
from vivavoce.sessions.announcements import Announcement, RegistrationData
from vivavoce.sessions.desk import SessionOptions, StartRequest
from vivavoce.sessions.documents import (
    evaluation_document,
    fraudster_document,
    session_document,
    session_summary,
)
from vivavoce.store.tokens import ClientToken

_PAGE_SIZE = 100
_WEBSOCKET = "WebSocket"


async def evaluate_session(
    context: Request, request: shapes.EvaluateSessionRequest
) -> shapes.EvaluateSessionResponse:
    """Decide on a session, or give out again what was decided."""
    async with _telling_failure(context, announcements.evaluate_session, request):
        evaluation, progress = await context.services.desk.evaluate(
            request["DomainId"], request["SessionNameOrId"], announce_always=True
        )
    return cast("shapes.EvaluateSessionResponse", evaluation_document(evaluation, progress))


async def start_session(
    context: Request, request: shapes.StartSessionRequest
) -> shapes.StartSessionResponse:
    """Start a session, or a new stream of an ended one, and its reader if it needs one."""
    arn, after = _audio_source(request)
    wanted = StartRequest(
        domain_id=request["DomainId"],
        name=request.get("SessionName"),
        options=_options(request),
        authentication_enabled=request.get("AuthenticationEnabled"),
        fraud_detection_enabled=request.get("FraudDetectionEnabled"),
        token=ClientToken.of(request, scope=f"StartSession/{request['DomainId']}"),
    )
    async with context.services.announcer.on_failure(
        lambda error: announcements.start_session(
            context.domain_arn(wanted.domain_id),
            wanted.name,
            status="STREAMING_FAILED",
            now_ms=context.services.clock.now_ms(),
            error=error,
        )
    ):
        session, token = await context.services.desk.start(wanted)
    response: dict[str, Any] = {"Session": session_document(session, None)}
    if arn is None:
        base = context.services.public_url or f"ws://{context.host}"
        url = f"{base}/v1/audio/{quote(session.session_id, safe='')}?token={quote(token)}"
        response["StreamUrl"] = url
    else:
        context.services.reader.read(session, token, arn=arn, after=after)
    return cast("shapes.StartSessionResponse", response)


async def describe_session(
    context: Request, request: shapes.DescribeSessionRequest
) -> shapes.DescribeSessionResponse:
    """Show a session."""
    session, progress = await context.services.desk.describe(
        request["DomainId"], request["SessionNameOrId"]
    )
    response = {"Session": session_document(session, progress)}
    return cast("shapes.DescribeSessionResponse", response)


async def update_session(
    context: Request, request: shapes.UpdateSessionRequest
) -> shapes.UpdateSessionResponse:
    """Change a session's speaker or configuration."""
    async with _telling_failure(context, announcements.update_session, request):
        session, progress = await context.services.desk.update(
            request["DomainId"], request["SessionNameOrId"], _options(request)
        )
    response = {"Session": session_document(session, progress)}
    return cast("shapes.UpdateSessionResponse", response)


async def enroll_by_session(
    context: Request, request: shapes.EnrollBySessionRequest
) -> shapes.EnrollBySessionResponse:
    """Enrol the session's speaker from its call."""
    async with _telling_failure(context, announcements.session_enrollment, request):
        session, progress = await context.services.desk.enroll(
            request["DomainId"], request["SessionNameOrId"]
        )
    response = {"Session": session_document(session, progress)}
    return cast("shapes.EnrollBySessionResponse", response)


async def register_fraudster_by_session(
    context: Request, request: shapes.RegisterFraudsterBySessionRequest
) -> shapes.RegisterFraudsterBySessionResponse:
    """Put the session's caller on a watchlist."""
    (watchlist_id,) = request.get("WatchlistIds") or [None]
    named = request["SessionNameOrId"]
    async with context.services.announcer.on_failure(
        lambda error: announcements.fraudster(
            context.domain_arn(request["DomainId"]),
            "REGISTER_FRAUDSTER",
            fraudster_id=None,
            watchlist_ids=None if watchlist_id is None else [watchlist_id],
            now_ms=context.services.clock.now_ms(),
            data=RegistrationData(
                source="SESSION_REGISTRATION",
                # A session's name is not its id, and whether it has one was not found out.
                source_id=named if is_generated(named) else None,
                status=None,
            ),
            error=error,
        )
    ):
        fraudster = await context.services.desk.register_fraudster(
            request["DomainId"], request["SessionNameOrId"], watchlist_id
        )
    response = {"Fraudster": fraudster_document(fraudster)}
    return cast("shapes.RegisterFraudsterBySessionResponse", response)


async def end_session(
    context: Request, request: shapes.EndSessionRequest
) -> shapes.EndSessionResponse:
    """End a session's stream."""
    session, progress = await context.services.desk.end(
        request["DomainId"], request["SessionNameOrId"]
    )
    response = {"Session": session_document(session, progress)}
    return cast("shapes.EndSessionResponse", response)


async def list_sessions(
    context: Request, request: shapes.ListSessionsRequest
) -> shapes.ListSessionsResponse:
    """Show a page of a domain's sessions, in the order they were started."""
    services = context.services
    domain_id, status = request["DomainId"], request.get("StreamingStatus")
    page, token = await services.pager.read(
        request,
        lambda after, size: services.desk.list_sessions(
            domain_id, status=status, after=after, size=size
        ),
        query=["ListSessions", domain_id, status],
        default_size=_PAGE_SIZE,
    )
    response: dict[str, Any] = {
        "SessionSummaries": [session_summary(session) for session in page],
        "NextToken": token,
    }
    return cast("shapes.ListSessionsResponse", response)


class _MakesFailure(Protocol):
    def __call__(
        self, arn: str, session: str, /, *, now_ms: int, error: Exception
    ) -> Announcement: ...


def _telling_failure(
    context: Request,
    make: _MakesFailure,
    request: (
        shapes.EvaluateSessionRequest | shapes.UpdateSessionRequest | shapes.EnrollBySessionRequest
    ),
) -> AbstractAsyncContextManager[None]:
    return context.services.announcer.on_failure(
        lambda error: make(
            context.domain_arn(request["DomainId"]),
            request["SessionNameOrId"],
            now_ms=context.services.clock.now_ms(),
            error=error,
        )
    )


def _audio_source(request: shapes.StartSessionRequest) -> tuple[str | None, str | None]:
    """The Kinesis video stream to read, if it is one, and the fragment to begin after."""
    source, after = request.get("AudioSource", _WEBSOCKET), request.get("StartFragmentNumber")
    if source != _WEBSOCKET:
        return source, after
    if after is not None:
        raise InvalidRequest(
            "StartFragmentNumber belongs to a Kinesis video stream; give that one's ARN as "
            "AudioSource"
        )
    return None, None


def _options(request: shapes.StartSessionRequest | shapes.UpdateSessionRequest) -> SessionOptions:
    fraud = request.get("FraudDetectionConfiguration", {})
    return SessionOptions(
        speaker_id=request.get("SpeakerId"),
        acceptance_threshold=request.get("AuthenticationConfiguration", {}).get(
            "AcceptanceThreshold"
        ),
        risk_threshold=fraud.get("RiskThreshold"),
        watchlist_id=fraud.get("WatchlistId"),
        authentication_minimum_s=request.get("StreamingConfiguration", {}).get(
            "AuthenticationMinimumSpeechInSeconds"
        ),
    )
