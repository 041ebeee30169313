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
from pathlib import Path

import vivavoce.models
from training.calibration import fit_condition
from training.speaker import voiceprints
from vivavoce.scoring.calibration import Calibration, Condition, write_calibration

HALF = 0
"""The half of the speakers that calibration is made from; the other one measures it."""


def fit(corpus: voiceprints.Corpus) -> Calibration:
    """The calibration of the speaker model from one half of the speakers."""
    who = corpus.is_in(HALF)
    pairs = voiceprints.all_pairs(corpus.by_codec)
    conditions: list[Condition] = []
    for seconds in sorted(voiceprints.TEST_SECONDS):
        trials = voiceprints.trials(corpus, seconds=seconds, pairs=pairs, who=who)
        of_others, of_same = trials.scores[~trials.is_target], trials.scores[trials.is_target]
        conditions.append(fit_condition(of_others, of_same, seconds=seconds))
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
