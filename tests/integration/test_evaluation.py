"""Decisions and how long they stay the same. Source: voice-id-behaviour.md section 8."""

import asyncio

import pytest

from tests import rows
from tests.fakes import silence, spoof_evidence, towards
from tests.integration.house import ANNA, BEN, until
from vivavoce.errors import Conflict, NotFound
from vivavoce.sessions.documents import evaluation_document
from vivavoce.store.audit import AuditRows

pytestmark = pytest.mark.anyio

HOUR_MS = 3_600_000


async def authentication(house, name="call"):
    return (await house.evaluate(name)).authentication


async def fraud(house, name="call"):
    return (await house.evaluate(name)).fraud


async def register(house, speaker, name="fraudster"):
    await house.stream(speaker, 11, name)
    return await house.desk.register_fraudster(rows.DOMAIN_ID, name, None)


async def set_status(house, customer_id, status):
    speaker = await house.store.read(lambda tx: tx.speakers.get(rows.DOMAIN_ID, customer_id))
    await house.store.write(lambda tx: tx.speakers.set_status(speaker.speaker_id, status, now_ms=1))


# --- what decides, and in which order


async def test_nothing_is_said_before_the_stream_is_open(house):
    await house.start(speaker_id="anna")
    evaluation = await house.evaluate()
    assert (evaluation.authentication, evaluation.fraud) == (None, None)
    assert evaluation.session.streaming_status == "PENDING_CONFIGURATION"
    document = evaluation_document(evaluation, None)
    assert "AuthenticationResult" not in document
    assert "FraudDetectionResult" not in document


async def test_an_enrolled_caller_is_accepted(house):
    await house.enroll("anna")
    await house.stream(ANNA, 11, speaker_id="anna")
    outcome = await authentication(house)
    assert (outcome.decision, outcome.score, outcome.acceptance_threshold) == ("ACCEPT", 100, 90)
    assert outcome.started_ms is not None
    assert outcome.ended_ms is not None
    assert outcome.started_ms <= outcome.ended_ms


async def test_another_voice_is_rejected_with_its_score(house):
    await house.enroll("anna")
    await house.stream(BEN, 11, speaker_id="anna")
    outcome = await authentication(house)
    assert (outcome.decision, outcome.score) == ("REJECT", 0)


@pytest.mark.parametrize(("cosine", "decision"), [(0.75, "ACCEPT"), (0.724, "REJECT")])
async def test_a_score_at_the_threshold_is_accepted(house, cosine, decision):
    await house.enroll("anna")
    house.engines.vectors[7] = towards(cosine)
    await house.stream(7, 11, speaker_id="anna")
    assert (await authentication(house)).decision == decision


@pytest.mark.parametrize("seconds", [0, 11])
async def test_the_speakers_state_decides_before_any_speech(house, seconds):
    for customer_id in ("opted-out", "expired"):
        await house.enroll(customer_id)
    await house.opt_out("opted-out")
    await set_status(house, "expired", "EXPIRED")
    for customer_id, decision in (
        (None, "SPEAKER_ID_NOT_PROVIDED"),
        ("opted-out", "SPEAKER_OPTED_OUT"),
        ("unknown", "SPEAKER_NOT_ENROLLED"),
        ("expired", "SPEAKER_EXPIRED"),
    ):
        await house.stream(ANNA, seconds, f"by-{customer_id}", speaker_id=customer_id)
        outcome = await authentication(house, f"by-{customer_id}")
        assert outcome.decision == decision
        assert (outcome.score, outcome.started_ms, outcome.ended_ms) == (None, None, None)


async def test_a_deleted_speaker_is_not_enrolled(house):
    await house.enroll("anna")
    await house.stream(ANNA, 11, speaker_id="anna")
    await house.delete_speaker("anna")
    assert (await authentication(house)).decision == "SPEAKER_NOT_ENROLLED"


@pytest.mark.parametrize(
    ("minimum_s", "seconds", "decision"),
    [(5, 4, "NOT_ENOUGH_SPEECH"), (5, 6, "ACCEPT"), (10, 9, "NOT_ENOUGH_SPEECH")],
)
async def test_too_little_speech_decides_after_the_speakers_state(
    house, minimum_s, seconds, decision
):
    await house.enroll("anna")
    await house.stream(ANNA, seconds, speaker_id="anna", authentication_minimum_s=minimum_s)
    outcome = await authentication(house)
    assert outcome.decision == decision
    assert (outcome.score is None) == (decision == "NOT_ENOUGH_SPEECH")


