"""The report decides as the product does."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: pip install -r training/spoof/requirements.txt")

from training.calibration import fit_condition
from training.spoof.calibrate import joint_risk
from vivavoce.scoring.calibration import Calibration, Correction
from vivavoce.scoring.judge import Judge
from vivavoce.scoring.spoofing import VERDICTS, SpoofEvidence, SpoofReference


def calibration(rng):
    condition = fit_condition(rng.normal(-2, 1, 200), rng.normal(2, 1, 200), seconds=10.0)
    correction = Correction(weight=0.6, centre=-2.0, limit=1.5, conditions=(condition,))
    return Calibration(model="m", model_sha256="0", conditions=(condition,), reference=correction)


@pytest.mark.parametrize("distance", [0.0, 1.4, 3.0])
@pytest.mark.parametrize("referred", [False, True])
def test_raw_scores_come_to_the_risk_that_the_judge_gives(distance, referred):
    rng = np.random.default_rng(0)
    calibrations = {verdict: calibration(rng) for verdict in VERDICTS}
    judge = Judge(speaker=calibrations["synthetic"], spoof_calibrations=calibrations)
    for _ in range(20):
        raws = rng.uniform(-4, 3, len(VERDICTS)).astype(np.float32).tolist()
        usual = rng.uniform(-5, 1, len(VERDICTS)).tolist()
        evidence = SpoofEvidence(np.array([[0.0, 4.0, *raws, distance]], np.float32))
        reference = SpoofReference(model="m", raw=dict(zip(VERDICTS, usual, strict=True)))
        expected = judge.spoof(evidence, seconds=12.0, reference=reference if referred else None)
        found = joint_risk(
            calibrations,
            (evidence.raw("synthetic"), evidence.raw("playback")),
            seconds=12.0,
            certainty=evidence.certainty,
            references=tuple(usual) if referred else None,
        )
        assert found == expected.risk
