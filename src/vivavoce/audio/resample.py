"""Changes of sampling rate, by soxr.

Source of the filters: libsoxr, quality HQ (20 bit, pass band to 0.91 of the lower Nyquist
frequency). Samples are converted in floating point and rounded once, without the dither that soxr
may add to 16-bit output: what is heard here is features, not a noise floor.
"""

import numpy as np
import numpy.typing as npt
import soxr

from vivavoce.audio.arrays import Floats, Samples, to_float, to_int16
from vivavoce.errors import BadAudioParameters

MIN_RATE_HZ = 4000
MAX_RATE_HZ = 384_000
"""Rates outside these are a mistake of the sender, not audio of speech."""

_BLOCKS_PER_S = 100
"""A stream is fed to soxr 10 ms at a time: less adds cost, more adds delay."""


def resample(audio: Floats, from_hz: int, to_hz: int) -> Floats:
    """Convert a whole recording to another rate.

    Args:
        audio: shape (n,), full scale -1..1.
        from_hz: rate of `audio`.
        to_hz: rate wanted.

    Returns:
        Shape (about n * to_hz / from_hz,), full scale -1..1; `audio` itself if the rates agree.

    Raises:
        BadAudioParameters: a rate outside 4..384 kHz.
    """
    _check_rates(from_hz, to_hz)
    if from_hz == to_hz or audio.size == 0:
        return audio
    return soxr.resample(np.ascontiguousarray(audio, dtype=np.float32), from_hz, to_hz)


class StreamResampler:
    """Converts a stream of 16-bit samples to another rate, in any chunks.

    soxr rounds differently when its input is cut differently, so it is always fed equal blocks:
    the output depends on the samples alone, not on how they arrived. Output follows input by less
    than 0.2 s (measured: 0.12 s from 8 to 16 kHz, 0.16 s from 48 to 8 kHz).
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        _check_rates(from_hz, to_hz)
        self._stream = (
            None if from_hz == to_hz else soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32")
        )
        self._block_samples = from_hz // _BLOCKS_PER_S
        self._waiting: Samples = np.empty(0, np.int16)
        self._finished = False

    def push(self, samples: Samples) -> Samples:
        """Take samples, shape (n,) at the first rate; give those ready at the second."""
        if self._finished:
            raise RuntimeError("a finished resampler takes no more samples")
        if self._stream is None:
            return samples
        held = np.concatenate((self._waiting, samples))
        whole = held.size - held.size % self._block_samples
        self._waiting = held[whole:]
        blocks = to_float(held[:whole]).reshape(-1, self._block_samples)
        return _join([self._stream.resample_chunk(block) for block in blocks])

    def finish(self) -> Samples:
        """The rest of the output, shape (m,); empty when called again."""
        if self._finished or self._stream is None:
            self._finished = True
            return np.empty(0, np.int16)
        self._finished = True
        rest = self._stream.resample_chunk(to_float(self._waiting), last=True)
        self._waiting = np.empty(0, np.int16)
        return to_int16(rest)


class StreamDoubler:
    """Doubles the rate of a stream of 16-bit samples, in any chunks, 4 ms behind its input.

    soxr would be 120 ms behind, which every decision on a call would wait for. The samples that
    there are stay; each one between two of them is the mean of its neighbours, weighted by a sinc
    under a Kaiser window. The weights are whole numbers, so every sum is exact, and the output
    depends on the samples alone.

    Source: the half-band interpolator, e.g. A. V. Oppenheim, R. W. Schafer, "Discrete-Time Signal
    Processing", sections 4.6 and 7.5. With these numbers: flat to 3.7 kHz, images 80 dB down.
    """

    def __init__(self) -> None:
        # Silence before the first sample; the last of these is the first whose successor is due.
        self._held = np.zeros(_REACH - 1, np.int16)

    def push(self, samples: Samples) -> Samples:
        """Take samples, shape (n,); give twice as many at twice the rate, but for the last few."""
        self._held = np.concatenate((self._held, samples))
        count = len(self._held) - 2 * _REACH + 1
        if count <= 0:
            return np.empty(0, np.int16)
        doubled = np.empty((count, 2), np.int16)
        doubled[:, 0] = self._held[_REACH - 1 : _REACH - 1 + count]
        between = np.correlate(self._held.astype(np.float64), _WEIGHTS, mode="valid") / _WEIGHTS_SUM
        doubled[:, 1] = np.rint(between).clip(-32768, 32767)
        self._held = self._held[count:]
        return doubled.ravel()

    def finish(self) -> Samples:
        """The rest of the output, as if silence followed; a new stream may begin then."""
        rest = self.push(np.zeros(_REACH, np.int16))
        self._held = np.zeros(_REACH - 1, np.int16)
        return rest


def _weights() -> npt.NDArray[np.float64]:
    """Of the neighbours of a sample between two others, the nearest in the middle."""
    distances = np.arange(2 * _REACH) - _REACH + 0.5
    weights = np.sinc(distances) * np.kaiser(2 * _REACH, _KAISER_BETA)
    return np.rint(weights / weights.sum() * 2**20)


_REACH = 32
"""Neighbours on either side: 4 ms at 8 kHz."""

_KAISER_BETA = 8.0
"""Source: J. F. Kaiser's formula for 80 dB, in section 7.5 of Oppenheim and Schafer."""

_WEIGHTS = _weights()
_WEIGHTS_SUM = float(_WEIGHTS.sum())


def _check_rates(*rates_hz: int) -> None:
    for rate_hz in rates_hz:
        if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
            raise BadAudioParameters(
                f"A sampling rate of {rate_hz} Hz is not served;"
                f" use {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz"
            )


def _join(parts: list[Floats]) -> Samples:
    return to_int16(np.concatenate(parts)) if parts else np.empty(0, np.int16)