async def test_fraud_needs_ten_seconds_and_no_speaker(house):
    await house.stream(ANNA, 9, "short")
    outcome = await fraud(house, "short")
    assert outcome.decision == "NOT_ENOUGH_SPEECH"
    assert (outcome.known_fraudster_risk, outcome.spoofing) == (None, None)
    await house.stream(ANNA, 11)
    outcome = await fraud(house)
    assert (outcome.decision, outcome.reasons) == ("LOW_RISK", ())
    assert (outcome.known_fraudster_risk, outcome.fraudster_id, outcome.spoofing.risk) == (
        0, None, 0,
    )  # fmt: skip


async def test_a_known_fraudster_is_named_even_when_the_authentication_succeeds(house):
    await house.enroll("anna")
    fraudster = await register(house, ANNA)
    await house.stream(ANNA, 11, speaker_id="anna")
    evaluation = await house.evaluate()
    assert evaluation.authentication.decision == "ACCEPT"
    assert (evaluation.fraud.decision, evaluation.fraud.reasons) == (
        "HIGH_RISK",
        ("KNOWN_FRAUDSTER",),
    )
    assert evaluation.fraud.fraudster_id == fraudster.fraudster_id


async def test_the_closest_fraudster_is_named_at_low_risk_too(house):
    house.engines.vectors[7] = towards(0.3)
    fraudster = await register(house, ANNA)
    await house.stream(7, 11)
    outcome = await fraud(house)
    assert (outcome.decision, outcome.known_fraudster_risk) == ("LOW_RISK", 30)
    assert outcome.fraudster_id == fraudster.fraudster_id
    document = evaluation_document(await house.evaluate(), None)["FraudDetectionResult"]
    assert "Reasons" not in document
    assert document["RiskDetails"]["KnownFraudsterRisk"] == {
        "RiskScore": 30, "GeneratedFraudsterId": fraudster.fraudster_id,
    }  # fmt: skip


async def test_both_risks_are_reasons_and_meet_the_threshold_by_equalling_it(house):
    house.engines.spoofs[ANNA] = spoof_evidence(playback=0.6)
    await register(house, ANNA)
    await house.stream(ANNA, 11, risk_threshold=52)
    outcome = await fraud(house)
    assert outcome.reasons == ("KNOWN_FRAUDSTER", "VOICE_SPOOFING")
    assert outcome.spoofing.risk == 52


async def test_both_verdicts_and_each_window_of_spoofing_are_told(house):
    house.engines.spoofs[ANNA] = spoof_evidence(0.6, [0.25, 0.125], distance=[0, 0.75], windows=2)
    await house.stream(ANNA, 11)
    document = evaluation_document(await house.evaluate(), None)["FraudDetectionResult"]
    assert document["RiskDetails"]["VoiceSpoofingRisk"] == {
        "RiskScore": 52,
        "Certainty": 1.0,
        "ReferenceUsed": False,
        "LogLikelihoodRatio": 0.3229,
        "SyntheticSpeech": {"RiskScore": 60, "LogLikelihoodRatio": 1.0},
        "Playback": {"RiskScore": 18, "LogLikelihoodRatio": -3.125},
        "Windows": [
            {
                "StartSeconds": 0,
                "EndSeconds": 4,
                "SyntheticSpeech": 0.6,
                "Playback": 0.25,
                "Distance": 0,
            },
            {
                "StartSeconds": 2,
                "EndSeconds": 6,
                "SyntheticSpeech": 0.6,
                "Playback": 0.125,
                "Distance": 0.75,
            },
        ],
    }
    (announced,) = [one for one in await house.announced() if one["action"] == "EVALUATE_SESSION"]
    result = announced["session"]["fraudDetectionResult"]
    assert result["riskDetails"]["voiceSpoofingRisk"] == {
        "riskScore": 52,
        "syntheticSpeech": {"riskScore": 60, "logLikelihoodRatio": 1.0},
        "playback": {"riskScore": 18, "logLikelihoodRatio": -3.125},
        "certainty": 1.0,
        "referenceUsed": False,
    }
    records = await house.store.read(lambda tx: tx.audit.page(after=0, size=9))
    (record,) = [one.record for one in records if one.record.get("spoofing")]
    assert record["voiceSpoofingRisk"] == 52
    assert record["spoofing"] == {
        "synthetic": {"risk": 60, "llr": 1.0},
        "playback": {"risk": 18, "llr": -3.125},
        "certainty": 1.0,
        "referenceUsed": False,
    }
    assert record["evidence"]["spoofRaw"] == {"synthetic": 0.6, "playback": 0.1875}


