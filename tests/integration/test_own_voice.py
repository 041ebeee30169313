"""The caller's own voice, as it was enrolled, as the reference for its calls."""

import pytest

from tests import rows
from tests.fakes import referring_judge, spoof_evidence
from tests.integration.house import ANNA, BEN, until
from vivavoce.scoring.spoofing import SpoofEvidence, SpoofReference
from vivavoce.sessions.documents import evaluation_document

pytestmark = pytest.mark.anyio

USUAL = spoof_evidence([0.75, 0.25], [0.125, 0.375], windows=2)  # 0.5 and 0.25 in the mean
HEARD = spoof_evidence(0.75, 0.25)


@pytest.fixture
def judge():
    return referring_judge()


async def call(house, speaker=ANNA, name="call", **members):
    """A call in which both voices sound as they do when they are not enrolled."""
    house.engines.spoofs |= {ANNA: HEARD, BEN: HEARD}
    house.clock.ms += 1
    await house.stream(speaker, 11, name, **members)


async def enroll(house, customer_id="anna", speaker=ANNA, evidence: SpoofEvidence | None = USUAL):
    house.engines.spoofs[speaker] = evidence
    await house.enroll(customer_id, speaker)
    house.clock.ms += 1


async def enroll_again(house, name="again"):
    """Another session of hers replaces the voiceprint."""
    house.engines.spoofs[ANNA] = USUAL
    await house.stream(ANNA, 31, name, speaker_id="anna")
    await house.desk.enroll(rows.DOMAIN_ID, name)


async def fraud(house, name="call"):
    return (await house.evaluate(name)).fraud


def risks(outcome):
    return {name: risk for name, (risk, _) in outcome.spoofing.verdicts.items()}


PLAIN, REFERRED = {"synthetic": 75, "playback": 25}, {"synthetic": 50, "playback": 12}
"""At log10 p of -4 times the raw score, of which half of the usual one is taken away."""


async def test_an_enrolment_keeps_what_is_usual_for_the_voice(house):
    await enroll(house)

    def work(tx):
        speaker = tx.speakers.get(rows.DOMAIN_ID, "anna")
        return tx.voiceprints.find(rows.DOMAIN_ID, speaker.speaker_id)

    reference = (await house.store.read(work)).reference
    raw = {"synthetic": 0.5, "playback": 0.25}
    assert reference == SpoofReference(model="fake-spoof@1", raw=raw)


async def test_speech_that_cannot_be_judged_makes_a_voiceprint_without_a_reference(house):
    await enroll(house, evidence=None)
    await call(house, speaker_id="anna")
    evaluation = await house.evaluate()
    assert evaluation.authentication.decision == "ACCEPT"
    assert risks(evaluation.fraud) == PLAIN


async def test_a_fraudsters_voiceprint_has_none(house):
    await call(house)
    await house.desk.register_fraudster(rows.DOMAIN_ID, "call", None)
    (wanted,) = await house.store.read(rows.on_watchlist)
    assert wanted.reference is None


async def test_the_claimed_speakers_own_voice_is_held_against_its_reference(house):
    await enroll(house)
    await call(house, speaker_id="anna")
    first = await house.evaluate()
    assert await house.evaluate() == first
    assert risks(first.fraud) == REFERRED
    document = evaluation_document(first, None)["FraudDetectionResult"]
    assert document["RiskDetails"]["VoiceSpoofingRisk"]["ReferenceUsed"] is True
    told = [one for one in await house.announced() if one["action"] == "EVALUATE_SESSION"][-1]
    spoofing = told["session"]["fraudDetectionResult"]["riskDetails"]["voiceSpoofingRisk"]
    assert spoofing["referenceUsed"] is True
    records = await house.store.read(lambda tx: tx.audit.page(after=0, size=9))
    (record,) = [one.record for one in records if one.record.get("spoofing")]
    assert record["spoofing"]["referenceUsed"] is True


async def test_an_early_risk_has_no_reference_that_was_made_for_more_speech(house):
    await enroll(house)
    house.engines.spoofs[ANNA] = HEARD
    await house.stream(ANNA, 4, speaker_id="anna")
    early = (await house.evaluate()).early_spoofing
    assert early.reference_used is False
    assert {name: risk for name, (risk, _) in early.verdicts.items()} == PLAIN


