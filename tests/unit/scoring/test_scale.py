import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.scoring.scale import authentication_score, log10_any_of, risk_score

log10_ps = st.floats(-8, 0)


@pytest.mark.parametrize(
    ("p", "score"),
    [(1e-9, 100), (1e-4, 100), (1e-3, 90), (1e-2, 80), (0.1, 70), (0.55, 35), (1.0, 0)],
)
def test_authentication_scores_are_what_the_table_says(p, score):
    assert authentication_score(math.log10(p)) == score


@pytest.mark.parametrize(
    ("p", "score"), [(1e-9, 100), (1e-4, 100), (1e-3, 75), (1e-2, 50), (0.1, 25), (1.0, 0)]
)
def test_risk_scores_are_what_the_table_says(p, score):
    assert risk_score(math.log10(p)) == score


@given(log10_p=log10_ps)
def test_a_score_never_promises_more_than_is_so(log10_p):
    p = 10**log10_p
    if authentication_score(log10_p) >= 90:
        assert p <= 1e-3 * (1 + 1e-6)
    if risk_score(log10_p) >= 50:
        assert p <= 1e-2 * (1 + 1e-6)


@given(one=log10_ps, other=log10_ps)
def test_the_rarer_the_higher_and_never_outside_the_scale(one, other):
    one, other = sorted((one, other))
    for scale in (authentication_score, risk_score):
        assert 100 >= scale(one) >= scale(other) >= 0
        assert isinstance(scale(one), int)


def test_there_is_no_jump_where_the_authentication_scale_changes_its_law():
    assert authentication_score(-1.0) == authentication_score(-1.0 + 1e-12) == 70


def test_the_impossible_scores_full():
    assert authentication_score(-math.inf) == risk_score(-math.inf) == 100


@given(log10_p=log10_ps, trials=st.integers(1, 10_000))
def test_one_of_many_lies_between_one_and_the_sum_of_all(log10_p, trials):
    got = log10_any_of(log10_p, trials)
    assert log10_p - 1e-9 <= got <= min(0.0, log10_p + math.log10(trials)) + 1e-9


@given(log10_p=log10_ps)
def test_one_of_one_is_that_one(log10_p):
    assert log10_any_of(log10_p, 1) == pytest.approx(log10_p, abs=1e-9)


@given(log10_p=st.floats(-3, -0.01), trials=st.integers(1, 1000))
def test_one_of_many_is_what_the_formula_says(log10_p, trials):
    assert 10 ** log10_any_of(log10_p, trials) == pytest.approx(1 - (1 - 10**log10_p) ** trials)


def test_far_out_it_stays_exact():
    assert log10_any_of(-400.0, 100) == pytest.approx(-398.0)
    assert log10_any_of(0.0, 7) == log10_any_of(0.5, 7) == 0.0
