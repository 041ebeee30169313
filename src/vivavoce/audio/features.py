"""Mel features, in plain numpy.

`mel_power` is the front end of the GE2E speaker encoder, `kaldi_log_mel` that of most later ones,
`whisper_log_mel` that of the spoof detector. All are computed in 64 bits and given in 32. A frame's
values do not depend on which other frames are computed with it, bit for bit, so a call replayed
from a log gives the same features; only `whisper_log_mel` looks at the loudest of all.
"""

from functools import cache

import numpy as np
import numpy.typing as npt

from vivavoce.audio.arrays import Floats

_Doubles = npt.NDArray[np.float64]
_Bank = tuple[tuple[int, _Doubles], ...]
"""For each band its first bin with a weight, and the weights from there on."""

GE2E_RATE_HZ = 16_000
GE2E_WINDOW_SAMPLES = 400
GE2E_HOP_SAMPLES = 160
GE2E_BANDS = 40

WHISPER_WINDOW_SAMPLES = 200
WHISPER_HOP_SAMPLES = 80
WHISPER_BANDS = 80

WHISPER_SILENCE = 1e-20
"""Power below which there is no sound at all."""
WHISPER_LOUDEST = 1.4
"""As in speech near full scale, which most of what Whisper was trained on is."""
WHISPER_FLOOR = WHISPER_LOUDEST - 1.5
"""60 dB below, as a quarter of the decimal logarithm of power."""

_SLANEY_TOP_HZ = 8000.0
_BIN_HZ = 40.0

_KALDI_WINDOW_S = 0.025
_KALDI_HOP_S = 0.010
_KALDI_LOW_HZ = 20.0
_KALDI_PRE_EMPHASIS = 0.97
_KALDI_FLOOR = float(np.finfo(np.float32).eps)


def mel_power(audio: Floats) -> Floats:
    """Power in 40 mel bands, every 10 ms; not logarithmic.

    Frames are centred: frame i spans 200 samples either side of sample 160 * i, with zeros beyond
    the ends.

    Args:
        audio: shape (n,) at 16 kHz, full scale -1..1.

    Returns:
        Shape (1 + n // 160, 40), at least 0.

    Source: librosa.feature.melspectrogram(sr=16000, n_fft=400, hop_length=160, n_mels=40) with its
    defaults (periodic Hann window, Slaney's scale and area normalisation), reimplemented.
    """
    half = GE2E_WINDOW_SAMPLES // 2
    padded = np.pad(audio.astype(np.float64), half)
    frames = _frames(padded, GE2E_WINDOW_SAMPLES, GE2E_HOP_SAMPLES)
    spectrum = np.fft.rfft(frames * _hann(GE2E_WINDOW_SAMPLES), axis=1)
    return _in_bands(_power(spectrum), _slaney_bank(GE2E_BANDS, GE2E_WINDOW_SAMPLES)).astype(
        np.float32
    )


