"""Sessions and evaluations as the documents that leave the house.

The API's responses and the WebSocket's messages show the same things under the same names; they are
AWS's names, so they are spelled here as they are there. Absent members are left out. Instants are
seconds since the epoch with milliseconds (voice-id-behaviour.md section 2.3).
"""

from typing import Any

from vivavoce.audio.arrays import CALL_RATE_HZ
from vivavoce.call.machine import ENROLLMENT_S, FRAUD_S, Progress
from vivavoce.sessions.evaluation import (
    AuthenticationOutcome,
    Evaluation,
    FraudOutcomeGiven,
    SpoofingGiven,
)
from vivavoce.store.records import Fraudster, Session

Document = dict[str, Any]


def seconds(instant_ms: int | None) -> float | None:
    """An instant as the wire has it."""
    return None if instant_ms is None else instant_ms / 1000


def progress_document(session: Session, progress: Progress | None) -> Document:
    """`AudioProgress`: from the live call, or after its end from what the session kept of it."""
    if progress is None:
        received_s, net_s = session.received_s, session.net_speech_s
        lost_s, quality = session.lost_s, session.quality
    else:
        received_s = progress.received_samples / CALL_RATE_HZ
        net_s = progress.net_speech_samples / CALL_RATE_HZ
        lost_s = progress.lost_samples / CALL_RATE_HZ
        quality = progress.quality
    # What earlier streams gave towards an enrolment counts with what the live one gives.
    enrolled_s = session.speech_s + (0.0 if progress is None else net_s)
    return {
        "ReceivedSeconds": round(received_s, 3),
        "NetSpeechSeconds": round(net_s, 3),
        "AuthenticationSpeechSecondsNeeded": _missing(session.authentication_minimum_s, net_s),
        "FraudSpeechSecondsNeeded": _missing(FRAUD_S, net_s),
        "EnrollmentSpeechSecondsNeeded": _missing(ENROLLMENT_S, enrolled_s),
        "LostSeconds": round(lost_s, 3),
        "Quality": quality,
    }


def session_document(session: Session, progress: Progress | None) -> Document:
    """`Session`."""
    document = {
        "SessionId": session.session_id,
        "SessionName": session.name,
        "DomainId": session.domain_id,
        "StreamingStatus": session.streaming_status,
        "CustomerSpeakerId": session.customer_id,
        "GeneratedSpeakerId": session.speaker_id,
        "AuthenticationConfiguration": {"AcceptanceThreshold": session.acceptance_threshold}
        if session.authentication_enabled
        else None,
        "FraudDetectionConfiguration": {
            "RiskThreshold": session.risk_threshold,
            "WatchlistId": session.watchlist_id,
        }
        if session.fraud_detection_enabled
        else None,
        "StreamingConfiguration": {
            "AuthenticationMinimumSpeechInSeconds": session.authentication_minimum_s
        },
        "EnrollmentRequestDetails": None
        if session.enrollment_status is None
        else present({"Status": session.enrollment_status, "Message": session.enrollment_message}),
        "AudioProgress": progress_document(session, progress),
        "CreatedAt": seconds(session.created_ms),
        "UpdatedAt": seconds(session.updated_ms),
        "EndedAt": seconds(session.ended_ms),
    }
    return present(document)


def session_summary(session: Session) -> Document:
    """`SessionSummary`."""
    return present(
        {
            "SessionId": session.session_id,
            "SessionName": session.name,
            "DomainId": session.domain_id,
            "StreamingStatus": session.streaming_status,
            "CustomerSpeakerId": session.customer_id,
            "GeneratedSpeakerId": session.speaker_id,
            "CreatedAt": seconds(session.created_ms),
            "UpdatedAt": seconds(session.updated_ms),
            "EndedAt": seconds(session.ended_ms),
        }
    )


def evaluation_document(evaluation: Evaluation, progress: Progress | None) -> Document:
    """`EvaluateSessionResponse`."""
    session = evaluation.session
    return present(
        {
            "DomainId": session.domain_id,
            "SessionId": session.session_id,
            "SessionName": session.name,
            "StreamingStatus": session.streaming_status,
            "AuthenticationResult": evaluation.authentication
            and _authentication(evaluation.authentication, session),
            "FraudDetectionResult": evaluation.fraud
            and _fraud(evaluation.fraud, evaluation.early_spoofing),
            "AudioProgress": progress_document(session, progress),
        }
    )


def _authentication(outcome: AuthenticationOutcome, session: Session) -> Document:
    return present(
        {
            "AuthenticationResultId": outcome.result_id,
            "Decision": outcome.decision,
            "Score": outcome.score,
            "Configuration": {"AcceptanceThreshold": outcome.acceptance_threshold},
            "CustomerSpeakerId": session.customer_id,
            "GeneratedSpeakerId": outcome.speaker_id,
            "AudioAggregationStartedAt": seconds(outcome.started_ms),
            "AudioAggregationEndedAt": seconds(outcome.ended_ms),
        }
    )


def _fraud(outcome: FraudOutcomeGiven, early_spoofing: SpoofingGiven | None) -> Document:
    return present(
        {
            "FraudDetectionResultId": outcome.result_id,
            "Decision": outcome.decision,
            "Reasons": list(outcome.reasons) or None,
            "Configuration": {
                "RiskThreshold": outcome.risk_threshold,
                "WatchlistId": outcome.watchlist_id,
            },
            "RiskDetails": {
                "KnownFraudsterRisk": present(
                    {
                        "RiskScore": outcome.known_fraudster_risk,
                        "GeneratedFraudsterId": outcome.fraudster_id,
                    }
                ),
                "VoiceSpoofingRisk": _spoofing(outcome.spoofing),
            }
            if outcome.spoofing is not None
            else None,
            "EarlyVoiceSpoofingRisk": early_spoofing and _spoofing(early_spoofing),
            "AudioAggregationStartedAt": seconds(outcome.started_ms),
            "AudioAggregationEndedAt": seconds(outcome.ended_ms),
        }
    )


def _spoofing(spoofing: SpoofingGiven) -> Document:
    def verdict(name: str) -> Document | None:
        if name not in spoofing.verdicts:
            return None
        risk, llr = spoofing.verdicts[name]
        return {"RiskScore": risk, "LogLikelihoodRatio": llr}

    return present(
        {
            "RiskScore": spoofing.risk,
            "Certainty": spoofing.certainty,
            "ReferenceUsed": spoofing.reference_used,
            "LogLikelihoodRatio": spoofing.llr,
            "SyntheticSpeech": verdict("synthetic"),
            "Playback": verdict("playback"),
            "Windows": [
                {
                    "StartSeconds": start_s,
                    "EndSeconds": end_s,
                    "SyntheticSpeech": synthetic,
                    "Playback": playback,
                    "Distance": distance,
                }
                for start_s, end_s, synthetic, playback, distance in spoofing.windows
            ]
            or None,
        }
    )


def present(document: Document) -> Document:
    """A document without the members that are absent."""
    return {name: value for name, value in document.items() if value is not None}


def _missing(needed_s: float, there_is_s: float) -> float:
    return round(max(0.0, needed_s - there_is_s), 3)


def fraudster_document(fraudster: Fraudster) -> Document:
    """`Fraudster`, and `FraudsterSummary`, which is the same."""
    return {
        "DomainId": fraudster.domain_id,
        "GeneratedFraudsterId": fraudster.fraudster_id,
        "WatchlistIds": list(fraudster.watchlist_ids),
        "CreatedAt": seconds(fraudster.created_ms),
    }
