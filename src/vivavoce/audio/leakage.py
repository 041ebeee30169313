"""Where the caller's channel holds the agent's voice: an echo of what the agent said.

Handsets, hybrids and loudspeakers send the agent's voice back, weaker and up to `LONGEST_DELAY_MS`
late. Where the agent's channel is known, such a copy is found by the highest normalised
cross-correlation of the caller's last `WINDOW_MS` with what the agent said up to that much earlier.
Squared it is the share of the energy that is the copy: who speaks well over an echo is not one.

Source: echo cancellers tell double talk by it; J. Benesty, D. R. Morgan, J. H. Cho, "A new class of
doubletalk detectors based on cross-correlation", IEEE Transactions on Speech and Audio Processing
8(2), 2000. Window and threshold: bench/results/voices.md.
"""

import numpy as np

from vivavoce.audio.arrays import CALL_RATE_HZ, Floats, Samples

WINDOW_MS = 512
"""What is compared. Not documented; chosen because two voices of one pitch are alike for a shorter
time by chance, and turns are not much longer."""

LONGEST_DELAY_MS = 300
"""Not documented; chosen as the round trip of a mobile call, about."""

LEAKED_CORRELATION = 0.4
"""From here on a copy: it is more than 16 % of the energy, less than 7 dB below the caller."""

_WINDOW_SAMPLES = WINDOW_MS * CALL_RATE_HZ // 1000
_DELAY_SAMPLES = LONGEST_DELAY_MS * CALL_RATE_HZ // 1000
_SPAN_SAMPLES = _WINDOW_SAMPLES + _DELAY_SAMPLES

_LATEST_SAMPLES = CALL_RATE_HZ
"""Nobody asks for a moment that is longer ago than this, beyond what came with the last audio."""

_FFT_SAMPLES = 6750
"""At least `_SPAN_SAMPLES`, of small factors."""

_SILENT_LEVEL = 30.0
"""An agent whose samples' differences are below this (RMS) is silent: the noise of an idle µ-law
line is. Not documented; chosen so."""


class LeakageFinder:
    """Tells of a call's moments whether the caller's channel holds the agent's voice.

    What it says depends on the audio alone, not on how it was cut. It works only when it is asked,
    and costs nothing where the agent is not known or is silent.
    """

    def __init__(self) -> None:
        self._caller = np.zeros(0, np.int16)  # the last of both channels, of one length
        self._agent = np.zeros(0, np.int16)
        self._end = 0  # index in the call after their last sample

    def push(self, caller: Samples, agent: Samples | None) -> None:
        """Take what was said next, shape (n,) each; no agent where that is not known."""
        self._end += len(caller)
        if agent is None:
            if not len(self._agent):
                return
            agent = np.zeros(len(caller), np.int16)
        kept = _SPAN_SAMPLES + _LATEST_SAMPLES
        self._caller = np.concatenate([self._caller[-kept:], caller])
        self._agent = np.concatenate([self._agent[-kept:], agent])

    @property
    def kept_bytes(self) -> int:
        """Memory that it holds."""
        return self._caller.nbytes + self._agent.nbytes

    def gap(self, samples: int) -> None:
        """Note that so many samples of both were lost; echoes are not followed across."""
        self._caller, self._agent = self._caller[:0], self._agent[:0]
        self._end += samples

    def is_leaked(self, end: int) -> bool:
        """Whether what the caller's channel holds just before this index is the agent's voice."""
        return self.correlation(end) >= LEAKED_CORRELATION

    def correlation(self, end: int) -> float:
        """How like what the agent said it is, 0..1; 0 where the agent is silent or not known."""
        missing = self._end - end
        if missing >= len(self._agent) or _is_still(self._agent, missing):
            return 0.0
        agent = _differences(self._agent, missing, _SPAN_SAMPLES)
        energies = _window_energies(agent)
        if energies.max() < _WINDOW_SAMPLES * _SILENT_LEVEL**2:
            return 0.0
        caller = _differences(self._caller, missing, _WINDOW_SAMPLES)
        return _highest_correlation(caller, agent, energies)


def _is_still(agent: Samples, missing: int) -> bool:
    """Whether the agent's span moves so little that it must be silent: spares the arithmetic."""
    stop = len(agent) - missing
    span = agent[max(0, stop - _SPAN_SAMPLES - 1) : stop]
    return int(span.max()) - int(span.min()) < _SILENT_LEVEL


def _differences(samples: Samples, missing: int, count: int) -> Floats:
    """The last `count` differences of neighbours but for those of the last `missing` samples.

    A difference takes the tilt out of speech, and the mean: what is left is more like noise, of
    which different stretches are unlike. Before the first sample there was silence.
    """
    stop = len(samples) - missing
    taken = samples[max(0, stop - count - 1) : stop].astype(np.float32)
    missing_before = count + 1 - len(taken)
    return np.diff(np.pad(taken, (missing_before, 0)) if missing_before else taken)


def _window_energies(agent: Floats) -> np.ndarray:
    """Of each window in the agent's span its energy, shape (`_DELAY_SAMPLES` + 1,)."""
    sums = np.concatenate([[0.0], np.cumsum(np.square(agent, dtype=np.float64))])
    return sums[_WINDOW_SAMPLES:] - sums[:-_WINDOW_SAMPLES]


def _highest_correlation(caller: Floats, agent: Floats, energies: np.ndarray) -> float:
    """The highest normalised cross-correlation over all delays, 0..1; 0 of silence."""
    spectrum = np.conj(np.fft.rfft(caller, _FFT_SAMPLES)) * np.fft.rfft(agent, _FFT_SAMPLES)
    products = np.fft.irfft(spectrum, _FFT_SAMPLES)[: _DELAY_SAMPLES + 1]
    # A window in which the agent hardly spoke is no echo's, however alike it is.
    power = np.maximum(energies, energies.max() / 1000) * _energy(caller)
    shares = np.square(products, dtype=np.float64) / np.maximum(power, 1.0)
    return float(np.sqrt(shares.max()))


def _energy(differences: Floats) -> float:
    # Whole numbers, so that the sum is exact in whatever order it is taken.
    return float(np.square(differences, dtype=np.float64).sum())
