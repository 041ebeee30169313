import numpy as np
import pytest

from tests.fakes import straight_judge, towards

JUDGE = straight_judge()
CALLER = towards(1)


@pytest.mark.parametrize(
    ("cosine", "score"), [(0.75, 90), (0.5, 80), (0.0, 0), (-1.0, 0), (1, 100)]
)
def test_the_cosine_becomes_a_score(cosine, score):
    match = JUDGE.compare(CALLER, towards(cosine), seconds=10)
    assert match.score == score
    assert match.calibrated.raw == pytest.approx(cosine)
    assert match.calibrated.llr == pytest.approx(10 * cosine - 5, abs=1e-5)


def test_the_closest_of_several_is_found():
    wanted = [towards(0.1), towards(0.9), towards(0.5)]
    closest = JUDGE.search(CALLER, wanted, seconds=10)
    assert closest.index == 1
    assert JUDGE.search(CALLER, wanted[1:2], seconds=10).index == 0


def test_a_longer_list_makes_the_same_likeness_less_of_a_risk():
    risks = [
        JUDGE.search(CALLER, [towards(0.75)] + [towards(0.0)] * others, seconds=10).risk
        for others in (0, 9, 99, 9999)
    ]
    assert risks == [75, 50, 25, 0]


def test_an_empty_list_or_no_likeness_names_nobody():
    for wanted in ([], [towards(0.0), towards(-0.5)]):
        closest = JUDGE.search(CALLER, wanted, seconds=10)
        assert (closest.index, closest.risk) == (None, 0)


@pytest.mark.parametrize(("raw", "risk"), [(None, 0), (-3.0, 0), (0.5, 50), (0.75, 75), (9.0, 100)])
def test_the_spoof_score_becomes_a_risk(raw, risk):
    assert JUDGE.spoof_risk(raw, seconds=10) == risk


def test_a_voice_that_is_no_vector_is_like_nobody():
    nothing = np.zeros(2, np.float32)
    assert JUDGE.compare(nothing, CALLER, seconds=10).score == 0
    assert JUDGE.search(nothing, [CALLER], seconds=10).index is None
