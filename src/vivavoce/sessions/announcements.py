"""Announcements: what is told to the outside when something happens. Envelopes of EventBridge.

One function a detail type, for success and for failure. Each gives the whole envelope, ready for
the outbox, to be put there in the transaction that makes the change. Absent members are explicit
nulls. Events name speakers and fraudsters by generated id only: whatever else a request called them
becomes null here, so a customer's id cannot slip through.

A domain is given as its ARN, which also names account, region and domain id; so the failure of a
request on a domain that does not exist can be told as well.

Source: voice-id-behaviour.md sections 12 and 21; error codes 5.4 and 12.1.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vivavoce.call.machine import ENROLLMENT_S, FRAUD_S
from vivavoce.clock import iso_utc
from vivavoce.errors import (
    AccessDenied,
    AtCapacity,
    AudioError,
    Conflict,
    EntryFailed,
    InvalidRequest,
    KeyDenied,
    NotEnoughSpeech,
    NotFound,
    QuotaExceeded,
    SourceRefused,
    Throttled,
)
from vivavoce.ids import is_generated, unique_id
from vivavoce.sessions.evaluation import (
    AuthenticationOutcome,
    Evaluation,
    FraudOutcomeGiven,
    SpoofingGiven,
)
from vivavoce.store.records import Evidence, Job, Session

Body = dict[str, Any]

StreamStatus = Literal["STREAMING_STARTED", "STREAMING_ENDED", "STREAMING_FAILED"]
SpeakerAction = Literal["ENROLL_SPEAKER", "DELETE_SPEAKER", "OPT_OUT_SPEAKER"]
FraudsterAction = Literal["REGISTER_FRAUDSTER", "DELETE_FRAUDSTER"]
EnrollmentSource = Literal["SESSION_ENROLLMENT", "BATCH_ENROLLMENT"]
RegistrationSource = Literal["SESSION_REGISTRATION", "BATCH_REGISTRATION"]
EnrollmentOutcome = Literal["NEW_ENROLLMENT", "DUPLICATE_SKIPPED", "ENROLLMENT_OVERWRITE"]
RegistrationOutcome = Literal["NEW_REGISTRATION", "DUPLICATE_SKIPPED"]

BATCH_NOT_ENOUGH_SPEECH = "The provided audio files do not have enough speech for {}."
"""Source: voice-id-behaviour.md section 5.4, for an enrolment; for a registration, made like it."""

Batch = Literal["enrollment", "registration"]

_INTERNAL_ERROR = "Internal Server Error"

# The first that fits counts: NotEnoughSpeech is an AudioError, too.
_ERRORS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], int, str], ...] = (
    (NotFound, 404, "RESOURCE_NOT_FOUND"),
    (Conflict, 409, "CONFLICT"),
    ((QuotaExceeded, AtCapacity), 402, "SERVICE_QUOTA_EXCEEDED"),
    (NotEnoughSpeech, 400, "NOT_ENOUGH_SPEECH"),
    ((InvalidRequest, AudioError, SourceRefused, EntryFailed), 400, "BAD_REQUEST"),
    ((AccessDenied, KeyDenied), 403, "ACCESS_DENIED"),
    (Throttled, 429, "THROTTLED"),
)

# What a job failed of is kept as its code.
_JOB_ERRORS = {
    400: "BAD_REQUEST",
    402: "SERVICE_QUOTA_EXCEEDED",
    403: "ACCESS_DENIED",
    404: "RESOURCE_NOT_FOUND",
    409: "CONFLICT",
    429: "THROTTLED",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """An event, ready to be put in the outbox.

    Attributes:
        resource: what it is about; events of one resource are delivered in order.
        body: the whole envelope.
    """

    resource: str
    body: Body


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrollmentData:
    """Where an enrolment came from.

    Attributes:
        source_id: the session or batch job.
        status: None where it failed.
    """

    source: EnrollmentSource
    source_id: str
    status: EnrollmentOutcome | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationData:
    """Where a registration came from.

    Attributes:
        source_id: the session or batch job; None where it was named otherwise.
        status: None where it failed.
    """

    source: RegistrationSource
    source_id: str | None
    status: RegistrationOutcome | None


def start_session(
    arn: str,
    session: Session | str | None,
    *,
    status: StreamStatus,
    now_ms: int,
    evidence: Evidence | None = None,
    error: Exception | None = None,
) -> Announcement:
    """A stream has started, ended or failed.

    Args:
        arn: of the domain.
        session: as it is after the change; its name or id as requested, or None if it had none,
            where a session was never made.
        status: what happened to the stream.
        now_ms: the time.
        evidence: the stream's latest, which says when aggregation was complete; None if there is
            none yet.
        error: why it failed; only with `STREAMING_FAILED`.
    """
    shown = _named(session)
    if isinstance(session, Session):
        shown |= {
            "generatedSpeakerId": session.speaker_id,
            **_configurations(session),
            "streamingConfiguration": {
                "authenticationMinimumSpeechInSeconds": session.authentication_minimum_s
            },
            **_audio_progress(session, evidence),
            # Ours, here and in an evaluation: AWS told nothing of how good the audio is.
            "audioQuality": session.quality,
        }
    else:
        shown |= dict.fromkeys(
            (
                "generatedSpeakerId",
                "authenticationConfiguration",
                "fraudDetectionConfiguration",
                "streamingConfiguration",
                "enrollmentAudioProgress",
                "authenticationAudioProgress",
                "fraudDetectionAudioProgress",
                "audioQuality",
            )
        )
    detail = {
        "action": "START_SESSION",
        "status": status,
        "session": shown,
        "systemAttributes": None,
        "errorInfo": _error_info(error, failed=status == "STREAMING_FAILED"),
    }
    return _announcement(
        arn, "VoiceId Start Session Action", detail, resource=_id_of(session), now_ms=now_ms
    )


def update_session(
    arn: str, session: Session | str, *, now_ms: int, error: Exception | None = None
) -> Announcement:
    """A session was changed, or could not be.

    Args:
        arn: of the domain.
        session: as it is after the change; on failure, its name or id as requested is enough.
        now_ms: the time.
        error: why it failed.
    """
    shown = _named(session)
    if isinstance(session, Session) and error is None:
        shown |= {**_configurations(session), "generatedSpeakerId": session.speaker_id}
    else:
        shown |= dict.fromkeys(
            ("authenticationConfiguration", "fraudDetectionConfiguration", "generatedSpeakerId")
        )
    detail = {
        "action": "UPDATE_SESSION",
        "status": _status(error),
        "session": shown,
        "systemAttributes": None,
        "errorInfo": _error_info(error),
    }
    return _announcement(
        arn, "VoiceId Update Session Action", detail, resource=_id_of(session), now_ms=now_ms
    )


def evaluate_session(
    arn: str, evaluated: Evaluation | Session | str, *, now_ms: int, error: Exception | None = None
) -> Announcement:
    """A session was evaluated, or could not be.

    Args:
        arn: of the domain.
        evaluated: what was decided; on failure the session, or its name or id as requested.
        now_ms: the time.
        error: why it failed.
    """
    session = evaluated.session if isinstance(evaluated, Evaluation) else evaluated
    decided = evaluated if isinstance(evaluated, Evaluation) and error is None else None
    shown = {
        **_named(session),
        "generatedSpeakerId": None if decided is None else decided.session.speaker_id,
        "streamingStatus": session.streaming_status if isinstance(session, Session) else None,
        "authenticationResult": _authentication(decided.authentication) if decided else None,
        "fraudDetectionResult": _fraud(decided.fraud) if decided else None,
        "audioQuality": decided.session.quality if decided else None,
    }
    detail = {
        "action": "EVALUATE_SESSION",
        "status": _status(error),
        "session": shown,
        "systemAttributes": None,
        "errorInfo": _error_info(error),
    }
    return _announcement(
        arn, "VoiceId Evaluate Session Action", detail, resource=_id_of(session), now_ms=now_ms
    )


def speaker(
    arn: str,
    action: SpeakerAction,
    *,
    speaker_id: str | None,
    now_ms: int,
    data: EnrollmentData | None = None,
    error: Exception | None = None,
) -> Announcement:
    """A speaker was enrolled, deleted or opted out, or could not be.

    Args:
        arn: of the domain.
        action: what was done.
        speaker_id: generated id; one that is not generated, as a request may give it, is not shown.
        now_ms: the time.
        data: where an enrolment came from; only with `ENROLL_SPEAKER`, and always there.
        error: why it failed.
    """
    shown_id = _generated(speaker_id)
    is_batch = data is not None and data.source == "BATCH_ENROLLMENT"
    info = _error_info(error, batch="enrollment" if is_batch else None)
    detail = {
        "action": action,
        "status": _status(error),
        "generatedSpeakerId": shown_id,
        "data": data
        and {
            "enrollmentSource": data.source,
            "enrollmentSourceId": data.source_id,
            "enrollmentStatus": data.status,
        },
        "systemAttributes": None,
        "errorInfo": info,
    }
    return _announcement(arn, "VoiceId Speaker Action", detail, resource=shown_id, now_ms=now_ms)


def fraudster(
    arn: str,
    action: FraudsterAction,
    *,
    fraudster_id: str | None,
    watchlist_ids: Sequence[str] | None,
    now_ms: int,
    data: RegistrationData | None = None,
    error: Exception | None = None,
) -> Announcement:
    """A fraudster was registered or deleted, or could not be.

    Args:
        arn: of the domain.
        action: what was done.
        fraudster_id: None where a registration failed.
        watchlist_ids: those it is on (on deletion: was on); None where that is unknown.
        now_ms: the time.
        data: where a registration came from; only with `REGISTER_FRAUDSTER`, and always there.
        error: why it failed.
    """
    shown_id = _generated(fraudster_id)
    is_batch = data is not None and data.source == "BATCH_REGISTRATION"
    detail = {
        "action": action,
        "status": _status(error),
        "generatedFraudsterId": shown_id,
        "watchlistIds": None if watchlist_ids is None else list(watchlist_ids),
        "data": data
        and {
            "registrationSource": data.source,
            "registrationSourceId": data.source_id,
            "registrationStatus": data.status,
        },
        "errorInfo": _error_info(error, batch="registration" if is_batch else None),
    }
    return _announcement(arn, "VoiceId Fraudster Action", detail, resource=shown_id, now_ms=now_ms)


def session_enrollment(
    arn: str, session: Session | str, *, now_ms: int, error: Exception | None = None
) -> Announcement:
    """An enrolment from a session was requested, or the request was refused.

    Args:
        arn: of the domain.
        session: on failure, its name or id as requested is enough.
        now_ms: the time.
        error: why it failed.
    """
    detail = {
        "action": "SESSION_ENROLLMENT_REQUEST",
        "status": "SUBMITTED" if error is None else "FAILED",
        **_named(session),
        "systemAttributes": None,
        "errorInfo": _error_info(error),
    }
    return _announcement(
        arn,
        "VoiceId Session Speaker Enrollment Action",
        detail,
        resource=_id_of(session),
        now_ms=now_ms,
    )


def speaker_enrollment_job(arn: str, job: Job, *, now_ms: int) -> Announcement:
    """A batch enrolment was submitted, or has ended.

    Args:
        arn: of the domain.
        job: as it is after the change; not `IN_PROGRESS`, of which there is no event.
        now_ms: the time.
    """
    options = job.options
    check: Mapping[str, Any] = options.get("FraudDetectionConfig") or {}
    data = {
        "dataAccessRoleArn": job.role_arn,
        "enrollmentConfig": {
            "existingEnrollmentAction": options.get("ExistingEnrollmentAction"),
            "fraudDetectionConfig": {
                "fraudDetectionAction": check.get("FraudDetectionAction"),
                # AWS's guide has the second name, its samples the first: consumers of both work.
                "fraudDetectionThreshold": check.get("RiskThreshold"),
                "riskThreshold": check.get("RiskThreshold"),
                "watchlistIds": _list(check.get("WatchlistIds")),
            },
        },
        **_places(job),
    }
    return _job(
        arn,
        "VoiceId Batch Speaker Enrollment Action",
        "BATCH_SPEAKER_ENROLLMENT_REQUEST",
        job,
        data,
        now_ms=now_ms,
    )


def fraudster_registration_job(arn: str, job: Job, *, now_ms: int) -> Announcement:
    """A batch registration was submitted, or has ended.

    Args:
        arn: of the domain.
        job: as it is after the change; not `IN_PROGRESS`, of which there is no event.
        now_ms: the time.
    """
    options = job.options
    data = {
        "dataAccessRoleArn": job.role_arn,
        "registrationConfig": {
            "duplicateRegistrationAction": options.get("DuplicateRegistrationAction"),
            "fraudsterSimilarityThreshold": options.get("FraudsterSimilarityThreshold"),
            "watchlistIds": _list(options.get("WatchlistIds")),
        },
        **_places(job),
    }
    return _job(
        arn,
        "VoiceId Batch Fraudster Registration Action",
        "BATCH_FRAUDSTER_REGISTRATION_REQUEST",
        job,
        data,
        now_ms=now_ms,
    )


def _job(
    arn: str, detail_type: str, action: str, job: Job, data: Body, *, now_ms: int
) -> Announcement:
    if job.status == "IN_PROGRESS":
        raise ValueError("there is no event of a job that runs")
    error_info = None
    if job.status == "FAILED":
        code = job.failure_code or 500
        error_info = {
            "errorCode": code,
            "errorMessage": job.failure_message or _INTERNAL_ERROR,
            "errorType": _JOB_ERRORS.get(code, "INTERNAL_ERROR"),
        }
    detail = {
        "action": action,
        "status": job.status,
        "batchJobId": job.job_id,
        "data": data,
        "errorInfo": error_info,
    }
    return _announcement(arn, detail_type, detail, resource=job.job_id, now_ms=now_ms)


def _announcement(
    arn: str, detail_type: str, detail: Body, *, resource: str | None, now_ms: int
) -> Announcement:
    # arn:<partition>:voiceid:<region>:<account>:domain/<id>
    _, _, _, region, account, domain = arn.split(":", 5)
    event_id = str(uuid.uuid4())
    body = {
        "version": "0",
        "id": event_id,
        "detail-type": detail_type,
        "source": "aws.voiceid",
        "account": account,
        "time": iso_utc(now_ms),
        "region": region,
        "resources": [arn],
        "detail": {
            "sourceId": unique_id(),
            "action": detail["action"],
            "status": detail["status"],
            "domainId": domain.removeprefix("domain/"),
            **detail,
        },
    }
    # About nothing that exists, there is no order to keep.
    return Announcement(resource=resource or event_id, body=body)


def _status(error: Exception | None) -> str:
    return "SUCCEEDED" if error is None else "FAILED"


def error_info(error: Exception, *, batch: Batch | None = None) -> Body:
    """An error as events and the output of jobs tell it: errorCode, errorMessage, errorType.

    Args:
        error: the error; of one that was not raised on purpose no more is told than that.
        batch: what recordings were for, where it was not a call.
    """
    if batch and isinstance(error, NotEnoughSpeech):
        return {
            "errorCode": 400,
            "errorMessage": BATCH_NOT_ENOUGH_SPEECH.format(batch),
            "errorType": "NOT_ENOUGH_SPEECH",
        }
    for kinds, code, error_type in _ERRORS:
        if isinstance(error, kinds):
            return {"errorCode": code, "errorMessage": str(error), "errorType": error_type}
    # What was not raised on purpose may say anything: it stays inside.
    return {"errorCode": 500, "errorMessage": _INTERNAL_ERROR, "errorType": "INTERNAL_ERROR"}


def _error_info(
    error: Exception | None, *, failed: bool | None = None, batch: Batch | None = None
) -> Body | None:
    if not (failed if failed is not None else error is not None):
        return None
    return error_info(error or Exception(), batch=batch)


def _named(session: Session | str | None) -> Body:
    if isinstance(session, Session):
        return {"sessionId": session.session_id, "sessionName": session.name}
    if session is None:
        return {"sessionId": None, "sessionName": None}
    if is_generated(session):
        return {"sessionId": session, "sessionName": None}
    return {"sessionId": None, "sessionName": session}


def _id_of(session: Session | str | None) -> str | None:
    return _named(session)["sessionId"]


def _generated(identifier: str | None) -> str | None:
    return identifier if identifier is not None and is_generated(identifier) else None


def _configurations(session: Session) -> Body:
    return {
        "authenticationConfiguration": {"acceptanceThreshold": session.acceptance_threshold}
        if session.authentication_enabled
        else None,
        "fraudDetectionConfiguration": {
            "riskThreshold": session.risk_threshold,
            "watchlistId": session.watchlist_id,
        }
        if session.fraud_detection_enabled
        else None,
    }


def _audio_progress(session: Session, evidence: Evidence | None) -> Body:
    """Since when speech has been aggregated in this stream, and until when, for each purpose.

    Speech towards an enrolment may be from earlier streams as well; when those began is not kept,
    so all three begin with this stream.
    """
    started = _instant(session.stream_started_ms)
    heard_s = 0.0 if evidence is None else evidence.net_speech_s
    complete = None if evidence is None else iso_utc(evidence.ended_ms)
    ready = max(session.speech_s, heard_s) >= ENROLLMENT_S

    def progress(*, enough: bool) -> Body:
        return {
            "audioAggregationStartedAt": started,
            "audioAggregationEndedAt": complete if enough else None,
        }

    return {
        "enrollmentAudioProgress": {
            "audioAggregationStatus": "READY_FOR_ENROLLMENT" if ready else "NOT_ENOUGH_SPEECH",
            **progress(enough=ready),
        },
        "authenticationAudioProgress": progress(enough=heard_s >= session.authentication_minimum_s),
        "fraudDetectionAudioProgress": progress(enough=heard_s >= FRAUD_S),
    }


def _authentication(outcome: AuthenticationOutcome | None) -> Body | None:
    return outcome and {
        "authenticationResultId": outcome.result_id,
        "decision": outcome.decision,
        "score": outcome.score,
        "audioAggregationStartedAt": _instant(outcome.started_ms),
        "audioAggregationEndedAt": _instant(outcome.ended_ms),
        "configuration": {"acceptanceThreshold": outcome.acceptance_threshold},
    }


def _fraud(outcome: FraudOutcomeGiven | None) -> Body | None:
    return outcome and {
        "fraudDetectionResultId": outcome.result_id,
        "decision": outcome.decision,
        "reasons": list(outcome.reasons) or None,
        "riskDetails": {
            "knownFraudsterRisk": {
                "generatedFraudsterId": outcome.fraudster_id,
                "riskScore": outcome.known_fraudster_risk,
                # AWS's guide has the watchlist here, its registry in the configuration.
                "watchlistId": outcome.watchlist_id,
            },
            "voiceSpoofingRisk": _spoofing(outcome.spoofing),
        }
        if outcome.spoofing is not None
        else None,
        "audioAggregationStartedAt": _instant(outcome.started_ms),
        "audioAggregationEndedAt": _instant(outcome.ended_ms),
        "configuration": {
            "riskThreshold": outcome.risk_threshold,
            "watchlistId": outcome.watchlist_id,
        },
    }


def _spoofing(spoofing: SpoofingGiven) -> Body:
    def verdict(name: str) -> Body | None:
        if name not in spoofing.verdicts:
            return None
        risk, llr = spoofing.verdicts[name]
        return {"riskScore": risk, "logLikelihoodRatio": llr}

    return {
        "riskScore": spoofing.risk,
        # Ours: AWS told synthetic speech and playback in one, and nothing of how it came to that.
        "syntheticSpeech": verdict("synthetic"),
        "playback": verdict("playback"),
        "certainty": spoofing.certainty,
        "referenceUsed": spoofing.reference_used,
    }


def _places(job: Job) -> Body:
    return {
        "inputDataConfig": {"s3Uri": job.input_uri},
        "outputDataConfig": {"s3Uri": job.output_uri, "kmsKeyId": job.output_kms_key_id},
    }


def _list(values: Sequence[str] | None) -> list[str] | None:
    return None if values is None else list(values)


def _instant(instant_ms: int | None) -> str | None:
    return None if instant_ms is None else iso_utc(instant_ms)