async def test_speech_that_cannot_be_judged_for_spoofing_is_no_risk(house):
    house.engines.spoofs[ANNA] = None
    await house.stream(ANNA, 11)
    first = await house.evaluate()
    assert await house.evaluate() == first
    document = evaluation_document(first, None)["FraudDetectionResult"]
    assert document["Decision"] == "LOW_RISK"
    assert document["RiskDetails"]["VoiceSpoofingRisk"] == {"RiskScore": 0}


async def test_speech_unlike_the_training_is_no_risk_and_says_why(house):
    house.engines.spoofs[ANNA] = spoof_evidence(9.0, 9.0, distance=2.5)
    session, token = await house.start()
    call = await house.open(session, token)
    await call.inbox.put(silence(3))
    await house.say(call, ANNA, 11)
    await call.inbox.put(silence(1))
    await house.desk.end(rows.DOMAIN_ID, "call")
    assert (await house.session()).quality == "UNFAMILIAR"
    first = await house.evaluate()
    assert await house.evaluate() == first
    document = evaluation_document(first, None)["FraudDetectionResult"]
    assert document["Decision"] == "LOW_RISK"
    risk = document["RiskDetails"]["VoiceSpoofingRisk"]
    assert [window["Distance"] for window in risk.pop("Windows")] == [2.5]
    assert risk == {"RiskScore": 0, "Certainty": 0.0, "ReferenceUsed": False}


async def test_doubtful_speech_is_less_of_a_risk(house):
    house.engines.spoofs[ANNA] = spoof_evidence(0.75, distance=1.25)
    await house.stream(ANNA, 11)
    spoofing = (await fraud(house)).spoofing
    assert spoofing.certainty == 0.75
    assert spoofing.verdicts["synthetic"] == (56, pytest.approx(0.75 * 2.5))


async def test_before_there_is_enough_speech_for_a_decision_there_is_an_early_risk(house):
    house.engines.spoofs[ANNA] = spoof_evidence(0.6, 0.25)
    session, token = await house.start()
    call = await house.open(session, token)

    async def early():
        evaluation = await house.evaluate()
        return evaluation_document(evaluation, None)["FraudDetectionResult"]

    async def is_told():
        return "EarlyVoiceSpoofingRisk" in await early()

    await house.say(call, ANNA, 2.5)
    assert not await is_told()
    await house.say(call, ANNA, 1.5)
    await until(is_told)
    first = await early()
    assert first["Decision"] == "NOT_ENOUGH_SPEECH"
    assert "RiskDetails" not in first
    house.engines.spoofs[ANNA] = spoof_evidence(0.75, 0.25)
    await house.say(call, ANNA, 2)
    await until(lambda: risen(house, first["EarlyVoiceSpoofingRisk"]["RiskScore"]))
    second = await early()
    assert second["FraudDetectionResultId"] == first["FraudDetectionResultId"]
    await house.say(call, ANNA, 5)
    await house.desk.end(rows.DOMAIN_ID, "call")
    decided = await early()
    assert "EarlyVoiceSpoofingRisk" not in decided
    assert decided["FraudDetectionResultId"] != first["FraudDetectionResultId"]
    # Of the same form, and worked out in the same way.
    assert decided["RiskDetails"]["VoiceSpoofingRisk"] == second["EarlyVoiceSpoofingRisk"]
    # A risk is no decision: nothing was recorded of it, nor told.
    records = await house.store.read(lambda tx: tx.audit.page(after=0, size=9))
    fraud_decisions = [one for one in records if one.record["eventName"].startswith("Fraud")]
    assert len(fraud_decisions) == 2
    announced = [one for one in await house.announced() if one["action"] == "EVALUATE_SESSION"]
    assert len(announced) == 2


