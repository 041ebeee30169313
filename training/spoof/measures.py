"""Error rates by ISO/IEC 30107-3, and the fitting of a calibration."""

import numpy as np

from vivavoce.scoring.calibration import Condition

_TAIL_FROM = 0.05
"""Above this quantile of genuine scores the tail is taken as exponential."""


def equal_error_rate(genuine: np.ndarray, spoof: np.ndarray) -> float:
    """Where as many genuine calls are flagged as spoofs are missed; 0..1."""
    thresholds = np.unique(np.concatenate([genuine, spoof]))
    flagged = 1 - np.searchsorted(np.sort(genuine), thresholds) / len(genuine)
    missed = np.searchsorted(np.sort(spoof), thresholds) / len(spoof)
    nearest = np.argmin(np.abs(flagged - missed))
    return float((flagged[nearest] + missed[nearest]) / 2)


def apcer_at_bpcer(genuine: np.ndarray, spoof: np.ndarray, bpcer: float) -> float:
    """Share of spoofs missed at the threshold that flags a share `bpcer` of genuine calls."""
    return float(np.mean(spoof <= np.quantile(genuine, 1 - bpcer)))


def fit_condition(genuine: np.ndarray, spoof: np.ndarray, *, seconds: float) -> Condition:
    """Log-likelihood ratio by logistic regression, and the tail of the genuine scores."""
    slope, offset = _logistic(genuine, spoof)
    raw, log10_p = _tail(genuine)
    return Condition(
        seconds=seconds, slope=slope, offset=offset, tail_raw=raw, tail_log10_p=log10_p
    )


def _logistic(genuine: np.ndarray, spoof: np.ndarray) -> tuple[float, float]:
    """Slope and offset with both classes of equal weight, so that no prior is left inside.

    Newton's method; a slight pull to 0 keeps separable scores finite.
    """
    raw = np.concatenate([genuine, spoof])
    truth = np.repeat([0.0, 1.0], [len(genuine), len(spoof)])
    weight = np.repeat([0.5 / len(genuine), 0.5 / len(spoof)], [len(genuine), len(spoof)])
    design = np.stack([raw, np.ones_like(raw)], axis=1)
    fitted = np.zeros(2)
    for _ in range(50):
        p = 1 / (1 + np.exp(-design @ fitted))
        gradient = design.T @ (weight * (p - truth)) + 1e-4 * fitted
        curvature = (design * (weight * p * (1 - p))[:, None]).T @ design + 1e-4 * np.eye(2)
        fitted -= np.linalg.solve(curvature, gradient)
    return max(float(fitted[0]), 1e-3), float(fitted[1])


def _tail(genuine: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Points of log10 P(genuine score >= x).

    Down to 5 % they are quantiles. Beyond, where few scores are left, they lie on the exponential
    tail of the same mean excess, or on the quantile where that is further out.
    """
    points = [(float(genuine.min()) - 1.0, 1.0)]
    points += [(float(np.quantile(genuine, 1 - p)), p) for p in (0.9, 0.7, 0.5, 0.3, 0.2, 0.1)]
    start = float(np.quantile(genuine, 1 - _TAIL_FROM))
    excess = float(np.mean(genuine[genuine > start] - start))
    points.append((start, _TAIL_FROM))
    for p in (0.02, 0.01, 0.001, 0.0001):
        along = start + excess * np.log(_TAIL_FROM / p)
        seen = float(np.quantile(genuine, 1 - p)) if p >= 0.01 else -np.inf
        points.append((max(along, seen), p))
    rising = [points[0]]
    for raw, p in points[1:]:
        rising.append((max(raw, rising[-1][0] + 1e-6), p))
    return tuple(raw for raw, _ in rising), tuple(float(np.log10(p)) for _, p in rising)
