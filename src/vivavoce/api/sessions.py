"""Sessions: the public `EvaluateSession`, and the operations that AWS kept private."""

from typing import Any, cast
from urllib.parse import quote

from vivavoce.api import shapes
from vivavoce.api.paging import PageRequest, read_page
from vivavoce.api.services import Request
from vivavoce.sessions.desk import SessionOptions, StartRequest
from vivavoce.sessions.documents import (
    evaluation_document,
    seconds,
    session_document,
    session_summary,
)

_PAGE_SIZE = 100


async def evaluate_session(
    context: Request, request: shapes.EvaluateSessionRequest
) -> shapes.EvaluateSessionResponse:
    """Decide on a session, or give out again what was decided."""
    evaluation, progress = await context.services.desk.evaluate(
        request["DomainId"], request["SessionNameOrId"]
    )
    return cast("shapes.EvaluateSessionResponse", evaluation_document(evaluation, progress))


async def start_session(
    context: Request, request: shapes.StartSessionRequest
) -> shapes.StartSessionResponse:
    """Start a session, or a new stream of an ended one."""
    session, token = await context.services.desk.start(
        StartRequest(
            domain_id=request["DomainId"],
            name=request.get("SessionName"),
            options=_options(request),
            authentication_enabled=request.get("AuthenticationEnabled"),
            fraud_detection_enabled=request.get("FraudDetectionEnabled"),
            client_token=request.get("ClientToken"),
        )
    )
    base = context.services.public_url or f"ws://{context.host}"
    url = f"{base}/v1/audio/{quote(session.session_id, safe='')}?token={quote(token)}"
    response = {"Session": session_document(session, None), "StreamUrl": url}
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
    session, progress = await context.services.desk.update(
        request["DomainId"], request["SessionNameOrId"], _options(request)
    )
    response = {"Session": session_document(session, progress)}
    return cast("shapes.UpdateSessionResponse", response)


async def enroll_by_session(
    context: Request, request: shapes.EnrollBySessionRequest
) -> shapes.EnrollBySessionResponse:
    """Enrol the session's speaker from its call."""
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
    fraudster = await context.services.desk.register_fraudster(
        request["DomainId"], request["SessionNameOrId"], watchlist_id
    )
    response = {
        "Fraudster": {
            "DomainId": fraudster.domain_id,
            "GeneratedFraudsterId": fraudster.fraudster_id,
            "WatchlistIds": list(fraudster.watchlist_ids),
            "CreatedAt": seconds(fraudster.created_ms),
        }
    }
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
    wanted = PageRequest(
        query=["ListSessions", domain_id, status],
        token=request.get("NextToken"),
        size=request.get("MaxResults", _PAGE_SIZE),
    )
    page, token = await read_page(
        wanted,
        lambda after, size: services.desk.list_sessions(
            domain_id, status=status, after=after, size=size
        ),
        signer=services.signer,
        now_ms=services.clock.now_ms(),
    )
    response: dict[str, Any] = {
        "SessionSummaries": [session_summary(session) for session in page],
        "NextToken": token,
    }
    return cast("shapes.ListSessionsResponse", response)


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
