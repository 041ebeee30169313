"""Fit what the final model's scores mean, on scores of the unheard.

    python -m training.spoof.calibrate --work DIR

From `scores.csv`: genuine calls of left-out corpora are the null class; the targets are left-out
synthesisers for one verdict, the genuine calls played back through left-out devices for the other.
The scores are those of the folds' models; the final model has heard more, and is taken to be no
worse.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from training.calibration import fit_condition
from training.spoof.folds import FINAL
from training.spoof.prepare import data_hash
from training.spoof.scores import SECONDS, Scored, classes, raw_scores, read_scores
from training.spoof.sources import DEFAULT_WORK_DIR
from training.spoof.train import MODEL_NAME, model_path
from vivavoce.models.card import calibration_suffix, sha256_of
from vivavoce.scoring.calibration import Calibration, write_calibration
from vivavoce.scoring.metrics import Scores
from vivavoce.scoring.scale import log10_any_of, risk_score
from vivavoce.scoring.spoofing import VERDICTS

_TAIL_SHARE = 0.03
"""Beyond it few genuine calls are left, and those of few corpora."""


def genuine_and_spoof(scored: Sequence[Scored], verdict: str) -> tuple[Scores, Scores]:
    """Raw scores of live genuine calls, and of the spoofs that a verdict is about."""
    genuine, spoofs = classes(scored, verdict)
    return raw_scores(genuine, verdict), raw_scores(spoofs, verdict)


def calibrate(scored: Sequence[Scored], verdict: str, path: Path) -> Calibration:
    """One verdict's calibration, of the model at a path."""
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
            calibrate(scored, verdict, path),
            made_from={
                "script": "training/spoof/calibrate.py",
                "data": data_hash(work),
                "scores": "models of the folds on left-out systems, corpora and devices",
                "genuine_and_spoof_calls": counts,
            },
        )


if __name__ == "__main__":
    main()
