"""Error rates of scores against labels.

Scores are any real numbers, higher for the *target* class: same speaker, or spoof. A trial is
accepted as target when its score is at or above the threshold, so

- FAR, false acceptance rate: share of non-target trials accepted;
- FRR, false rejection rate: share of target trials not accepted.

Trials of one speaker resemble each other, so they are not independent and counting them as such
gives intervals that are far too narrow. `verification_accuracy` therefore draws whole speakers, not
trials, and a trial counts as often as both its speakers were drawn.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Scores: TypeAlias = npt.NDArray[np.float64]
"""Shape (n,)."""

Labels: TypeAlias = npt.NDArray[np.bool_]
"""Shape (n,): True for a target trial."""

Groups: TypeAlias = npt.NDArray[np.int64]
"""Shape (n,): number of the speaker (or file) that a trial belongs to, from 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetCurve:
    """Detection error trade-off: one point a threshold, from accepting all to accepting none.

    Attributes:
        threshold: shape (m,), rising; the last is infinity.
        far: shape (m,), falling from 1 to 0.
        frr: shape (m,), rising from 0 to 1.
    """

    threshold: Scores
    far: Scores
    frr: Scores


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """One threshold and the error rates it was seen to have."""

    threshold: float
    far: float
    frr: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A rate with its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """Scored comparisons.

    Attributes:
        scores: one a trial.
        is_target: which are the same speaker.
        enrolled: speaker enrolled, or the enrolment where speakers are not known.
        tested: speaker tested, in the same numbering, or the test recording.
    """

    scores: Scores
    is_target: Labels
    enrolled: Groups
    tested: Groups


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """What trials say about a verifier.

    Attributes:
        targets: number of target trials.
        nontargets: number of non-target trials.
        eer: equal error rate.
        frr_at: by FAR, the FRR at the lowest threshold that keeps it; `None` where there are
            fewer than 1/FAR non-target trials, too few to see that rate.
        threshold_at: by FAR, that threshold.
    """

    targets: int
    nontargets: int
    eer: Estimate
    frr_at: Mapping[float, Estimate | None]
    threshold_at: Mapping[float, float]


def det_curve(scores: Scores, is_target: Labels, weights: Scores | None = None) -> DetCurve:
    """Error rates at every threshold that makes a difference.

    Args:
        scores: shape (n,), finite.
        is_target: shape (n,).
        weights: shape (n,), how often each trial counts; 1 if not given.

    Raises:
        ValueError: without a target and a non-target trial of positive weight, or with a score that
            is not finite.
    """
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite numbers")
    weights = np.ones(len(scores)) if weights is None else weights
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    below_target = np.concatenate([[0.0], np.cumsum((weights * is_target)[order])])
    below_other = np.concatenate([[0.0], np.cumsum((weights * ~is_target)[order])])
    if below_target[-1] <= 0 or below_other[-1] <= 0:
        raise ValueError("error rates need both target and non-target trials")
    # Of equal scores only the first starts a new threshold.
    starts = np.concatenate([[True], ordered[1:] != ordered[:-1], [True]])
    return DetCurve(
        threshold=np.concatenate([ordered, [np.inf]])[starts],
        far=1 - below_other[starts] / below_other[-1],
        frr=below_target[starts] / below_target[-1],
    )


def equal_error_rate(curve: DetCurve) -> float:
    """The rate at which FAR and FRR are equal, between points of the curve on a straight line.

    Not the convex hull, which is never higher and assumes that thresholds may be mixed at random.
    """
    difference = curve.frr - curve.far
    after = int(np.argmax(difference >= 0))
    if difference[after] == 0:
        return float(curve.frr[after])
    before = after - 1  # exists: the first point has FRR 0 and FAR 1
    weight = -difference[before] / (difference[after] - difference[before])
    return float(curve.frr[before] + weight * (curve.frr[after] - curve.frr[before]))


def operating_point(curve: DetCurve, far: float) -> OperatingPoint:
    """The lowest threshold whose FAR is at most `far`."""
    index = int(np.argmax(curve.far <= far + 1e-12))
    return OperatingPoint(
        threshold=float(curve.threshold[index]),
        far=float(curve.far[index]),
        frr=float(curve.frr[index]),
    )