async def risen(house, risk):
    return (await house.evaluate()).early_spoofing.risk > risk


@pytest.mark.parametrize("seconds", [2, 4, 9])
async def test_a_call_too_short_for_a_decision_ends_with_what_was_heard_of_it(house, seconds):
    await house.stream(ANNA, seconds)
    first = await house.evaluate()
    assert await house.evaluate() == first
    assert first.fraud.decision == "NOT_ENOUGH_SPEECH"
    assert (first.early_spoofing is None) == (seconds < 3)


async def test_without_fraud_detection_there_is_no_early_risk(house):
    await house.stream(ANNA, 4, fraud_detection_enabled=False)
    assert (await house.evaluate()).early_spoofing is None


async def test_speech_that_cannot_be_judged_has_no_early_risk(house):
    house.engines.spoofs[ANNA] = None
    await house.stream(ANNA, 4)
    assert (await house.evaluate()).early_spoofing is None


async def test_only_the_sessions_own_watchlist_counts(house):
    await register(house, ANNA)
    other = "0" * 22
    await house.store.write(
        lambda tx: rows.add_domain(tx, domain_id=other, default_watchlist_id="w" * 22)
    )
    await house.stream(ANNA, 11, domain_id=rows.DOMAIN_ID)
    assert (await fraud(house)).known_fraudster_risk == 100
    with pytest.raises(NotFound) as missing:
        await house.update(watchlist_id="w" * 22)  # another domain's
    assert missing.value.resource_type == "WATCHLIST"


async def test_what_is_switched_off_has_no_result(house):
    await house.stream(
        ANNA, 11, authentication_enabled=False, fraud_detection_enabled=True, speaker_id="anna"
    )
    evaluation = await house.evaluate()
    assert evaluation.authentication is None
    assert evaluation.fraud is not None
    await house.stream(ANNA, 1, "other", fraud_detection_enabled=False)
    evaluation = await house.evaluate("other")
    assert evaluation.authentication is not None
    assert evaluation.fraud is None


async def test_voiceprints_of_another_encoder_are_not_compared(house):
    await house.enroll("anna")
    await register(house, ANNA)
    house.engines.model = "better@2"
    await house.stream(ANNA, 11, speaker_id="anna")
    evaluation = await house.evaluate()
    assert evaluation.authentication.decision == "SPEAKER_NOT_ENROLLED"
    assert evaluation.fraud.known_fraudster_risk == 0


async def test_evidence_of_another_encoder_is_not_compared(house):
    await house.stream(ANNA, 11, speaker_id="anna")
    house.engines.model = "better@2"
    await house.enroll("anna")
    evaluation = await house.evaluate()
    assert evaluation.authentication.decision == "NOT_ENOUGH_SPEECH"
    assert evaluation.fraud.decision == "NOT_ENOUGH_SPEECH"


async def test_an_unknown_session_or_a_suspended_domain_is_an_error(house):
    with pytest.raises(NotFound) as missing:
        await house.evaluate("nothing")
    assert missing.value.resource_type == "SESSION"
    await house.store.write(
        lambda tx: rows.add_domain(
            tx, domain_id="0" * 22, default_watchlist_id="w" * 22, status="SUSPENDED"
        )
    )
    with pytest.raises(Conflict) as refused:
        await house.desk.evaluate("0" * 22, "call")
    assert refused.value.conflict_type == "DOMAIN_NOT_ACTIVE"


# --- how long a decision stays the same


async def test_the_same_question_gets_the_same_answer(house):
    await house.enroll("anna")
    await register(house, BEN)
    await house.stream(ANNA, 11, speaker_id="anna")
    first = await house.evaluate()
    house.clock.ms += 5_000
    assert await house.evaluate() == first


async def test_many_who_ask_at_once_get_one_answer(house):
    await house.enroll("anna")
    await house.stream(ANNA, 11, speaker_id="anna")
    evaluations = await asyncio.gather(*(house.evaluate() for _ in range(8)))
    assert len({evaluation.authentication.result_id for evaluation in evaluations}) == 1
    assert len({evaluation.fraud.result_id for evaluation in evaluations}) == 1


