"""How good a call's audio is, from running sums: level, noise, clipping, loss, the agent's echo."""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from vivavoce.audio.arrays import CALL_RATE_HZ, Samples

Verdict: TypeAlias = Literal[
    "UNKNOWN", "GOOD", "QUIET", "NOISY", "CLIPPED", "LOSSY", "UNFAMILIAR", "TWO_VOICES"
]

CLIPPED_LEVEL = 32600
"""From here on a 16-bit sample counts as clipped (the largest mu-law value is 32124)."""

_FULL_SCALE = 32768.0
# None of these limits is documented anywhere; chosen so that each names audio on which a person
# would complain about the line. They inform, they decide nothing.
_CLIPPED_SHARE = 0.01
_QUIET_DBFS = -50.0
_NOISY_SNR_DB = 10.0
_LOSSY_SHARE = 0.05
_LEAKED_SHARE = 0.1
_LEAST_LEAKED_SAMPLES = CALL_RATE_HZ
# Nor is this one; chosen because evidence of spoofing counts for less than half below it.
_UNFAMILIAR_CERTAINTY = 0.5


@dataclass(slots=True)
class QualityMeter:
    """Sums over a call's audio; add every block once, in any chunking."""

    received_samples: int = 0
    lost_samples: int = 0
    _energy: int = 0
    _speech_energy: int = 0
    _speech_samples: int = 0
    _clipped_samples: int = 0
    _unheard_samples: int = 0
    _leaked_samples: int = 0
    _leaked_energy: int = 0

    def add_audio(self, samples: Samples) -> None:
        """Count received audio, shape (n,)."""
        self.received_samples += len(samples)
        self._energy += _energy(samples)
        self._clipped_samples += int(
            np.count_nonzero(np.abs(samples.astype(np.int32)) >= CLIPPED_LEVEL)
        )

    def add_unheard(self, samples: int) -> None:
        """Count received samples that are not listened to any more."""
        self.received_samples += samples
        self._unheard_samples += samples

    def add_speech(self, samples: Samples) -> None:
        """Count the part of the audio that turned out to be speech, shape (n,)."""
        self._speech_samples += len(samples)
        self._speech_energy += _energy(samples)

    def add_leaked(self, samples: Samples) -> None:
        """Count the part that was the agent's voice, shape (n,): neither speech nor noise."""
        self._leaked_samples += len(samples)
        self._leaked_energy += _energy(samples)

    def add_loss(self, samples: int) -> None:
        """Count lost samples."""
        self.lost_samples += samples

    def verdict(self, *, certainty: float = 1.0, two_voices: bool = False) -> Verdict:
        """The worst thing to say about the audio so far; UNKNOWN before any speech.

        Args:
            certainty: how far what was said can be judged for spoofing, 0..1. Only audio that is
                sound otherwise is unfamiliar: what else is wrong with it says more.
            two_voices: whether more than one voice was heard in the speech. It is said before all
                else: it is the one thing that forbids an enrolment.
        """
        if two_voices or self._is_leaky:
            return "TWO_VOICES"
        if self._speech_samples == 0:
            return "UNKNOWN"
        total = self.received_samples + self.lost_samples
        voiced_samples = self._speech_samples + self._leaked_samples
        rest_samples = self.received_samples - self._unheard_samples - voiced_samples
        speech = self._speech_energy / self._speech_samples
        rest_energy = self._energy - self._speech_energy - self._leaked_energy
        rest = max(0, rest_energy) / max(1, rest_samples)
        checks: tuple[tuple[Verdict, bool], ...] = (
            ("LOSSY", self.lost_samples > _LOSSY_SHARE * total),
            ("CLIPPED", self._clipped_samples > _CLIPPED_SHARE * self._speech_samples),
            ("QUIET", _decibels(speech / _FULL_SCALE**2) < _QUIET_DBFS),
            ("NOISY", rest_samples > 0 and _decibels(speech) - _decibels(rest) < _NOISY_SNR_DB),
            ("UNFAMILIAR", certainty < _UNFAMILIAR_CERTAINTY),
        )
        for verdict, holds in checks:
            if holds:
                return verdict
        return "GOOD"

    @property
    def _is_leaky(self) -> bool:
        voiced_samples = self._speech_samples + self._leaked_samples
        enough = self._leaked_samples >= _LEAST_LEAKED_SAMPLES
        return enough and self._leaked_samples > _LEAKED_SHARE * voiced_samples


def _energy(samples: Samples) -> int:
    # Whole numbers, so that the sum does not depend on how the audio was cut into blocks. They are
    # exact below 2^53, and the product of floats is three times as fast as that of integers.
    wide = samples.astype(np.float64)
    return int(np.dot(wide, wide))


def _decibels(power: float) -> float:
    return 10 * math.log10(power) if power > 0 else -math.inf
