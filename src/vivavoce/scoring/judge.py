"""The scores of a call's evidence, on the scales of the AWS face."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vivavoce.audio.arrays import Floats
from vivavoce.scoring.calibration import Calibrated, Calibration
from vivavoce.scoring.gallery import Gallery
from vivavoce.scoring.scale import authentication_score, log10_any_of, risk_score
from vivavoce.scoring.spoofing import VERDICTS, SpoofEvidence, SpoofReference


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
        owner_id: whose it is; None if there were none or the risk is 0.
        risk: 0..100 on the risk scale, for the whole list.
    """

    owner_id: str | None
    risk: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoofVerdict:
    """What a call's evidence of spoofing means.

    Attributes:
        certainty: how far the evidence was believed, 0..1; at 0 nothing is judged.
        llr: log-likelihood ratio (natural logarithm) that it is no living voice.
        risk: 0..100 on the risk scale, for all verdicts together.
        by_verdict: of each of `VERDICTS`.
    """

    certainty: float
    llr: float
    risk: int
    by_verdict: Mapping[str, Calibrated]

    def risk_of(self, verdict: str) -> int:
        """One verdict by itself, 0..100 on the risk scale."""
        return risk_score(self.by_verdict[verdict].log10_p)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Knows what raw scores mean.

    Attributes:
        speaker: calibration of the speaker encoder.
        spoof_calibrations: of the spoof detector, by verdict.
    """

    speaker: Calibration
    spoof_calibrations: Mapping[str, Calibration]

    def compare(self, voice: Floats, enrolled: Floats, *, seconds: float) -> VoiceMatch:
        """Is this voice, heard for so many seconds of net speech, the enrolled one?

        Args:
            voice: shape (dimension,), unit length.
            enrolled: shape (dimension,), unit length.
            seconds: net speech behind `voice`.
        """
        calibrated = self.speaker.apply(float(np.dot(voice, enrolled)), seconds=seconds)
        return VoiceMatch(calibrated=calibrated, score=authentication_score(calibrated.log10_p))

    def similarity(self, cosine: float, *, seconds: float) -> int:
        """How alike two voices are, 0..100, on the authentication scale.

        Args:
            cosine: of their vectors.
            seconds: net speech behind the new one.
        """
        return authentication_score(self.speaker.apply(cosine, seconds=seconds).log10_p)

    def search(
        self, voice: Floats, gallery: Gallery, *, list_id: str | None = None, seconds: float
    ) -> ClosestMatch:
        """Which of these voices is the closest, and how rarely would chance come as close?

        Args:
            voice: shape (dimension,), unit length.
            gallery: the voices.
            list_id: of them, only those on this list.
            seconds: net speech behind `voice`.
        """
        nearest = gallery.nearest(voice, list_id)
        if nearest is None:
            return ClosestMatch(owner_id=None, risk=0)
        calibrated = self.speaker.apply(nearest.cosine, seconds=seconds)
        risk = risk_score(log10_any_of(calibrated.log10_p, nearest.among))
        return ClosestMatch(owner_id=nearest.owner_id if risk > 0 else None, risk=risk)

    def takes_reference(self, *, seconds: float) -> bool:
        """Whether a reference changes what evidence from so many seconds of net speech means."""
        return any(
            each.takes_reference(seconds=seconds) for each in self.spoof_calibrations.values()
        )

    def spoof(
        self, evidence: SpoofEvidence, *, seconds: float, reference: SpoofReference | None = None
    ) -> SpoofVerdict:
        """Is this, heard for so many seconds of net speech, no living voice?

        The verdicts are two tests of the same call. Their joint risk is that of the more certain
        one, corrected for there being two; their joint likelihood ratio is that of either kind of
        spoof being as likely as the other. Evidence from audio unlike that of the training pulls
        less, or not at all.

        Args:
            evidence: the windows of the call.
            seconds: net speech behind them.
            reference: what the same detector makes of the caller's own voice, where the voice is
                the caller's, or a copy of it.
        """
        certainty = evidence.certainty
        by_verdict = {
            verdict: self.spoof_calibrations[verdict]
            .apply(
                evidence.raw(verdict),
                seconds=seconds,
                reference=None if reference is None else reference.raw[verdict],
            )
            .believed(certainty)
            for verdict in VERDICTS
        }
        least = min(calibrated.log10_p for calibrated in by_verdict.values())
        llrs = [calibrated.llr for calibrated in by_verdict.values()]
        return SpoofVerdict(
            certainty=certainty,
            llr=float(np.logaddexp.reduce(llrs)) - math.log(len(llrs)),
            risk=risk_score(log10_any_of(least, len(VERDICTS))),
            by_verdict=by_verdict,
        )