def kaldi_log_mel(
    audio: Floats,
    *,
    rate_hz: int = 16_000,
    bands: int = 80,
    scale: float = 32768.0,
    subtract_mean: bool = False,
) -> Floats:
    """Natural logarithm of the power in mel bands, 25 ms every 10 ms, as Kaldi computes it.

    Args:
        audio: shape (n,) at `rate_hz`, full scale -1..1.
        rate_hz: sampling rate.
        bands: mel bands between 20 Hz and half the rate.
        scale: factor on the audio first; 32768 for models trained on 16-bit numbers, else 1.
        subtract_mean: whether each band's mean over all frames is taken away.

    Returns:
        Shape (1 + (n - window) // hop, bands); (0, bands) for less than one window. Only whole
        windows count (Kaldi's snip_edges).

    Source: Kaldi's compute-fbank-feats with --dither=0 --use-energy=false --window-type=povey and
    its defaults otherwise (feature-window.cc, mel-computations.cc), reimplemented.
    """
    window_samples, hop_samples = round(rate_hz * _KALDI_WINDOW_S), round(rate_hz * _KALDI_HOP_S)
    if audio.size < window_samples:
        return np.empty((0, bands), np.float32)
    frames = _frames(audio.astype(np.float64) * scale, window_samples, hop_samples)
    frames = frames - frames.mean(axis=1, keepdims=True)
    before = np.concatenate((frames[:, :1], frames[:, :-1]), axis=1)
    frames = (frames - _KALDI_PRE_EMPHASIS * before) * _povey(window_samples)
    fft_samples = 1 << (window_samples - 1).bit_length()
    power = _power(np.fft.rfft(frames, n=fft_samples, axis=1)[:, : fft_samples // 2])
    energies = _in_bands(power, _kaldi_bank(rate_hz, fft_samples, bands))
    features = np.log(np.maximum(energies, _KALDI_FLOOR))
    if subtract_mean:
        features = features - features.mean(axis=0)
    return features.astype(np.float32)


def whisper_log_mel(audio: Floats) -> Floats:
    """Logarithm of power in mel bands, 25 ms every 10 ms, of telephone audio, as Whisper has it.

    Differs from Whisper's own in three things. Frames are whole windows, without the half ones at
    the ends. The loudest value is always the same, so the level of the audio does not matter. And
    what lies more than 60 dB below it is lifted to there, not only from 80 dB on: in that range is
    the line more than the voice.

    Args:
        audio: shape (n,) at 8 kHz, full scale -1..1.

    Returns:
        Shape (1 + (n - 200) // 80, 80), values from -0.1 to 1.4; (0, 80) for less than one window.
        The bands above 4 kHz, of which telephone audio has nothing, are at the lowest value. All of
        one value for digital silence.

    Source: Radford et al., 2022, section 2.2, and the published code's `log_mel_spectrogram`,
    reimplemented: bins of 40 Hz are the same at half the rate and half the window.
    """
    if audio.size < WHISPER_WINDOW_SAMPLES:
        return np.empty((0, WHISPER_BANDS), np.float32)
    frames = _frames(audio.astype(np.float64), WHISPER_WINDOW_SAMPLES, WHISPER_HOP_SAMPLES)
    spectrum = np.fft.rfft(frames * _hann(WHISPER_WINDOW_SAMPLES), axis=1)
    bank = _slaney_bank(WHISPER_BANDS, WHISPER_WINDOW_SAMPLES)
    energies = np.maximum(_in_bands(_power(spectrum), bank), WHISPER_SILENCE)
    relative = np.log10(energies / energies.max()) / 4
    return np.maximum(WHISPER_LOUDEST + relative, WHISPER_FLOOR).astype(np.float32)


def _frames(audio: _Doubles, window_samples: int, hop_samples: int) -> _Doubles:
    """Overlapping windows as a read-only view: shape (frames, window)."""
    return np.lib.stride_tricks.sliding_window_view(audio, window_samples)[::hop_samples]


def _power(spectrum: npt.NDArray[np.complex128]) -> _Doubles:
    return spectrum.real**2 + spectrum.imag**2


def _in_bands(power: _Doubles, bank: _Bank) -> _Doubles:
    """Weighted sums of power spectra, (frames, bins): shape (frames, bands).

    A band has weights in a few bins only, so this is less work than a product with the whole bank.
    It also stays out of BLAS, whose threads wait for each other: on a busy machine that product
    took up to a hundred times as long.
    """
    energies = np.empty((len(power), len(bank)))
    for band, (first, weights) in enumerate(bank):
        here = power[:, first : first + weights.size]
        energies[:, band] = np.einsum("fb,b->f", here, weights)
    return energies


def _bank(weights: _Doubles) -> _Bank:
    """A table of weights, shape (bins, bands), without its zeros."""
    bands: list[tuple[int, _Doubles]] = []
    for column in weights.T:
        bins = np.flatnonzero(column)
        # At a low rate a band may lie between two bins and have no weight at all.
        first, end = (int(bins[0]), int(bins[-1]) + 1) if bins.size else (0, 0)
        bands.append((first, column[first:end].copy()))
    return tuple(bands)


@cache
def _hann(samples: int) -> _Doubles:
    """Periodic: one period of the cosine is exactly the window's length."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(samples) / samples)


@cache
def _povey(samples: int) -> _Doubles:
    """Kaldi's default window: a symmetric Hann window to the power of 0.85."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(samples) / (samples - 1))) ** 0.85


@cache
def _slaney_bank(bands: int, window_samples: int) -> _Bank:
    """For bins of 40 Hz, which a window of 25 ms has at any rate."""
    return _bank(slaney_weights(bands, np.arange(0.0, window_samples // 2 + 1) * _BIN_HZ))


def slaney_weights(bands: int, bins_hz: _Doubles) -> _Doubles:
    """Triangles of equal area, linear in Hz between the band edges: shape (bins, bands).

    Bands that lie above all of the bins have no weight.
    """
    edges_hz = slaney_edges_hz(bands)
    return _triangles(bins_hz, edges_hz) * (2.0 / (edges_hz[2:] - edges_hz[:-2]))


def slaney_edges_hz(bands: int) -> _Doubles:
    """Where bands up to 8 kHz begin, are highest, and end: shape (bands + 2,).

    Source: M. Slaney, Auditory Toolbox version 2 (1998), `mfcc`: bands 200/3 Hz apart up to 1 kHz,
    above it 27 bands to each factor of 6.4.
    """
    return _slaney_hz(np.linspace(0.0, _slaney_mel(_SLANEY_TOP_HZ), bands + 2))


def _slaney_mel(hz: float) -> float:
    knee_hz, knee_mel, step = 1000.0, 15.0, np.log(6.4) / 27.0
    return float(hz * 3 / 200 if hz < knee_hz else knee_mel + np.log(hz / knee_hz) / step)


def _slaney_hz(mel: _Doubles) -> _Doubles:
    knee_hz, knee_mel, step = 1000.0, 15.0, np.log(6.4) / 27.0
    above = knee_hz * np.exp(step * (np.maximum(mel, knee_mel) - knee_mel))
    return np.where(mel < knee_mel, mel * 200 / 3, above)


@cache
def _kaldi_bank(rate_hz: int, fft_samples: int, bands: int) -> _Bank:
    """Triangles of height 1, linear in mel between the band edges.

    The bin at half the rate takes no part, as in Kaldi.
    """
    bins_hz = np.arange(fft_samples // 2) * rate_hz / fft_samples
    ends = _htk_mel(np.array([_KALDI_LOW_HZ, rate_hz / 2]))
    edges = np.linspace(float(ends[0]), float(ends[1]), bands + 2)
    return _bank(_triangles(_htk_mel(bins_hz), edges))


def _htk_mel(hz: _Doubles) -> _Doubles:
    return 1127.0 * np.log1p(hz / 700.0)


def _triangles(positions: _Doubles, edges: _Doubles) -> _Doubles:
    """Triangle j rises from edge j to edge j + 1 and falls to edge j + 2: shape (positions, j)."""
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising = (positions[:, None] - left) / (centre - left)
    falling = (right - positions[:, None]) / (right - centre)
    return np.maximum(0.0, np.minimum(rising, falling))