async def test_a_new_threshold_decides_the_same_score_anew(house):
    await house.enroll("anna")
    house.engines.vectors[7] = towards(0.75)
    await house.stream(7, 11, speaker_id="anna")
    before = await house.evaluate()
    await house.update(acceptance_threshold=91)
    after = await house.evaluate()
    assert (before.authentication.decision, after.authentication.decision) == ("ACCEPT", "REJECT")
    assert after.authentication.score == before.authentication.score == 90
    assert after.authentication.acceptance_threshold == 91
    assert after.authentication.result_id != before.authentication.result_id
    assert after.fraud == before.fraud
    await house.update(risk_threshold=0)
    later = await house.evaluate()
    assert later.authentication == after.authentication
    assert (later.fraud.decision, later.fraud.risk_threshold) == ("HIGH_RISK", 0)
    assert later.fraud.result_id != after.fraud.result_id


async def test_a_new_speaker_scores_the_same_speech_anew(house):
    await house.enroll("anna", ANNA)
    await house.enroll("ben", BEN)
    await house.stream(ANNA, 11, speaker_id="ben")
    before = await house.evaluate()
    await house.update(speaker_id="anna")
    after = await house.evaluate()
    assert (before.authentication.decision, after.authentication.decision) == ("REJECT", "ACCEPT")
    assert after.authentication.result_id != before.authentication.result_id
    assert (after.authentication.started_ms, after.authentication.ended_ms) == (
        before.authentication.started_ms,
        before.authentication.ended_ms,
    )
    assert after.fraud == before.fraud


async def test_a_new_watchlist_searches_anew(house):
    await house.stream(ANNA, 11)
    before = await house.evaluate()
    await house.store.write(
        lambda tx: tx.sessions.update(
            tx.sessions.get(rows.DOMAIN_ID, "call"), watchlist_id="another-of-this-domain"
        )
    )
    after = await house.evaluate()
    assert after.fraud.result_id != before.fraud.result_id
    assert after.authentication == before.authentication


@pytest.mark.parametrize("change", ["opt out", "delete", "expire"])
async def test_a_change_of_the_speakers_state_makes_the_answer_void(house, change):
    await house.enroll("anna")
    await house.stream(ANNA, 11, speaker_id="anna")
    before = await authentication(house)
    if change == "opt out":
        await house.opt_out("anna")
    elif change == "delete":
        await house.delete_speaker("anna")
    else:
        await set_status(house, "anna", "EXPIRED")
    after = await authentication(house)
    assert after.decision in ("SPEAKER_OPTED_OUT", "SPEAKER_NOT_ENROLLED", "SPEAKER_EXPIRED")
    assert after.result_id != before.result_id


async def test_a_new_voiceprint_scores_anew(house):
    await house.enroll("anna", BEN)
    await house.stream(ANNA, 11, speaker_id="anna")
    before = await authentication(house)
    house.clock.ms += 1
    await house.stream(ANNA, 31, "again", speaker_id="anna")
    await house.desk.enroll(rows.DOMAIN_ID, "again")
    after = await authentication(house)
    assert (before.decision, after.decision) == ("REJECT", "ACCEPT")
    assert after.result_id != before.result_id


async def test_too_little_speech_keeps_its_id_until_there_is_enough(house):
    await house.enroll("anna")
    session, token = await house.start(speaker_id="anna", authentication_minimum_s=8)
    call = await house.open(session, token)
    ids = set()
    for _ in range(3):
        await house.say(call, ANNA, 2.2)
        evaluation = await house.evaluate()
        assert evaluation.session.streaming_status == "ONGOING"
        ids.add((evaluation.authentication.result_id, evaluation.fraud.result_id))
    await house.desk.end(rows.DOMAIN_ID, "call")
    ids.add(((await house.evaluate()).authentication.result_id, (await fraud(house)).result_id))
    assert len(ids) == 1
    assert (await authentication(house)).decision == "NOT_ENOUGH_SPEECH"


async def test_more_speech_of_a_live_call_decides_anew(house):
    await house.enroll("anna")
    session, token = await house.start(speaker_id="anna", authentication_minimum_s=5)
    call = await house.open(session, token)
    seen = set()

    async def decided_anew():
        outcome = await authentication(house)
        return outcome.decision == "ACCEPT" and outcome.result_id not in seen

    for seconds in (6, 5, 10):
        await house.say(call, ANNA, seconds)
        await until(decided_anew)
        seen.add((await authentication(house)).result_id)
    assert len(seen) == 3


