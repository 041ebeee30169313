"""What the spoof detector looks at: log energies of narrow, even bands, at two resolutions.

Synthesis leaves its traces in fine structure that mel bands smear together at the top of the
telephone band, so the bands are linear in frequency: once over a window that resolves the harmonics
of a voice, once over one that resolves its single pulses. What a line, a microphone or a recording
level adds is taken out as far as it can be: each band's mean over the window is subtracted, bands
outside the common telephone band are not looked at, and quiet parts are lifted to a floor relative
to the window's own level.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from vivavoce.audio.arrays import CALL_RATE_HZ, Floats

BANDS_OF_WINDOW = 64

_LOW_HZ, _HIGH_HZ = 200.0, 3500.0
"""Outside this lies what only some lines carry; source: ITU-T G.712 passes 300 to 3400 Hz."""

FLOOR = 1e-5
"""Floor under each band relative to the mean band energy: 50 dB down, about the noise floor of
8 bit G.711. What is quieter says more about the line than about the voice."""


@dataclass(frozen=True, slots=True)
class FrontEnd:
    """A way to look at a voice.

    Attributes:
        hop_samples: from frame to frame.
        windows: analysis windows and the lengths of their transforms, in samples, the longest
            first. 256 samples resolve the harmonics of all but the lowest voices, 80 the pulses of
            all but the highest.
    """

    hop_samples: int
    windows: tuple[tuple[int, int], ...]

    @property
    def bands(self) -> int:
        """Values in a frame: the bands of one window behind those of the other."""
        return BANDS_OF_WINDOW * len(self.windows)

    def samples_of(self, frames: int) -> int:
        """How much audio so many frames look at."""
        return (frames - 1) * self.hop_samples + self.windows[0][0]

    def features(self, audio: Floats) -> Floats:
        """Log band energies over each window, with each band's mean over time taken away.

        Args:
            audio: shape (n,), full scale -1..1, `CALL_RATE_HZ`; any level.

        Returns:
            Shape (frames, bands), natural logarithm; no frames if n is below the longest window.
            Frames of all windows have the same middles. All zero for digital silence.
        """
        longest = self.windows[0][0]
        if len(audio) < longest:
            return np.zeros((0, self.bands), np.float32)
        return np.concatenate(
            [
                self._log_bands(audio[edge : len(audio) - edge], window_samples, fft_samples)
                for window_samples, fft_samples in self.windows
                for edge in [(longest - window_samples) // 2]
            ],
            axis=1,
        )

    def _log_bands(self, audio: Floats, window_samples: int, fft_samples: int) -> Floats:
        frames = np.lib.stride_tricks.sliding_window_view(audio, window_samples)
        window = np.hanning(window_samples).astype(np.float32)
        spectrum = np.fft.rfft(frames[:: self.hop_samples] * window, fft_samples)
        energy = (spectrum.real**2 + spectrum.imag**2) @ filter_bank(fft_samples)
        mean = float(energy.mean())
        if mean <= 0:
            return np.zeros(energy.shape, np.float32)
        log_energy = np.log(energy / mean + FLOOR)
        return (log_energy - log_energy.mean(axis=0)).astype(np.float32)


FRONT_ENDS: Mapping[str, FrontEnd] = {
    "log-linear-64": FrontEnd(128, ((256, 512),)),
    "log-linear-64x2": FrontEnd(80, ((256, 512), (80, 256))),
}
"""By the name that stands for them in a model's metadata."""


@cache
def filter_bank(fft_samples: int) -> Floats:
    """Triangles that overlap by half; shape (bins, BANDS_OF_WINDOW).

    No triangle is narrower than a bin, so that none of a short transform is empty.
    """
    hz = np.fft.rfftfreq(fft_samples, 1 / CALL_RATE_HZ)
    edges = np.linspace(_LOW_HZ, _HIGH_HZ, BANDS_OF_WINDOW + 2)
    width = max(edges[1] - edges[0], CALL_RATE_HZ / fft_samples)
    return np.maximum(0, 1 - np.abs(hz[:, None] - edges[1:-1]) / width).astype(np.float32)
