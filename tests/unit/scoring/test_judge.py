import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import (
    referring_judge,
    spoof_evidence,
    straight_calibration,
    straight_judge,
    towards,
)
from vivavoce.scoring.gallery import Gallery
from vivavoce.scoring.judge import Judge
from vivavoce.scoring.spoofing import SpoofReference

JUDGE = straight_judge()
REFERRING = referring_judge()
CALLER = towards(1)


def gallery_of(voices):
    gallery = Gallery()
    for number, voice in enumerate(voices):
        gallery.put(str(number), voice, list_ids=[])
    return gallery


@pytest.mark.parametrize(
    ("cosine", "score"), [(0.75, 90), (0.5, 80), (0.0, 0), (-1.0, 0), (1, 100)]
)
def test_the_cosine_becomes_a_score(cosine, score):
    match = JUDGE.compare(CALLER, towards(cosine), seconds=10)
    assert match.score == score
    assert match.calibrated.raw == pytest.approx(cosine)
    assert match.calibrated.llr == pytest.approx(10 * cosine - 5, abs=1e-5)


def test_the_closest_of_several_is_found():
    wanted = gallery_of([towards(0.1), towards(0.9), towards(0.5)])
    assert JUDGE.search(CALLER, wanted, seconds=10).owner_id == "1"
    wanted.put("far", towards(0.2), list_ids=["some"])
    assert JUDGE.search(CALLER, wanted, list_id="some", seconds=10).owner_id == "far"


def test_a_longer_list_makes_the_same_likeness_less_of_a_risk():
    risks = [
        JUDGE.search(CALLER, gallery_of([towards(0.75)] + [towards(0.0)] * others), seconds=10).risk
        for others in (0, 9, 99, 9999)
    ]
    assert risks == [75, 50, 25, 0]


def test_an_empty_list_or_no_likeness_names_nobody():
    for wanted in ([], [towards(0.0), towards(-0.5)]):
        closest = JUDGE.search(CALLER, gallery_of(wanted), seconds=10)
        assert (closest.owner_id, closest.risk) == (None, 0)


@pytest.mark.parametrize(
    ("raw", "risk", "joint"), [(-3.0, 0, 0), (0.5, 50, 42), (0.75, 75, 67), (9.0, 100, 100)]
)
def test_a_spoof_score_becomes_a_risk_of_its_own_and_one_of_two_tests(raw, risk, joint):
    for scores in ({"synthetic": raw}, {"playback": raw}):
        verdict = JUDGE.spoof(spoof_evidence(**scores), seconds=10)
        (name,) = scores
        assert verdict.risk_of(name) == risk
        assert verdict.by_verdict[name].raw == raw
        assert verdict.risk == joint


def test_either_kind_of_spoof_being_as_likely_makes_the_joint_likelihood_ratio():
    verdict = JUDGE.spoof(spoof_evidence(0.7, 0.2), seconds=10)
    synthetic, playback = 10 * 0.7 - 5, 10 * 0.2 - 5
    assert verdict.by_verdict["synthetic"].llr == pytest.approx(synthetic, abs=1e-5)
    assert verdict.by_verdict["playback"].llr == pytest.approx(playback, abs=1e-5)
    expected = math.log((math.exp(synthetic) + math.exp(playback)) / 2)
    assert verdict.llr == pytest.approx(expected, abs=1e-5)


def test_each_verdict_has_its_own_calibration():
    (condition,) = straight_calibration().conditions
    steep = replace(straight_calibration(), conditions=(replace(condition, slope=100.0),))
    judge = Judge(
        speaker=straight_calibration(),
        spoof_calibrations={"synthetic": straight_calibration(), "playback": steep},
    )
    by_verdict = judge.spoof(spoof_evidence(0.5, 0.5), seconds=10).by_verdict
    assert {name: each.llr for name, each in by_verdict.items()} == {
        "synthetic": 0.0,
        "playback": 45.0,
    }


@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(0, 3))
def test_more_evidence_of_either_kind_is_never_less_in_all(synthetic, playback, more):
    verdict = JUDGE.spoof(spoof_evidence(synthetic, playback), seconds=10)
    apart = [each.llr for each in verdict.by_verdict.values()]
    assert min(apart) - 1e-6 <= verdict.llr <= max(apart) + 1e-6
    assert verdict.risk <= max(verdict.risk_of(name) for name in verdict.by_verdict)
    for raised in (
        spoof_evidence(synthetic + more, playback),
        spoof_evidence(synthetic, playback + more),
    ):
        higher = JUDGE.spoof(raised, seconds=10)
        assert higher.risk >= verdict.risk
        assert higher.llr >= verdict.llr - 1e-9


def usual(synthetic=0.0, playback=0.0):
    return SpoofReference(model="m", raw={"synthetic": synthetic, "playback": playback})


@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(0, 3), st.floats(0, 3))
def test_the_further_from_the_training_the_less_is_said_and_no_risk_rises(
    synthetic, playback, distance, more
):
    def judged(distance):
        return JUDGE.spoof(spoof_evidence(synthetic, playback, distance=distance), seconds=10)

    near, far = judged(distance), judged(distance + more)
    assert far.certainty <= near.certainty
    assert far.risk <= near.risk
    for name in near.by_verdict:
        assert far.risk_of(name) <= near.risk_of(name)
        assert abs(far.by_verdict[name].llr) <= abs(near.by_verdict[name].llr) + 1e-9


def test_half_a_certainty_halves_what_each_verdict_says():
    verdict = JUDGE.spoof(spoof_evidence(0.75, 0.25, distance=1.5), seconds=10)
    assert verdict.certainty == 0.5
    assert verdict.by_verdict["synthetic"].llr == pytest.approx((10 * 0.75 - 5) / 2)
    assert verdict.by_verdict["playback"].llr == pytest.approx((10 * 0.25 - 5) / 2)
    assert verdict.risk_of("synthetic") == 37
    assert verdict.by_verdict["synthetic"].raw == 0.75


def test_audio_far_from_the_training_is_not_judged():
    verdict = JUDGE.spoof(spoof_evidence(9.0, 9.0, distance=2.0), seconds=10)
    assert (verdict.certainty, verdict.risk) == (0, 0)
    assert verdict.llr == pytest.approx(0)
    assert all(verdict.risk_of(name) == 0 for name in verdict.by_verdict)


def test_what_is_usual_for_a_voice_does_not_speak_against_it():
    evidence = spoof_evidence(0.75, 0.25)
    assert REFERRING.takes_reference(seconds=10)
    plain = REFERRING.spoof(evidence, seconds=10)
    odd = REFERRING.spoof(evidence, seconds=10, reference=usual(synthetic=0.5))
    assert plain.risk_of("synthetic") == 75
    assert odd.risk_of("synthetic") == 50
    assert odd.by_verdict["playback"] == plain.by_verdict["playback"]


@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(-3, 3))
def test_without_a_reference_or_a_use_for_it_nothing_changes(synthetic, playback, own):
    evidence = spoof_evidence(synthetic, playback)
    plain = JUDGE.spoof(evidence, seconds=10)
    assert not JUDGE.takes_reference(seconds=10)
    assert JUDGE.spoof(evidence, seconds=10, reference=usual(own, own)) == plain
    assert REFERRING.spoof(evidence, seconds=10) == plain


def test_a_voice_that_is_no_vector_is_like_nobody():
    nothing = np.zeros(2, np.float32)
    assert JUDGE.compare(nothing, CALLER, seconds=10).score == 0
    assert JUDGE.search(nothing, gallery_of([CALLER]), seconds=10).owner_id is None