@pytest.mark.parametrize("speaker_id", [None, "anna", "nobody-yet"])
async def test_what_is_usual_for_a_voice_says_nothing_of_another_one(house, speaker_id):
    await enroll(house)
    await call(house, BEN, speaker_id=speaker_id)
    outcome = await fraud(house)
    assert not outcome.spoofing.reference_used
    assert risks(outcome) == PLAIN


async def test_a_reference_of_another_detector_or_encoder_is_none(house):
    await enroll(house)
    house.engines.spoof_model = "better@2"
    await call(house, speaker_id="anna")
    assert risks(await fraud(house)) == PLAIN
    house.engines.spoof_model = "fake-spoof@1"
    await call(house, name="usual", speaker_id="anna")
    assert risks(await fraud(house, "usual")) == REFERRED
    house.engines.model = "better@2"
    await call(house, name="other", speaker_id="anna")
    assert risks(await fraud(house, "other")) == PLAIN


@pytest.mark.parametrize("enrolled_before", [False, True])
async def test_a_stream_is_no_reference_for_itself(house, enrolled_before):
    if enrolled_before:
        await enroll(house)
    house.engines.spoofs[ANNA] = HEARD
    session, token = await house.start(speaker_id="anna")
    await house.desk.enroll(rows.DOMAIN_ID, "call")
    live = await house.open(session, token)
    await house.say(live, ANNA, 12)
    await until(lambda: is_decided(house))
    assert (await fraud(house)).spoofing.reference_used == enrolled_before
    await house.say(live, ANNA, 20)
    await live.end()
    assert (await house.session()).enrollment_status == "COMPLETED"
    await house.update(risk_threshold=60)  # decides anew
    assert not (await fraud(house)).spoofing.reference_used
    await call(house)  # the next stream of the session
    assert (await fraud(house)).spoofing.reference_used


async def is_decided(house):
    return (await fraud(house)).decision != "NOT_ENOUGH_SPEECH"


async def test_what_was_given_out_stands_whoever_is_claimed_afterwards(house):
    await enroll(house)
    await enroll(house, "ben", BEN)
    await call(house, speaker_id="anna")
    of_anna = await fraud(house)
    assert risks(of_anna) == REFERRED
    for claimed in ("ben", "nobody-yet"):
        await house.update(speaker_id=claimed)
        assert await fraud(house) == of_anna


async def test_a_new_threshold_decides_anew_with_the_reference_of_who_is_claimed_now(house):
    await enroll(house)
    await call(house, speaker_id="anna")
    of_anna = await fraud(house)
    await house.update(speaker_id="nobody-yet", risk_threshold=60)
    of_nobody = await fraud(house)
    assert of_nobody.result_id != of_anna.result_id
    assert (risks(of_anna), risks(of_nobody)) == (REFERRED, PLAIN)


async def test_what_was_given_out_stands_when_the_voiceprint_is_replaced(house):
    await enroll(house)
    await call(house, speaker_id="anna")
    before = await fraud(house)
    await enroll_again(house)
    assert await fraud(house) == before
    await call(house, speaker_id="anna")  # the next stream
    assert (await fraud(house)).spoofing.reference_used


async def test_an_expired_voiceprint_takes_its_reference_along(house):
    await enroll(house)

    def expire(tx):
        now_ms = house.clock.now_ms()
        unheard = tx.speakers.unheard_since(now_ms, after=0, size=9)
        assert tx.speakers.expire(unheard, unheard_since_ms=now_ms, now_ms=now_ms)

    await house.store.write(expire)
    await call(house, speaker_id="anna")
    assert risks(await fraud(house)) == PLAIN


@pytest.mark.parametrize("change", ["opt_out", "delete_speaker"])
async def test_what_was_given_out_stands_once_the_voice_is_forgotten(house, change):
    await enroll(house)
    await call(house, speaker_id="anna")
    before = await fraud(house)
    assert before.spoofing.reference_used
    await getattr(house, change)("anna")
    assert await fraud(house) == before
