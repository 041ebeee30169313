"""Whether some speech holds one voice or two, from the speaker encoder's windows of it.

An encoder that takes speech window by window (1.6 s each, GE2E) has heard a second voice in some of
them. The windows are ordered along the direction in which they differ most and cut in two where the
halves are most unlike: it does not matter whether the second voice took over once, or the two took
turns. How unlike the halves of *one* voice are by chance is in the encoder's calibration `voices`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vivavoce.audio.arrays import Floats
from vivavoce.scoring.calibration import Calibration

CALIBRATED = "voices"
"""Name of the speaker model's calibration for this: its null class is speech of one voice."""

TWO_VOICES_LOG10_P = -2.3
"""Two voices are heard where so few calls of one voice are as unlike themselves: 0.5 %. Not
documented; 1 % is to be kept, and the tail is known from too few speakers to ask for just that
(bench/results/voices.md)."""

LEAST_WINDOWS = 3
"""Windows that a voice has at least: about 3 s of speech. Not documented; chosen because one or two
windows of an odd sound are as unlike the rest as another voice is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VoicesFound:
    """What is heard of the voices in some speech.

    Attributes:
        raw: how unlike the two halves are that differ most, 0..2.
        llr: log-likelihood ratio (natural logarithm); positive for two voices.
        log10_p: log10 of the chance that one voice is as unlike itself.
    """

    raw: float
    llr: float
    log10_p: float

    @property
    def are_two(self) -> bool:
        """Whether more than one voice was heard."""
        return self.log10_p <= TWO_VOICES_LOG10_P


def find_voices(
    windows: Floats, calibration: Calibration | None, *, seconds: float
) -> VoicesFound | None:
    """Judge the windows of some net speech; None where that cannot be judged.

    It cannot without a calibration, from less speech than its first condition, or where the encoder
    takes all speech as one window.

    Args:
        windows: shape (n, dimension), unit length, in the order of the speech.
        calibration: the encoder's, `CALIBRATED`.
        seconds: net speech that they are of.
    """
    if calibration is None or seconds < calibration.conditions[0].seconds:
        return None
    if len(windows) < 2 * LEAST_WINDOWS:
        return None
    meaning = calibration.apply(greatest_unlikeness(windows), seconds=seconds)
    return VoicesFound(raw=meaning.raw, llr=meaning.llr, log10_p=meaning.log10_p)


def greatest_unlikeness(windows: Floats) -> float:
    """1 - cosine of the means of the most unlike two parts, each of `LEAST_WINDOWS` at least.

    Args:
        windows: shape (n, dimension), n at least twice `LEAST_WINDOWS`.
    """
    vectors = windows.astype(np.float64)
    sums = np.cumsum(vectors[np.argsort(_main_axis(vectors), kind="stable")], axis=0)
    low = sums[LEAST_WINDOWS - 1 : -LEAST_WINDOWS]
    cosines = np.sum(_unit(low) * _unit(sums[-1] - low), axis=1)
    return 1.0 - float(cosines.min())


def _main_axis(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where each window lies on the axis of greatest variance, shape (n,).

    Windows are averaged with their neighbours first, which overlap by half and are mostly of the
    same voice: one sound alone does not make an axis.
    """
    padded = np.pad(vectors, ((1, 1), (0, 0)))
    smooth = _unit(padded[:-2] + vectors + padded[2:])
    centred = smooth - smooth.mean(axis=0)
    # The Gram matrix has a row a window, far fewer than the dimensions of a vector.
    _, axes = np.linalg.eigh(centred @ centred.T)
    return axes[:, -1]


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
