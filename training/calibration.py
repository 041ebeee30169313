"""From scores of both classes to the condition of a calibration."""

import math

import numpy as np

from vivavoce.scoring.calibration import Condition
from vivavoce.scoring.metrics import Labels, Scores

_SEEN_LOG10_P = (-0.02, -0.05, -0.1, -0.2, -0.3, -0.5, -0.75, -1.0, -1.25, -1.5, -1.75, -2.0)
_FITTED_LOG10_P = (-2.5, -3.0, -3.5, -4.0)


def fit_condition(
    null_scores: Scores, target_scores: Scores, *, seconds: float, tail_share: float = 0.01
) -> Condition:
    """The calibration of scores won from so much net speech."""
    scores = np.concatenate([null_scores, target_scores])
    is_target = np.arange(len(scores)) >= len(null_scores)
    slope, offset = fit_line(scores, is_target)
    raw, log10_p = fit_tail(null_scores, tail_share=tail_share)
    return Condition(
        seconds=seconds, slope=slope, offset=offset, tail_raw=raw, tail_log10_p=log10_p
    )


def fit_line(scores: Scores, is_target: Labels, *, rounds: int = 50) -> tuple[float, float]:
    """Slope and offset of the log-likelihood ratio, by logistic regression with equal priors.

    Newton's method on standardised scores. Source: N. Brümmer and J. du Preez, "Application-
    independent evaluation of speaker detection" (2006), linear calibration by logistic regression.
    """
    mean, scale = float(scores.mean()), float(scores.std())
    design = np.stack([(scores - mean) / scale, np.ones(len(scores))], axis=1)
    sign = np.where(is_target, 1.0, -1.0)
    targets = int(np.count_nonzero(is_target))
    weight = np.where(is_target, 0.5 / targets, 0.5 / (len(is_target) - targets))
    beta = np.zeros(2)
    for _ in range(rounds):
        miss = 1 / (1 + np.exp(sign * (design @ beta)))
        # A trace of ridge keeps classes that do not overlap from an infinite slope.
        gradient = design.T @ (weight * sign * miss) - 1e-6 * beta
        hessian = (design * (weight * miss * (1 - miss))[:, None]).T @ design + 1e-6 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        beta += step
        if np.abs(step).max() < 1e-10:
            break
    slope = float(beta[0]) / scale
    return slope, float(beta[1]) - slope * mean


def fit_tail(
    null_scores: Scores, *, tail_share: float = 0.01
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Raw scores and log10 of the share of the null class that reaches them.

    Down to `tail_share` they are quantiles. Beyond, where few scores are left, they lie on the
    exponential tail of the same mean excess.
    """
    seen_p = [p for p in _SEEN_LOG10_P if 10**p >= tail_share * 0.999]
    fitted_p = [p for p in (*_SEEN_LOG10_P, *_FITTED_LOG10_P) if p not in seen_p]
    seen = np.quantile(null_scores, 1 - 10.0 ** np.array(seen_p))
    start = float(np.quantile(null_scores, 1 - tail_share))
    excess = float(np.mean(null_scores[null_scores > start] - start))
    fitted = [start + excess * math.log(tail_share / 10.0**p) for p in fitted_p]
    return _rising([*seen.tolist(), *fitted]), (*seen_p, *fitted_p)


def _rising(raw: list[float]) -> tuple[float, ...]:
    """Equal quantiles pulled apart: a scale must rise."""
    pulled = [raw[0]]
    for value in raw[1:]:
        pulled.append(max(value, pulled[-1] + 1e-6))
    return tuple(pulled)
