import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import rows
from tests.rows import DOMAIN_ID, FRAUDSTER_ID, SESSION_ID, SPEAKER_ID, WATCHLIST_ID
from vivavoce.sessions.decisions import decision_records
from vivavoce.sessions.evaluation import (
    AuthenticationOutcome,
    Draft,
    Evaluation,
    FraudOutcomeGiven,
    SpoofingGiven,
)
from vivavoce.store.records import Evidence

NOW_MS = 1_633_387_987_007
SESSION = rows.session(stream_number=2)
EVIDENCE = rows.evidence(stream_number=2, number=3, net_speech_s=12.0004)
ACCEPTED = AuthenticationOutcome(
    result_id="dsLMOu3G3fB73RzoP6UYZH",
    decision="ACCEPT",
    acceptance_threshold=90,
    score=94,
    speaker_id=SPEAKER_ID,
    started_ms=NOW_MS - 50_000,
    ended_ms=NOW_MS - 20_000,
)
FLAGGED = FraudOutcomeGiven(
    result_id="xPMWAxFSWQ9CJrBXTaatds",
    decision="HIGH_RISK",
    risk_threshold=50,
    watchlist_id=WATCHLIST_ID,
    reasons=("KNOWN_FRAUDSTER", "VOICE_SPOOFING"),
    known_fraudster_risk=87,
    fraudster_id=FRAUDSTER_ID,
    spoofing=SpoofingGiven(
        risk=61,
        certainty=0.75,
        llr=2.5,
        verdicts={"synthetic": (63, 3.125), "playback": (4, -2.0)},
        reference=f"{SPEAKER_ID} {NOW_MS}",
    ),
    started_ms=NOW_MS - 50_000,
    ended_ms=NOW_MS - 20_000,
)


def drafted(*new, authentication=ACCEPTED, fraud=FLAGGED, session=SESSION):
    results = tuple(rows.result(session_id=session.session_id, kind=kind) for kind in new)
    evaluation = Evaluation(session=session, authentication=authentication, fraud=fraud)
    return Draft(evaluation=evaluation, new_results=results)


def records(draft: Draft, evidence: Evidence | None = EVIDENCE):
    return decision_records(
        draft, evidence, speaker_model="ge2e@1", spoof_model="spoof@1", now_ms=NOW_MS
    )


def test_an_authentication_is_recorded_with_all_it_rests_on():
    (record,) = records(drafted("authentication"))
    assert len(record.pop("eventID")) == 36
    assert record == {
        "eventVersion": "1.08",
        "eventSource": "voiceid.amazonaws.com",
        "eventType": "VoiceIdDecision",
        "eventName": "AuthenticationDecision",
        "eventTime": "2021-10-04T22:53:07.007Z",
        "domainId": DOMAIN_ID,
        "sessionId": SESSION_ID,
        "sessionName": "call-1",
        "streamNumber": 2,
        "streamingStatus": "ONGOING",
        "resultId": "dsLMOu3G3fB73RzoP6UYZH",
        "decision": "ACCEPT",
        "score": 94,
        "acceptanceThreshold": 90,
        "generatedSpeakerId": SPEAKER_ID,
        "audioAggregationStartedAt": "2021-10-04T22:52:17.007Z",
        "audioAggregationEndedAt": "2021-10-04T22:52:47.007Z",
        "models": {"speaker": "ge2e@1", "spoof": "spoof@1"},
        "evidence": {
            "number": 3,
            "netSpeechSeconds": 12.0,
            "model": "ge2e@0123456789ab",
            "spoofRaw": {"synthetic": -1.25, "playback": 0.5},
        },
    }


def test_a_fraud_decision_is_recorded_with_its_risks_and_reasons():
    (record,) = records(drafted("fraud"))
    assert record["eventName"] == "FraudDetectionDecision"
    assert record["resultId"] == "xPMWAxFSWQ9CJrBXTaatds"
    assert record["decision"] == "HIGH_RISK"
    assert record["reasons"] == ["KNOWN_FRAUDSTER", "VOICE_SPOOFING"]
    assert record["knownFraudsterRisk"] == 87
    assert record["generatedFraudsterId"] == FRAUDSTER_ID
    assert record["voiceSpoofingRisk"] == 61
    assert record["spoofing"] == {
        "synthetic": {"risk": 63, "llr": 3.125},
        "playback": {"risk": 4, "llr": -2.0},
        "certainty": 0.75,
        "referenceUsed": True,
    }
    assert record["riskThreshold"] == 50
    assert record["watchlistId"] == WATCHLIST_ID
    assert record["evidence"]["number"] == 3


@pytest.mark.parametrize(
    ("new", "names"),
    [
        ((), []),
        (("authentication",), ["AuthenticationDecision"]),
        (("fraud",), ["FraudDetectionDecision"]),
        (("fraud", "authentication"), ["AuthenticationDecision", "FraudDetectionDecision"]),
    ],
)
def test_only_what_is_given_out_for_the_first_time_is_recorded(new, names):
    assert [record["eventName"] for record in records(drafted(*new))] == names


def test_a_decision_without_evidence_says_so():
    undecided = replace(
        ACCEPTED, decision="NOT_ENOUGH_SPEECH", score=None, started_ms=None, ended_ms=None
    )
    (record,) = records(drafted("authentication", authentication=undecided), evidence=None)
    assert record["decision"] == "NOT_ENOUGH_SPEECH"
    assert record["score"] is None
    assert record["evidence"] is None
    assert record["audioAggregationStartedAt"] is None


def test_speech_that_could_not_be_judged_for_spoofing_is_recorded_so():
    unjudged = replace(FLAGGED, spoofing=SpoofingGiven(risk=0))
    (record,) = records(drafted("fraud", fraud=unjudged), replace(EVIDENCE, spoof=None))
    assert (record["voiceSpoofingRisk"], record["spoofing"]) == (0, None)
    assert record["evidence"]["spoofRaw"] is None
    unfamiliar = replace(FLAGGED, spoofing=SpoofingGiven(risk=0, certainty=0.0))
    (record,) = records(drafted("fraud", fraud=unfamiliar))
    assert record["voiceSpoofingRisk"] == 0
    assert record["spoofing"] == {"certainty": 0.0, "referenceUsed": False}
    undecided = replace(FLAGGED, decision="NOT_ENOUGH_SPEECH", reasons=(), spoofing=None)
    (record,) = records(drafted("fraud", fraud=undecided), evidence=None)
    assert (record["voiceSpoofingRisk"], record["spoofing"]) == (None, None)


@given(
    customer_id=st.text("abcXYZ09_-", min_size=1, max_size=20).map(lambda text: f"Zq7{text}"),
    new=st.sets(st.sampled_from(["authentication", "fraud"])),
)
def test_no_record_names_a_customer(customer_id, new):
    draft = drafted(*new, session=replace(SESSION, customer_id=customer_id))
    assert customer_id not in json.dumps(records(draft), allow_nan=False)