async def test_a_new_stream_begins_afresh(house):
    await house.enroll("anna")
    await house.stream(ANNA, 11, speaker_id="anna")
    before = await house.evaluate()
    await house.stream(ANNA, 3)
    after = await house.evaluate()
    assert after.authentication.decision == after.fraud.decision == "NOT_ENOUGH_SPEECH"
    assert after.authentication.result_id != before.authentication.result_id


async def test_a_minimum_lowered_during_the_call_decides_on_what_was_heard(house):
    await house.enroll("anna")
    session, token = await house.start(speaker_id="anna")
    call = await house.open(session, token)
    await house.say(call, ANNA, 7)
    assert (await authentication(house)).decision == "NOT_ENOUGH_SPEECH"
    await house.update(authentication_minimum_s=5)
    await until(lambda: accepted(house))


async def accepted(house):
    return (await authentication(house)).decision == "ACCEPT"


# --- who is told of a decision


async def test_a_decision_is_counted_and_recorded_when_it_is_given_out_first(house):
    await house.enroll("anna")
    await register(house, ANNA)
    house.decisions.clear()
    await house.stream(ANNA, 11, speaker_id="anna")
    await asyncio.gather(*(house.evaluate() for _ in range(4)))
    assert sorted(house.decisions) == [
        ("authentication", "ACCEPT", ()),
        ("fraud", "HIGH_RISK", ("KNOWN_FRAUDSTER",)),
    ]
    await house.update(acceptance_threshold=100)
    evaluation = await house.evaluate()
    assert house.decisions[2:] == [("authentication", "ACCEPT", ())]
    records = await house.store.read(lambda tx: tx.audit.page(after=0, size=99))
    assert len(records) == 3
    assert records[-1].record["resultId"] == evaluation.authentication.result_id
    assert records[-1].record["acceptanceThreshold"] == 100
    assert records[-1].record["evidence"]["netSpeechSeconds"] >= 10


async def test_a_decision_is_announced_when_it_is_new_or_was_asked_for(house):
    async def announced():
        found = [one for one in await house.announced() if one["action"] == "EVALUATE_SESSION"]
        return [one["session"]["authenticationResult"]["decision"] for one in found]

    await house.stream(ANNA, 11, speaker_id="anna")
    for _ in range(3):
        await house.evaluate()
    assert await announced() == ["SPEAKER_NOT_ENROLLED"]
    await house.desk.evaluate(rows.DOMAIN_ID, "call", announce_always=True)
    assert await announced() == ["SPEAKER_NOT_ENROLLED"] * 2


async def test_what_is_undone_is_neither_counted_nor_recorded_nor_announced(house, monkeypatch):
    await house.stream(ANNA, 11)
    before = await house.announced()

    def fail(*_, **__):
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(AuditRows, "add", fail)
        with pytest.raises(OSError, match="full"):
            await house.evaluate()
    assert house.decisions == []
    assert await house.announced() == before
    assert await house.store.read(lambda tx: tx.audit.page(after=0, size=9)) == []
    assert await house.evaluate()
    assert len(house.decisions) == 2


# --- when a speaker was last here


async def test_only_an_accepted_caller_was_here_and_only_to_the_hour(house):
    await house.enroll("anna")

    async def last_accessed_ms():
        speaker = await house.store.read(lambda tx: tx.speakers.get(rows.DOMAIN_ID, "anna"))
        return speaker.last_accessed_ms

    enrolled_ms = await last_accessed_ms()
    assert enrolled_ms == house.clock.ms - house.clock.ms % HOUR_MS
    house.clock.ms += 2 * HOUR_MS
    await house.stream(BEN, 11, "rejected", speaker_id="anna")
    await house.evaluate("rejected")
    assert await last_accessed_ms() == enrolled_ms
    await house.stream(ANNA, 11, speaker_id="anna")
    await house.evaluate()
    assert await last_accessed_ms() == enrolled_ms + 2 * HOUR_MS
    house.clock.ms += 2 * HOUR_MS
    await house.evaluate()  # the same answer again is no new visit
    assert await last_accessed_ms() == enrolled_ms + 2 * HOUR_MS
