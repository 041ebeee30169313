"""Fits the meaning of the speaker model's scores: `python -m training.speaker.calibrate`.

From one half of the development speakers, pooled over all pairs of codecs of enrolment and test,
for each amount of net speech:

- log-likelihood ratio: logistic regression on the raw score, both classes weighing the same;
- tail: how often other speakers reach a raw score. Quantiles as they were seen down to 1 %; beyond,
  where few pairs of speakers decide, an exponential tail with the mean excess of the highest 1 %.
  Cosines are bounded, so their tail falls faster than that: a false accept is rather overstated.

`bench/verification.py` measures the result on the other half.
"""

import argparse
import math
from pathlib import Path

import numpy as np

import vivavoce.models
from training.speaker import voiceprints
from vivavoce.scoring.calibration import Calibration, Condition, write_calibration
from vivavoce.scoring.metrics import Labels, Scores

HALF = 0
"""The half of the speakers that calibration is made from; the other one measures it."""

_SEEN_LOG10_P = (-0.02, -0.05, -0.1, -0.2, -0.3, -0.5, -0.75, -1.0, -1.25, -1.5, -1.75, -2.0)
_FITTED_LOG10_P = (-2.5, -3.0, -3.5, -4.0)
_TAIL_SHARE = 0.01


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


def fit_tail(null_scores: Scores) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Raw scores and log10 of the share of the null class that reaches them."""
    seen = np.quantile(null_scores, 1 - 10.0 ** np.array(_SEEN_LOG10_P))
    start = float(np.quantile(null_scores, 1 - _TAIL_SHARE))
    excess = float(np.mean(null_scores[null_scores > start] - start))
    fitted = [start + excess * math.log(_TAIL_SHARE / 10.0**p) for p in _FITTED_LOG10_P]
    return (*seen.tolist(), *fitted), (*_SEEN_LOG10_P, *_FITTED_LOG10_P)


def fit(corpus: voiceprints.Corpus) -> Calibration:
    """The calibration of the speaker model from one half of the speakers."""
    who = corpus.is_in(HALF)
    pairs = voiceprints.all_pairs(corpus.by_codec)
    conditions: list[Condition] = []
    for seconds in sorted(voiceprints.TEST_SECONDS):
        trials = voiceprints.trials(corpus, seconds=seconds, pairs=pairs, who=who)
        slope, offset = fit_line(trials.scores, trials.is_target)
        tail_raw, tail_log10_p = fit_tail(trials.scores[~trials.is_target])
        conditions.append(
            Condition(
                seconds=seconds,
                slope=slope,
                offset=offset,
                tail_raw=tail_raw,
                tail_log10_p=tail_log10_p,
            )
        )
    return Calibration(
        model=corpus.model, model_sha256=corpus.model_sha256, conditions=tuple(conditions)
    )


def main() -> None:
    """Fit and write the calibration file beside the shipped model cards."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--codecs", nargs="+", default=list(voiceprints.CODECS), help="pooled")
    parser.add_argument("--out", type=Path, help="file to write instead of the shipped one")
    arguments = parser.parse_args()
    corpus = voiceprints.build_corpus(codecs=arguments.codecs, jobs=arguments.jobs)
    calibration = fit(corpus)
    shipped = Path(vivavoce.models.__path__[0]) / "shipped" / f"{corpus.model}.calibration.json"
    path: Path = arguments.out or shipped
    who = corpus.is_in(HALF)
    enrolled = next(iter(corpus.by_codec.values())).enrolled
    write_calibration(
        path,
        calibration,
        made_from={
            "script": "training/speaker/calibrate.py",
            "sources": list(voiceprints.SOURCES),
            "data_sha256": corpus.data_sha256,
            "half_of_speakers": HALF,
            "speakers": int(who.sum()),
            "speakers_enrolled": len(set(enrolled[who[enrolled]].tolist())),
            "codecs": list(corpus.by_codec),
        },
    )
    print(path)


if __name__ == "__main__":
    main()