def min_dcf(
    curve: DetCurve, *, p_target: float = 0.01, cost_miss: float = 1.0, cost_fa: float = 1.0
) -> float:
    """Least detection cost over all thresholds, relative to deciding without listening.

    Source: NIST Speaker Recognition Evaluation plans (2008 and later), "detection cost function".
    """
    miss, false_alarm = cost_miss * p_target, cost_fa * (1 - p_target)
    return float(np.min(miss * curve.frr + false_alarm * curve.far) / min(miss, false_alarm))


def a_dcf(
    targets: Scores,
    others: Scores,
    spoofs: Scores,
    *,
    threshold: float,
    p_other: float = 0.05,
    p_spoof: float = 0.05,
    cost_miss: float = 1.0,
    cost_other: float = 10.0,
    cost_spoof: float = 20.0,
) -> float:
    """Detection cost of whatever accepts or refuses a caller, relative to deciding without it.

    The sum of `cost_miss * p_target` times the share of targets refused, `cost_other * p_other`
    times that of others accepted, and `cost_spoof * p_spoof` times that of spoofs accepted; divided
    by what it comes to if everybody or nobody is accepted, whichever is less. `p_target` is what
    `p_other` and `p_spoof` leave. How verification and spoof detection are put together does not
    matter: who is refused for any reason scores below the threshold, minus infinity if need be.

    Args:
        targets: scores of enrolled callers themselves, shape (n,).
        others: scores of other living callers, shape (m,).
        spoofs: scores of spoofs of the enrolled callers' voices, shape (k,).
        threshold: at or above it a caller is accepted.
        p_other: share of other living callers among all.
        p_spoof: share of spoofs among all.
        cost_miss: of refusing an enrolled caller.
        cost_other: of accepting another living caller.
        cost_spoof: of accepting a spoof.

    Raises:
        ValueError: a class is empty.

    Source: H. Shim et al., "a-DCF: an architecture agnostic metric with application to
    spoofing-robust speaker verification", Odyssey 2024, arXiv:2403.01355; as parameters its
    "a-DCF1", which its authors' package has by default. Theirs is the least over all thresholds;
    that of one threshold is what a caller meets.
    """
    if not (len(targets) and len(others) and len(spoofs)):
        raise ValueError("a-DCF needs targets, other callers and spoofs")
    miss = cost_miss * (1 - p_other - p_spoof)
    accept_other, accept_spoof = cost_other * p_other, cost_spoof * p_spoof
    cost = (
        miss * np.mean(targets < threshold)
        + accept_other * np.mean(others >= threshold)
        + accept_spoof * np.mean(spoofs >= threshold)
    )
    return float(cost / min(miss, accept_other + accept_spoof))


def cllr(llr: Scores, is_target: Labels) -> float:
    """Cost of log-likelihood ratios in bit: 0 perfect, 1 as good as saying nothing.

    Args:
        llr: log-likelihood ratios, natural logarithm, shape (n,).
        is_target: shape (n,).

    Source: N. Brümmer and J. du Preez, "Application-independent evaluation of speaker detection",
    Computer Speech & Language 20 (2006).
    """
    if not is_target.any() or is_target.all():
        raise ValueError("Cllr needs both target and non-target trials")
    of_targets = np.mean(np.logaddexp(0, -llr[is_target]))
    of_others = np.mean(np.logaddexp(0, llr[~is_target]))
    return float((of_targets + of_others) / (2 * math.log(2)))


def apcer_by_species(
    scores: Scores, species: Sequence[str], threshold: float
) -> dict[str, Estimate]:
    """Share of attacks of each species that pass as genuine, with 95 % intervals.

    Args:
        scores: of attacks only, higher for a spoof, shape (n,).
        species: kind of each attack: a synthesis system, a replay device.
        threshold: at or above it a call is taken for a spoof.

    Source: ISO/IEC 30107-3:2023, attack presentation classification error rate; it is stated by
    species and for the worst one, never as a mean over them.
    """
    names = np.asarray(species)
    return {
        str(name): _share(scores[names == name] < threshold) for name in np.unique(names).tolist()
    }


def bpcer(scores: Scores, threshold: float) -> Estimate:
    """Share of genuine calls taken for a spoof, with a 95 % interval.

    Args:
        scores: of genuine calls only, higher for a spoof, shape (n,).
        threshold: at or above it a call is taken for a spoof.

    Source: ISO/IEC 30107-3:2023, bona fide presentation classification error rate.
    """
    return _share(scores >= threshold)


