"""What a caller's own enrolment says of the caller's later calls."""

import numpy as np
import pytest

from training.spoof.reference import fit_correction, fit_reference

REFERENCE = np.array([-3.0, -1.0, 0.0, 2.0, 4.0])


def test_weight_and_centre_are_those_of_the_line_through_genuine_scores():
    weight, centre = fit_reference(0.5 * REFERENCE - 2.0, REFERENCE)
    assert weight == pytest.approx(0.5)
    assert centre == pytest.approx(REFERENCE.mean())


@pytest.mark.parametrize(("slope", "weight"), [(-0.7, 0.0), (0.0, 0.0), (1.0, 1.0), (1.8, 1.0)])
def test_a_reference_neither_tells_the_contrary_nor_more_than_it_says(slope, weight):
    assert fit_reference(slope * REFERENCE, REFERENCE)[0] == pytest.approx(weight)


def test_a_reference_that_is_always_the_same_is_left_alone():
    assert fit_reference(np.array([1.0, 2.0, 5.0]), np.full(3, -1.5)) == (0.0, -1.5)


def habits(rng, callers=60, each=4):
    """Calls of callers whose habit moves all their scores, and spoofs of them, 3 higher."""
    habit = np.repeat(rng.normal(0, 2, callers), each)
    reference = np.tile(habit + rng.normal(0, 0.3, len(habit)), 2)
    is_spoof = np.arange(2 * len(habit)) >= len(habit)
    test = np.tile(habit, 2) + 3 * is_spoof + rng.normal(0, 0.5, 2 * len(habit))
    return test, reference, is_spoof


def test_corrected_scores_tell_more_where_callers_have_habits():
    test, reference, is_spoof = habits(np.random.default_rng(0))
    correction = fit_correction(test, reference, is_spoof, seconds=10.0, tail_share=0.1)
    pairs = zip(test.tolist(), reference.tolist(), strict=True)
    corrected = np.array([correction.apply(*pair) for pair in pairs])
    (condition,) = correction.conditions
    assert condition.seconds == 10.0
    # 1 % of genuine calls may be that high; by themselves hardly any spoof is.
    beyond = np.array([condition.log10_exceedance(raw) <= -2 for raw in corrected.tolist()])
    assert beyond[~is_spoof].mean() <= 0.05
    assert beyond[is_spoof].mean() > (test[is_spoof] > np.quantile(test[~is_spoof], 0.99)).mean()


def test_spoofs_do_not_move_the_correction():
    test, reference, is_spoof = habits(np.random.default_rng(1))
    one, other = (
        fit_correction(scores, reference, is_spoof, seconds=10.0, tail_share=0.1)
        for scores in (test, test + 5 * is_spoof)
    )
    assert (one.weight, one.centre, one.limit) == (other.weight, other.centre, other.limit)
    assert one.conditions[0].tail_raw == other.conditions[0].tail_raw


def test_an_odd_enrolment_wins_no_more_than_the_limit():
    test, reference, is_spoof = habits(np.random.default_rng(2))
    correction = fit_correction(test, reference, is_spoof, seconds=10.0, tail_share=0.1)
    far = correction.centre + 100.0
    assert correction.apply(1.0, far) == pytest.approx(1.0 - correction.weight * correction.limit)
    assert correction.limit <= np.abs(reference - correction.centre).max()
