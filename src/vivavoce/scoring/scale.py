"""The 0..100 scores of the AWS face, defined by how often chance reaches them.

Authentication (p: share of impostors that score at least as high):

| score | 100 | 90 | 80 | 70 | 35 | 0 |
| --- | --- | --- | --- | --- | --- | --- |
| p | 0.01 % or less | 0.1 % | 1 % | 10 % | 55 % | 100 % |

Risk (p: share of genuine callers that would be flagged at this score):

| score | 100 | 75 | 50 | 25 | 0 |
| --- | --- | --- | --- | --- | --- |
| p | 0.01 % or less | 0.1 % | 1 % | 10 % | 100 % |

The definitions belong to the product, not to a model: a new model comes with a new calibration and
the thresholds of its users keep their meaning.
"""

import math


def authentication_score(log10_p: float) -> int:
    """Score 0..100 from log10 of the share of impostors that reach it."""
    if log10_p <= -1:
        return _clip(60 - 10 * log10_p)
    return _clip(70 * (1 - 10**log10_p) / 0.9)


def risk_score(log10_p: float) -> int:
    """Score 0..100 from log10 of the share of genuine callers that reach it."""
    return _clip(-25 * log10_p)


def log10_any_of(log10_p: float, trials: int) -> float:
    """log10 of the chance that at least one of `trials` independent comparisons gets this far.

    A caller compared with a whole watchlist has that many chances to look like somebody on it:
    1 - (1 - p)^n. Taking the comparisons as independent overstates the chance, so the risk score
    errs towards not accusing a genuine caller.
    """
    p = 10 ** min(log10_p, 0.0)
    if p >= 1:
        return 0.0
    any_p = -math.expm1(trials * math.log1p(-p))
    # Below about 1e-300 both logarithms underflow; the sum over trials is exact there.
    return math.log10(any_p) if any_p > 0 else log10_p + math.log10(trials)


def _clip(score: float) -> int:
    # Rounded down: a score of 90 promises p <= 0.1 %, never just above it. The small addend undoes
    # binary rounding of exact values (60 - 10 * -3.0 must be 90).
    return math.floor(min(100.0, max(0.0, score)) + 1e-9)