def clopper_pearson(errors: int, trials: int, *, confidence: float = 0.95) -> Estimate:
    """Exact interval of a share of independent trials.

    With no error in n trials its high end is about 3.7/n; one-sided it would be the well-known
    3/n ("rule of three").

    Source: C. Clopper and E. Pearson, Biometrika 26 (1934).

    Raises:
        ValueError: unless 0 <= errors <= trials and trials > 0.
    """
    if not 0 <= errors <= trials or trials == 0:
        raise ValueError(f"{errors} errors in {trials} trials")
    tail = (1 - confidence) / 2
    low = 0.0 if errors == 0 else _solve(lambda p: 1 - _binomial_cdf(errors - 1, trials, p), tail)
    high = 1.0 if errors == trials else _solve(lambda p: -_binomial_cdf(errors, trials, p), -tail)
    return Estimate(value=errors / trials, low=low, high=high)


def verification_accuracy(
    trials: Trials,
    *,
    fars: Sequence[float] = (0.01, 0.001),
    rounds: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Accuracy:
    """Error rates with intervals that respect that trials share speakers.

    The interval is the percentile bootstrap over speakers: each round draws as many speakers as
    there are, with replacement, and a trial between two of them counts the product of how often
    they were drawn. Where no error was seen at all, drawing again finds none either; the high end
    is then the exact bound for the number of speakers that have target trials.

    Args:
        trials: at least one target and one non-target.
        fars: false acceptance rates at which the FRR is wanted.
        rounds: draws.
        confidence: share of draws within the interval.
        seed: of the draws.

    Raises:
        ValueError: without a target or a non-target trial, or with a score that is not finite.
    """
    order = np.argsort(trials.scores, kind="stable")  # once; sorting what is sorted is quick
    scores, is_target = trials.scores[order], trials.is_target[order]
    enrolled, tested = trials.enrolled[order], trials.tested[order]
    curve = det_curve(scores, is_target)
    seen = [equal_error_rate(curve), *(operating_point(curve, far).frr for far in fars)]

    rng = np.random.default_rng(seed)
    speakers = int(max(enrolled.max(), tested.max())) + 1
    drawn: list[list[float]] = []
    for _ in range(rounds):
        times = np.bincount(rng.integers(0, speakers, speakers), minlength=speakers).astype(float)
        weights = np.where(enrolled == tested, times[enrolled], times[enrolled] * times[tested])
        if weights[is_target].sum() == 0 or weights[~is_target].sum() == 0:
            continue
        draw = det_curve(scores, is_target, weights)
        drawn.append([equal_error_rate(draw), *(operating_point(draw, far).frr for far in fars)])

    groups = len(np.unique(enrolled[is_target]))
    tail = (1 - confidence) / 2
    estimates = [
        _interval(value, [draw[index] for draw in drawn], groups, tail)
        for index, value in enumerate(seen)
    ]
    nontargets = int(np.count_nonzero(~is_target))
    return Accuracy(
        targets=int(np.count_nonzero(is_target)),
        nontargets=nontargets,
        eer=estimates[0],
        frr_at={
            far: estimate if nontargets * far >= 1 else None
            for far, estimate in zip(fars, estimates[1:], strict=True)
        },
        threshold_at={far: operating_point(curve, far).threshold for far in fars},
    )


def _interval(value: float, drawn: list[float], groups: int, tail: float) -> Estimate:
    if not drawn:  # one speaker alone, or hardly more: nothing can be said
        return Estimate(value=value, low=0.0, high=1.0)
    low, high = np.quantile(drawn, [tail, 1 - tail]).tolist()
    if value == 0:
        high = max(high, clopper_pearson(0, groups, confidence=1 - 2 * tail).high)
    return Estimate(value=value, low=min(low, value), high=max(high, value))


def _share(wrong: Labels) -> Estimate:
    return clopper_pearson(int(np.count_nonzero(wrong)), len(wrong))


def _binomial_cdf(k: int, n: int, p: float) -> float:
    """P(at most k of n), by the sum of its terms in logarithms."""
    if p <= 0 or p >= 1:
        return float(p <= 0 or k >= n)
    log_terms = [
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1)
        + i * math.log(p) + (n - i) * math.log1p(-p)
        for i in range(k + 1)
    ]  # fmt: skip
    return min(1.0, math.fsum(math.exp(term) for term in log_terms))


def _solve(rising: Callable[[float], float], wanted: float) -> float:
    """Where a function that rises over 0..1 takes a value, by halving."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if rising(middle) < wanted:
            low = middle
        else:
            high = middle
    return (low + high) / 2
