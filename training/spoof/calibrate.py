"""Fit what the final model's scores mean, on scores of the unheard.

    python -m training.spoof.calibrate --work DIR

From `scores.csv`: genuine calls of left-out corpora are the null class; the targets are left-out
synthesisers for one verdict, the genuine calls played back through left-out devices for the other.
What the caller's enrolment adds as a reference is fitted on the trials of `enrolled.csv`. The
scores are those of the folds' models; the final model has heard more, and is taken to be no worse.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from training.calibration import fit_condition
from training.spoof.enrolled import CALL_S, Trial, read_trials
from training.spoof.export import MODEL_NAME, model_path
from training.spoof.folds import FINAL
from training.spoof.reference import fit_correction
from training.spoof.scores import SECONDS, Scored, classes, raw_scores, read_scores
from training.spoof.sources import DEFAULT_WORK_DIR
from training.spoof.takes import data_hash
from vivavoce.models.card import calibration_suffix, sha256_of
from vivavoce.scoring.calibration import Calibration, Correction, write_calibration
from vivavoce.scoring.metrics import Scores
from vivavoce.scoring.scale import log10_any_of, risk_score
from vivavoce.scoring.spoofing import VERDICTS

_TAIL_SHARE = 0.03
"""Beyond it few genuine calls are left, and those of few corpora."""

TRIALS_TAIL_SHARE = 0.1
"""The same of trials, which are fewer."""

SPOOF_OF = {"synthetic": "copy", "playback": "playback"}
"""The kind of trial that a verdict is about."""


def genuine_and_spoof(scored: Sequence[Scored], verdict: str) -> tuple[Scores, Scores]:
    """Raw scores of live genuine calls, and of the spoofs that a verdict is about."""
    genuine, spoofs = classes(scored, verdict)
    return raw_scores(genuine, verdict), raw_scores(spoofs, verdict)


def calibrate(
    scored: Sequence[Scored], verdict: str, path: Path, *, trials: Sequence[Trial] = ()
) -> Calibration:
    """One verdict's calibration, of the model at a path; with a reference if there are trials."""
    return Calibration(
        model=MODEL_NAME,
        model_sha256=sha256_of(path),
        conditions=tuple(
            fit_condition(
                *genuine_and_spoof([s for s in scored if s.wanted_s == seconds], verdict),
                seconds=seconds,
                tail_share=_TAIL_SHARE,
            )
            for seconds in SECONDS
        ),
        reference=correction(trials, verdict) if trials else None,
    )


def correction(trials: Sequence[Trial], verdict: str) -> Correction:
    """What the enrolment adds to one verdict, from calls in the name of enrolled callers."""
    used = [t for t in trials if t.kind in ("genuine", SPOOF_OF[verdict])]
    return fit_correction(
        np.array([t.raw(verdict) for t in used], np.float64),
        np.array([t.reference(verdict) for t in used], np.float64),
        np.array([t.kind != "genuine" for t in used]),
        seconds=CALL_S,
        tail_share=TRIALS_TAIL_SHARE,
    )


def joint_risk(
    calibrations: Mapping[str, Calibration],
    raws: tuple[float, float],
    *,
    seconds: float,
    certainty: float,
    references: tuple[float, float] | None = None,
) -> int:
    """As the product's judge takes its verdicts together; raw scores in the order of `VERDICTS`."""
    applied = [
        calibrations[verdict].apply(raw, seconds=seconds, reference=reference).believed(certainty)
        for verdict, raw, reference in zip(VERDICTS, raws, references or (None, None), strict=True)
    ]
    return risk_score(log10_any_of(min(each.log10_p for each in applied), len(VERDICTS)))


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=DEFAULT_WORK_DIR)
    work = parser.parse_args().work
    path = model_path(work, FINAL)
    scored = [s for s in read_scores(work) if s.fold != FINAL]
    trials = read_trials(work)
    for verdict in VERDICTS:
        counts = {
            f"{seconds:g}": [
                len(scores)
                for scores in genuine_and_spoof(
                    [s for s in scored if s.wanted_s == seconds], verdict
                )
            ]
            for seconds in SECONDS
        }
        write_calibration(
            path.with_name(path.stem + calibration_suffix(verdict)),
            calibrate(scored, verdict, path, trials=trials),
            made_from={
                "script": "training/spoof/calibrate.py",
                "data": data_hash(work),
                "scores": "models of the folds on left-out systems, corpora and devices",
                "genuine_and_spoof_calls": counts,
                "genuine_and_spoof_trials": [
                    sum(t.kind == kind for t in trials) for kind in ("genuine", SPOOF_OF[verdict])
                ],
            },
        )


if __name__ == "__main__":
    main()
