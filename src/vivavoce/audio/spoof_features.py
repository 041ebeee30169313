"""What the spoof detector looks at: log energies of narrow, evenly spaced bands.

Synthesis leaves its traces in fine structure that mel bands smear together at the top of the
telephone band, so the bands are linear in frequency. What a line, a microphone or a recording level
adds is taken out as far as it can be: each band's mean over the window is subtracted, bands outside
the common telephone band are not looked at, and quiet parts are lifted to a floor relative to the
window's own level.
"""

from functools import cache

import numpy as np

from vivavoce.audio.arrays import CALL_RATE_HZ, Floats

SPOOF_FRONT_END = "log-linear-64"
"""Name of these features in a model's metadata."""

SPOOF_BANDS = 64
SPOOF_HOP_SAMPLES = 128
"""16 ms. Not documented anywhere; chosen as half the analysis window."""

_WINDOW_SAMPLES = 256  # 32 ms: resolves the harmonics of all but the lowest voices
_FFT_SAMPLES = 512

_LOW_HZ, _HIGH_HZ = 200.0, 3500.0
"""Outside this lies what only some lines carry; source: ITU-T G.712 passes 300 to 3400 Hz."""

_FLOOR = 1e-5
"""Floor under each band relative to the window's mean band energy: 50 dB down, about the noise
floor of 8 bit G.711. What is quieter says more about the line than about the voice."""


def log_linear_bands(audio: Floats) -> Floats:
    """Log band energies, with each band's mean over time taken away.

    Args:
        audio: shape (n,), full scale -1..1, `CALL_RATE_HZ`; any level.

    Returns:
        Shape (frames, SPOOF_BANDS), natural logarithm; no frames if n is below one window (256).
        All zero for digital silence.
    """
    if len(audio) < _WINDOW_SAMPLES:
        return np.zeros((0, SPOOF_BANDS), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(audio, _WINDOW_SAMPLES)[::SPOOF_HOP_SAMPLES]
    spectrum = np.fft.rfft(frames * np.hanning(_WINDOW_SAMPLES).astype(np.float32), _FFT_SAMPLES)
    energy = (spectrum.real**2 + spectrum.imag**2) @ _filter_bank()
    mean = float(energy.mean())
    if mean <= 0:
        return np.zeros(energy.shape, np.float32)
    log_energy = np.log(energy / mean + _FLOOR)
    return (log_energy - log_energy.mean(axis=0)).astype(np.float32)


@cache
def _filter_bank() -> Floats:
    """Triangles that overlap by half; shape (bins, SPOOF_BANDS)."""
    hz = np.fft.rfftfreq(_FFT_SAMPLES, 1 / CALL_RATE_HZ)
    edges = np.linspace(_LOW_HZ, _HIGH_HZ, SPOOF_BANDS + 2)
    width = edges[1] - edges[0]
    return np.maximum(0, 1 - np.abs(hz[:, None] - edges[1:-1]) / width).astype(np.float32)
