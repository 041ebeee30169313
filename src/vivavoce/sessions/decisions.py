"""What the audit log keeps of a decision: enough to say later why a caller was let in or not.

Nothing in a record names a customer: the log is never erased, so speakers and fraudsters are in it
by the ids that were generated for them, which mean nothing once they are deleted.
"""

import uuid
from collections.abc import Mapping
from typing import Any

from vivavoce.clock import iso_utc
from vivavoce.scoring.spoofing import VERDICTS
from vivavoce.sessions.evaluation import (
    AuthenticationOutcome,
    Draft,
    FraudOutcomeGiven,
    SpoofingGiven,
)
from vivavoce.store.records import Evidence, Session


def decision_records(
    draft: Draft,
    evidence: Evidence | None,
    *,
    speaker_model: str,
    spoof_model: str,
    now_ms: int,
) -> list[dict[str, Any]]:
    """A record of each decision that a draft gives out for the first time.

    Args:
        draft: the evaluation; what of it was given out before has its record already.
        evidence: what the session's stream had shown when it was made.
        speaker_model: name and version of the speaker encoder in use.
        spoof_model: name and version of the spoof detector in use.
        now_ms: the time.
    """
    evaluation = draft.evaluation
    new = {result.kind for result in draft.new_results}
    # Evidence that another encoder made is not decided on: its record names both encoders.
    used = {
        "models": {"speaker": speaker_model, "spoof": spoof_model},
        "evidence": _evidence(evidence),
    }
    decisions: list[dict[str, Any]] = []
    if "authentication" in new and evaluation.authentication is not None:
        decisions.append(_authentication(evaluation.authentication))
    if "fraud" in new and evaluation.fraud is not None:
        decisions.append(_fraud(evaluation.fraud))
    return [_record(evaluation.session, decision, used, now_ms) for decision in decisions]


def _record(
    session: Session, decision: Mapping[str, Any], used: Mapping[str, Any], now_ms: int
) -> dict[str, Any]:
    return {
        "eventVersion": "1.08",
        "eventSource": "voiceid.amazonaws.com",
        "eventType": "VoiceIdDecision",  # ours: CloudTrail recorded no decisions
        "eventTime": iso_utc(now_ms),
        "eventID": str(uuid.uuid4()),
        "domainId": session.domain_id,
        "sessionId": session.session_id,
        "sessionName": session.name,
        "streamNumber": session.stream_number,
        "streamingStatus": session.streaming_status,
        **decision,
        **used,
    }


def _authentication(outcome: AuthenticationOutcome) -> dict[str, Any]:
    return {
        "eventName": "AuthenticationDecision",
        "resultId": outcome.result_id,
        "decision": outcome.decision,
        "score": outcome.score,
        "acceptanceThreshold": outcome.acceptance_threshold,
        "generatedSpeakerId": outcome.speaker_id,
        **_aggregation(outcome),
    }


def _fraud(outcome: FraudOutcomeGiven) -> dict[str, Any]:
    return {
        "eventName": "FraudDetectionDecision",
        "resultId": outcome.result_id,
        "decision": outcome.decision,
        "reasons": list(outcome.reasons),
        "knownFraudsterRisk": outcome.known_fraudster_risk,
        "generatedFraudsterId": outcome.fraudster_id,
        **_spoofing(outcome.spoofing),
        "riskThreshold": outcome.risk_threshold,
        "watchlistId": outcome.watchlist_id,
        **_aggregation(outcome),
    }


def _spoofing(spoofing: SpoofingGiven | None) -> dict[str, Any]:
    if spoofing is None or spoofing.certainty is None:
        return {"voiceSpoofingRisk": spoofing and spoofing.risk, "spoofing": None}
    verdicts = {name: {"risk": risk, "llr": llr} for name, (risk, llr) in spoofing.verdicts.items()}
    return {
        "voiceSpoofingRisk": spoofing.risk,
        "spoofing": {
            **verdicts,
            "certainty": spoofing.certainty,
            "referenceUsed": spoofing.reference_used,
        },
    }


def _aggregation(outcome: AuthenticationOutcome | FraudOutcomeGiven) -> dict[str, Any]:
    return {
        "audioAggregationStartedAt": _instant(outcome.started_ms),
        "audioAggregationEndedAt": _instant(outcome.ended_ms),
    }


def _evidence(evidence: Evidence | None) -> dict[str, Any] | None:
    if evidence is None:
        return None
    return {
        "number": evidence.number,
        "netSpeechSeconds": round(evidence.net_speech_s, 3),
        "model": evidence.model,
        "spoofRaw": evidence.spoof
        and {verdict: round(evidence.spoof.raw(verdict), 4) for verdict in VERDICTS},
    }


def _instant(instant_ms: int | None) -> str | None:
    return None if instant_ms is None else iso_utc(instant_ms)
