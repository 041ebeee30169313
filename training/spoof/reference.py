"""The caller's own enrolment as a reference: how much of a raw spoof score is the caller's habit.

A voice, and the telephone it comes from, moves the raw scores of all its calls. The speech that a
caller enrolled with shows by how much, before any call: `raw - weight * (reference - centre)`.
"""

import numpy as np

from training.calibration import fit_condition
from vivavoce.scoring.calibration import Correction
from vivavoce.scoring.metrics import Labels, Scores

_LIMIT_SHARE = 0.95
"""Of so many genuine trials the reference counts in full. Chosen because few voices lie beyond, and
who enrols with a machine shall not win more than they do."""


def fit_reference(test: Scores, reference: Scores) -> tuple[float, float]:
    """Weight and centre: the least squares line of genuine scores on their callers' references.

    Args:
        test: raw scores of genuine calls, shape (n,), n > 0.
        reference: raw score of the same caller's enrolment, shape (n,).

    Returns:
        The slope of the line, from 0 (a reference that seems to tell the contrary is chance) to 1
        (nor can it tell more than it says), and the mean reference: there nothing changes.
    """
    centre = float(reference.mean())
    spread = float(np.square(reference - centre).sum())
    if spread == 0:
        return 0.0, centre
    slope = float((reference - centre) @ (test - test.mean())) / spread
    return min(1.0, max(0.0, slope)), centre


def fit_correction(
    test: Scores, reference: Scores, is_spoof: Labels, *, seconds: float, tail_share: float
) -> Correction:
    """The correction by the reference, and what corrected scores mean.

    Args:
        test: raw scores of calls in the names of enrolled callers, genuine or not, shape (n,).
        reference: raw score of the enrolment of who each caller claims to be, shape (n,).
        is_spoof: shape (n,); only genuine calls make weight, centre, limit, and tail.
        seconds: net speech of the calls.
        tail_share: see `fit_tail`.
    """
    weight, centre = fit_reference(test[~is_spoof], reference[~is_spoof])
    away = np.abs(reference[~is_spoof] - centre)
    limit = max(float(np.quantile(away, _LIMIT_SHARE)), 1e-3)  # it must be positive
    corrected = test - weight * np.clip(reference - centre, -limit, limit)
    condition = fit_condition(
        corrected[~is_spoof], corrected[is_spoof], seconds=seconds, tail_share=tail_share
    )
    return Correction(weight=weight, centre=centre, limit=limit, conditions=(condition,))
