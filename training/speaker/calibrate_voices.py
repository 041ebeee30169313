"""Fits what a call's unlikeness to itself means: `python -m training.speaker.calibrate_voices`.

From all development speakers with several clips, pooled over telephone codecs, for each length of
call:

- null class: calls of one voice, and how often they are as unlike themselves by chance;
- target class: calls in which a second voice speaks for 3 s or more, but not at the same time.

`bench/voices.py` measures on each half of the speakers what the other half's calibration says: the
file that ships is from both, which is why it can be measured on nobody.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import vivavoce.models
from training.calibration import fit_condition
from training.speaker.mixtures import CALL_S, CODECS, STYLES, Mixtures, build_mixtures
from training.speaker.voiceprints import SOURCES
from vivavoce.scoring.calibration import Calibration, write_calibration
from vivavoce.scoring.voices import CALIBRATED, greatest_unlikeness

LEAST_SECOND_S = 3
"""A second voice that is to be found speaks for so long."""


def fit(mixtures: Mixtures, *, halves: Sequence[int] = (0, 1)) -> Calibration:
    """The calibration from one half of the speakers, or from both."""
    scored = [
        (call, greatest_unlikeness(windows))
        for call, windows in mixtures.calls
        if call.half in halves
    ]
    conditions = [
        fit_condition(
            np.array([raw for call, raw in scored if call.seconds == s and call.style == "alone"]),
            np.array(
                [
                    raw
                    for call, raw in scored
                    if call.seconds == s
                    and call.style in STYLES
                    and call.second_s >= LEAST_SECOND_S
                ]
            ),
            seconds=s,
        )
        for s in CALL_S
    ]
    return Calibration(
        model=mixtures.model, model_sha256=mixtures.model_sha256, conditions=tuple(conditions)
    )


def main() -> None:
    """Fit and write the calibration file beside the shipped model cards."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--out", type=Path, help="file to write instead of the shipped one")
    arguments = parser.parse_args()
    mixtures = build_mixtures(jobs=arguments.jobs)
    shipped = Path(vivavoce.models.__path__[0]) / "shipped"
    path: Path = arguments.out or shipped / f"{mixtures.model}.{CALIBRATED}.calibration.json"
    calls = [call for call, _ in mixtures.calls]
    write_calibration(
        path,
        fit(mixtures),
        made_from={
            "script": "training/speaker/calibrate_voices.py",
            "sources": list(SOURCES),
            "data_sha256": mixtures.data_sha256,
            "speakers": len({call.first for call in calls}),
            "calls_of_one_voice": sum(call.style == "alone" for call in calls),
            "codecs": list(CODECS),
        },
    )
    print(path)


if __name__ == "__main__":
    main()
