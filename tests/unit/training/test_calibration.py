import math

import numpy as np
import pytest

from training.calibration import fit_condition, fit_line, fit_tail
from vivavoce.scoring.calibration import Calibration, read_calibration, write_calibration


def two_normals(apart, count, seed=0):
    """Scores whose log-likelihood ratio is known: apart * (score - apart / 2)."""
    rng = np.random.default_rng(seed)
    is_target = np.arange(count) < count // 4
    return rng.normal(np.where(is_target, apart, 0.0), 1.0), is_target


@pytest.mark.parametrize("apart", [1.0, 2.0, 3.0])
def test_the_line_is_the_log_likelihood_ratio_of_two_normal_classes(apart):
    scores, is_target = two_normals(apart, 100_000)
    slope, offset = fit_line(scores, is_target)
    assert slope == pytest.approx(apart, rel=0.05)
    assert offset == pytest.approx(-apart * apart / 2, rel=0.05)


def test_how_many_trials_a_class_has_does_not_move_the_line():
    scores, is_target = two_normals(2.0, 100_000)
    keep = ~is_target | (np.arange(len(scores)) % 10 == 0)
    assert fit_line(scores[keep], is_target[keep]) == pytest.approx(
        fit_line(scores, is_target), rel=0.1
    )


def test_scores_on_another_scale_keep_their_ratios():
    scores, is_target = two_normals(2.0, 10_000)
    slope, offset = fit_line(scores, is_target)
    small_slope, small_offset = fit_line(scores / 100 + 0.8, is_target)
    assert small_slope * (0.01 + 0.8) + small_offset == pytest.approx(slope + offset, abs=0.01)


def test_classes_that_do_not_overlap_still_get_a_finite_rising_line():
    slope, offset = fit_line(np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True]))
    assert slope > 0
    assert math.isfinite(slope)
    assert math.isfinite(offset)


def test_the_tail_follows_what_was_seen_and_goes_on_exponentially():
    # P(x >= raw) of an exponential is exp(-raw), so every point is known, the fitted ones too.
    raw, log10_p = fit_tail(np.random.default_rng(1).exponential(size=200_000))
    for x, p in zip(raw, log10_p, strict=True):
        assert x == pytest.approx(-p * math.log(10), abs=0.3)


@pytest.mark.parametrize("tail_share", [0.01, 0.03, 0.1])
def test_the_tail_rises_wherever_what_was_seen_ends(tail_share):
    raw, log10_p = fit_tail(np.random.default_rng(1).normal(size=3_000), tail_share=tail_share)
    assert (np.diff(raw) > 0).all()
    assert (np.diff(log10_p) < 0).all()
    assert log10_p[-1] == -4


def test_scores_that_are_all_but_equal_still_get_a_rising_tail():
    raw, _ = fit_tail(np.repeat([0.0, 1.0], [990, 10]), tail_share=0.03)
    assert (np.diff(raw) > 0).all()


def test_a_fitted_calibration_is_one_that_can_be_read(tmp_path):
    scores, is_target = two_normals(3.0, 5_000)
    condition = fit_condition(scores[~is_target], scores[is_target], seconds=10)
    assert (condition.slope, condition.offset) == pytest.approx(fit_line(scores, is_target))
    fitted = Calibration(model="test", model_sha256="00" * 32, conditions=(condition,))
    write_calibration(tmp_path / "test.calibration.json", fitted, made_from={})
    read = read_calibration(tmp_path / "test.calibration.json")
    assert read.apply(4.0, seconds=10).log10_p == pytest.approx(
        fitted.apply(4.0, seconds=10).log10_p, abs=1e-4
    )
