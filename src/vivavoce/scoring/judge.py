"""The scores of a call's evidence, on the scales of the AWS face."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vivavoce.audio.arrays import Floats
from vivavoce.scoring.calibration import Calibrated, Calibration
from vivavoce.scoring.scale import authentication_score, log10_any_of, risk_score


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceMatch:
    """One voice compared with another.

    Attributes:
        calibrated: raw score (cosine), log-likelihood ratio, exceedance.
        score: 0..100 on the authentication scale.
    """

    calibrated: Calibrated
    score: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosestMatch:
    """The closest of several voices.

    Attributes:
        index: which one; None if there were none or all scores are 0.
        risk: 0..100 on the risk scale, for the whole list.
    """

    index: int | None
    risk: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Knows what raw scores mean.

    Attributes:
        speaker: calibration of the speaker encoder.
        spoof: calibration of the spoof detector.
    """

    speaker: Calibration
    spoof: Calibration

    def compare(self, voice: Floats, enrolled: Floats, *, seconds: float) -> VoiceMatch:
        """Is this voice, heard for so many seconds of net speech, the enrolled one?

        Args:
            voice: shape (dimension,), unit length.
            enrolled: shape (dimension,), unit length.
            seconds: net speech behind `voice`.
        """
        calibrated = self.speaker.apply(float(np.dot(voice, enrolled)), seconds=seconds)
        return VoiceMatch(calibrated=calibrated, score=authentication_score(calibrated.log10_p))

    def search(self, voice: Floats, wanted: Sequence[Floats], *, seconds: float) -> ClosestMatch:
        """Which of these voices is the closest, and how rarely would chance come as close?

        Args:
            voice: shape (dimension,), unit length.
            wanted: vectors of shape (dimension,), unit length.
            seconds: net speech behind `voice`.
        """
        if not wanted:
            return ClosestMatch(index=None, risk=0)
        cosines = np.stack(wanted) @ voice
        closest = int(np.argmax(cosines))
        calibrated = self.speaker.apply(float(cosines[closest]), seconds=seconds)
        risk = risk_score(log10_any_of(calibrated.log10_p, len(wanted)))
        return ClosestMatch(index=closest if risk > 0 else None, risk=risk)

    def spoof_risk(self, raw: float | None, *, seconds: float) -> int:
        """Risk 0..100 that the voice is not a live person's; 0 where it could not be judged."""
        if raw is None:
            return 0
        return risk_score(self.spoof.apply(raw, seconds=seconds).log10_p)
