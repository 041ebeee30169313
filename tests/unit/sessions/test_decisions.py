import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.sessions.decisions import decision_records
from vivavoce.sessions.evaluation import (
    AuthenticationOutcome,
    Draft,
    Evaluation,
    FraudOutcomeGiven,
)
from vivavoce.store.records import Evidence, Result, Session

NOW_MS = 1_633_387_987_007
SESSION = Session(
    session_id="id#CJA4lSzpzo5HFfP5L2h5lS",
    domain_id="7777aaaaaaaa7777777777",
    name="contact-1",
    speaker_id="id#Izo7iCsoE5KCq5INFMnwsH",
    customer_id="customer-4711",
    authentication_enabled=True,
    fraud_detection_enabled=True,
    acceptance_threshold=90,
    risk_threshold=50,
    watchlist_id="b1c2d3e4f5g6h7i8j9k0lm",
    authentication_minimum_s=10,
    stream_number=2,
    streaming_status="ONGOING",
    stream_expires_ms=NOW_MS,
    stream_started_ms=NOW_MS - 60_000,
    ended_ms=None,
    received_s=0.0,
    net_speech_s=0.0,
    lost_s=0.0,
    quality="GOOD",
    enrollment_status=None,
    enrollment_message=None,
    enrolled_stream=None,
    speech_s=0.0,
    created_ms=NOW_MS - 61_000,
    updated_ms=NOW_MS,
)
EVIDENCE = Evidence(
    session_id=SESSION.session_id,
    stream_number=2,
    number=3,
    net_speech_s=12.0004,
    started_ms=NOW_MS - 50_000,
    ended_ms=NOW_MS - 20_000,
    model="ge2e@1",
    vector=None,
    spoof_raw=-1.5,
)
ACCEPTED = AuthenticationOutcome(
    result_id="dsLMOu3G3fB73RzoP6UYZH",
    decision="ACCEPT",
    acceptance_threshold=90,
    score=94,
    speaker_id="id#Izo7iCsoE5KCq5INFMnwsH",
    started_ms=NOW_MS - 50_000,
    ended_ms=NOW_MS - 20_000,
)
FLAGGED = FraudOutcomeGiven(
    result_id="UcUuCPFOsAjzg9xoByUatN",
    decision="HIGH_RISK",
    risk_threshold=50,
    watchlist_id="b1c2d3e4f5g6h7i8j9k0lm",
    reasons=("KNOWN_FRAUDSTER", "VOICE_SPOOFING"),
    known_fraudster_risk=87,
    fraudster_id="id#dsLMOu3G3fB73RzoP6UYZH",
    spoofing_risk=61,
    started_ms=NOW_MS - 50_000,
    ended_ms=NOW_MS - 20_000,
)


def drafted(*new, authentication=ACCEPTED, fraud=FLAGGED, session=SESSION):
    results = tuple(
        Result(
            session_id=session.session_id,
            kind=kind,
            result_id="r",
            basis=bytes(32),
            body="{}",
            created_ms=NOW_MS,
        )
        for kind in new
    )
    evaluation = Evaluation(session=session, authentication=authentication, fraud=fraud)
    return Draft(evaluation=evaluation, new_results=results)


def records(draft: Draft, evidence: Evidence | None = EVIDENCE):
    return decision_records(
        draft, evidence, speaker_model="ge2e@1", spoof_model="spoof-v1@1", now_ms=NOW_MS
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
        "domainId": "7777aaaaaaaa7777777777",
        "sessionId": "id#CJA4lSzpzo5HFfP5L2h5lS",
        "sessionName": "contact-1",
        "streamNumber": 2,
        "streamingStatus": "ONGOING",
        "resultId": "dsLMOu3G3fB73RzoP6UYZH",
        "decision": "ACCEPT",
        "score": 94,
        "acceptanceThreshold": 90,
        "generatedSpeakerId": "id#Izo7iCsoE5KCq5INFMnwsH",
        "audioAggregationStartedAt": "2021-10-04T22:52:17.007Z",
        "audioAggregationEndedAt": "2021-10-04T22:52:47.007Z",
        "models": {"speaker": "ge2e@1", "spoof": "spoof-v1@1"},
        "evidence": {
            "number": 3,
            "netSpeechSeconds": 12.0,
            "model": "ge2e@1",
            "spoofRaw": -1.5,
        },
    }


def test_a_fraud_decision_is_recorded_with_its_risks_and_reasons():
    (record,) = records(drafted("fraud"))
    assert record["eventName"] == "FraudDetectionDecision"
    assert record["resultId"] == "UcUuCPFOsAjzg9xoByUatN"
    assert record["decision"] == "HIGH_RISK"
    assert record["reasons"] == ["KNOWN_FRAUDSTER", "VOICE_SPOOFING"]
    assert record["knownFraudsterRisk"] == 87
    assert record["generatedFraudsterId"] == "id#dsLMOu3G3fB73RzoP6UYZH"
    assert record["voiceSpoofingRisk"] == 61
    assert record["riskThreshold"] == 50
    assert record["watchlistId"] == "b1c2d3e4f5g6h7i8j9k0lm"
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


@given(
    customer_id=st.text("abcXYZ09_-", min_size=1, max_size=20).map(lambda text: f"Zq7{text}"),
    new=st.sets(st.sampled_from(["authentication", "fraud"])),
)
def test_no_record_names_a_customer(customer_id, new):
    draft = drafted(*new, session=replace(SESSION, customer_id=customer_id))
    assert customer_id not in json.dumps(records(draft), allow_nan=False)
