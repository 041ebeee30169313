"""Copy-synthesis: genuine speech taken apart and put together again by a vocoder.

Speaker, words, room and recording chain stay those of the genuine clip; only what synthesis does to
a signal is added. A detector that sees both cannot pass by telling one corpus from another.

Every function takes and returns float32, shape (n,), 8 kHz, and draws its settings by chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyworld
import soxr
from scipy.ndimage import gaussian_filter1d
from scipy.signal import lfilter, medfilt

from vivavoce.audio.arrays import CALL_RATE_HZ, Floats

# WORLD's aperiodicity estimate needs more band than a telephone has.
_WORLD_RATE_HZ = 16000
_FRAME_PERIOD_MS = 5.0


def griffin_lim(audio: Floats, rng: np.random.Generator) -> Floats:
    """Magnitudes through a mel filter bank and back, phases made up (Griffin and Lim, 1984)."""
    fft_samples = int(rng.choice([256, 320, 512]))
    hop_samples = fft_samples // 4
    bank = _mel_bank(int(rng.choice([24, 32, 40, 64])), fft_samples)
    target = np.abs(_stft(audio, fft_samples, hop_samples))
    if rng.random() < 0.8:
        target = np.maximum(target @ bank.T @ np.linalg.pinv(bank).T, 0)
    phase = np.exp(2j * np.pi * rng.random(target.shape))
    momentum = np.zeros_like(phase)
    for _ in range(int(rng.integers(4, 25))):
        spectrum = _stft(
            _istft(target * phase, fft_samples, hop_samples, len(audio)), fft_samples, hop_samples
        )
        # "Fast" variant: Perraudin, Balazs and Sondergaard, 2013.
        moved = spectrum + 0.9 * (spectrum - momentum)
        momentum = spectrum
        phase = moved / np.maximum(np.abs(moved), 1e-9)
    return _istft(target * phase, fft_samples, hop_samples, len(audio)).astype(np.float32)


def lpc(audio: Floats, rng: np.random.Generator) -> Floats:
    """An all-pole filter driven by pulses and noise: the classical synthesiser."""
    hop_samples, order = 80, int(rng.integers(8, 17))
    pitch_hz = _changed_pitch(_pitch(audio, CALL_RATE_HZ, hop_samples), rng)
    excitation = _excitation(pitch_hz, hop_samples, float(rng.choice([0.0, 0.05, 0.2])), rng)
    window = np.hanning(4 * hop_samples)
    padded = np.pad(audio.astype(np.float64), 4 * hop_samples)
    driven = np.pad(excitation, (4 * hop_samples, 8 * hop_samples))
    made = np.zeros(len(driven))
    for start in range(0, len(padded) - 4 * hop_samples, hop_samples):
        block = padded[start : start + 4 * hop_samples] * window
        poles, gain = _all_pole(block, order)
        source = driven[start : start + 4 * hop_samples] * window
        level = np.sqrt(np.sum(source**2))
        if level > 0:
            # A tail behind the frame lets the filter ring out.
            ringing = lfilter([gain / level], poles, np.pad(source, (0, 2 * hop_samples)))
            made[start : start + 6 * hop_samples] += ringing
    return like(made[4 * hop_samples :], audio)


def world(audio: Floats, rng: np.random.Generator) -> Floats:
    """The WORLD vocoder (Morise, 2016), often with its parameters flattened as statistics do."""
    pitch_hz, envelope, aperiodicity = _analysed(audio)
    if rng.random() < 0.5:
        # Statistical synthesis smears the envelope over time and frequency.
        coded = pyworld.code_spectral_envelope(envelope, _WORLD_RATE_HZ, int(rng.integers(16, 41)))
        width = int(rng.choice([1, 3, 5, 9]))
        kernel = np.ones(width) / width
        coded = np.apply_along_axis(np.convolve, 0, coded, kernel, mode="same")
        fft_samples = 2 * (envelope.shape[1] - 1)
        envelope = pyworld.decode_spectral_envelope(
            np.ascontiguousarray(coded), _WORLD_RATE_HZ, fft_samples
        )
    if rng.random() < 0.4:  # a voice of another size
        envelope = _stretched(envelope, rng.uniform(0.85, 1.18))
    if rng.random() < 0.3:
        voiced = pitch_hz[:, None] > 0
        aperiodicity = np.where(voiced, rng.uniform(0.001, 0.2), aperiodicity)
    made = pyworld.synthesize(
        _changed_pitch(pitch_hz, rng),
        np.ascontiguousarray(envelope),
        np.ascontiguousarray(aperiodicity),
        _WORLD_RATE_HZ,
        _FRAME_PERIOD_MS,
    )
    return like(soxr.resample(made, _WORLD_RATE_HZ, CALL_RATE_HZ), audio)


@dataclass(frozen=True, slots=True)
class Voice:
    """What voice conversion by signal processing knows of a speaker.

    Attributes:
        pitch: mean and deviation of the logarithm of the pitch in Hz.
        envelope: mean log spectrum of voiced speech, shape (bins,), at `_WORLD_RATE_HZ`.
    """

    pitch: tuple[float, float]
    envelope: np.ndarray


def voice_of(audio: Floats) -> Voice | None:
    """Somebody's voice, of some seconds of speech; None if there is none in it."""
    pitch_hz, envelope, _ = _analysed(audio)
    return _voice(pitch_hz, envelope)


def _voice(pitch_hz: np.ndarray, envelope: np.ndarray) -> Voice | None:
    voiced = pitch_hz > 0
    if voiced.sum() < 50:
        return None
    logs = np.log(pitch_hz[voiced])
    return Voice((float(logs.mean()), float(logs.std())), np.log(envelope[voiced]).mean(axis=0))


def convert(audio: Floats, rng: np.random.Generator, targets: Sequence[Voice]) -> Floats:
    """One speaker turned towards another: the other's pitch and mean spectrum, by WORLD.

    Half of the time the spectrum is changed by a filter on the speech itself, without a vocoder
    (spectral differential: Kobayashi and Toda, 2018), and the pitch stays.
    """
    pitch_hz, envelope, aperiodicity = _analysed(audio)
    source, target = _voice(pitch_hz, envelope), targets[rng.integers(len(targets))]
    if source is None:
        return world(audio, rng)
    change = gaussian_filter1d(target.envelope - source.envelope, 8.0) * rng.uniform(0.6, 1.0)
    change = np.clip(change - change.mean(), -3, 3)  # natural logarithm of power: 13 dB
    if rng.random() < 0.5:
        spectrum = np.fft.rfft(audio, len(audio) + _WORLD_RATE_HZ)
        hz = np.fft.rfftfreq(len(audio) + _WORLD_RATE_HZ, 1 / CALL_RATE_HZ)
        bins_hz = np.linspace(0, _WORLD_RATE_HZ / 2, len(change))
        filtered = np.fft.irfft(spectrum * np.exp(np.interp(hz, bins_hz, change) / 2))
        return like(filtered, audio)
    moved = np.zeros_like(pitch_hz)
    voiced = pitch_hz > 0
    spread = np.clip(target.pitch[1] / max(source.pitch[1], 0.05), 0.5, 2.0)
    logs = (np.log(pitch_hz[voiced]) - source.pitch[0]) * spread + target.pitch[0]
    moved[voiced] = np.clip(np.exp(logs), 60, 450)
    # A longer vocal tract with a lower voice: a third of the pitch's ratio, roughly.
    warp = float(np.clip(np.exp((target.pitch[0] - source.pitch[0]) / 4), 0.85, 1.18))
    made = pyworld.synthesize(
        moved,
        np.ascontiguousarray(_stretched(envelope, warp) * np.exp(change)),
        aperiodicity,
        _WORLD_RATE_HZ,
        _FRAME_PERIOD_MS,
    )
    return like(soxr.resample(made, _WORLD_RATE_HZ, CALL_RATE_HZ), audio)


def _analysed(audio: Floats) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """WORLD's pitch, envelope and aperiodicity, at `_WORLD_RATE_HZ`."""
    wide = soxr.resample(audio.astype(np.float64), CALL_RATE_HZ, _WORLD_RATE_HZ)
    pitch_hz, times = pyworld.dio(wide, _WORLD_RATE_HZ, frame_period=_FRAME_PERIOD_MS)
    pitch_hz = pyworld.stonemask(wide, pitch_hz, times, _WORLD_RATE_HZ)
    envelope = pyworld.cheaptrick(wide, pitch_hz, times, _WORLD_RATE_HZ)
    return pitch_hz, envelope, pyworld.d4c(wide, pitch_hz, times, _WORLD_RATE_HZ)


def _changed_pitch(pitch_hz: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pitch as it is, smoothed, flattened to a monotone, or scaled."""
    changed = pitch_hz.copy()
    voiced = changed > 0
    if not voiced.any():
        return changed
    kind = rng.random()
    if kind < 0.25:
        changed[voiced] = np.median(changed[voiced])
    elif kind < 0.5:
        middle = np.median(changed[voiced])
        changed[voiced] = middle * (changed[voiced] / middle) ** rng.uniform(0.3, 1.3)
    elif kind < 0.7:
        width = 15
        kernel = np.ones(width) / width
        weight = np.convolve(voiced.astype(float), kernel, mode="same")
        smooth = np.convolve(changed, kernel, mode="same") / np.maximum(weight, 1e-9)
        changed[voiced] = smooth[voiced]
    if rng.random() < 0.3:
        changed *= rng.uniform(0.8, 1.25)
    return changed


def _pitch(audio: Floats, rate_hz: int, hop_samples: int) -> np.ndarray:
    """Pitch in Hz a hop, 0 where unvoiced."""
    pitch_hz, _ = pyworld.dio(
        audio.astype(np.float64), rate_hz, frame_period=1000 * hop_samples / rate_hz
    )
    return medfilt(pitch_hz, 3)


def _excitation(
    pitch_hz: np.ndarray, hop_samples: int, breath: float, rng: np.random.Generator
) -> np.ndarray:
    """Pulses where there is pitch, noise elsewhere, each of unit power."""
    pitch = np.repeat(pitch_hz, hop_samples)
    noise = rng.standard_normal(len(pitch))
    cycles = np.cumsum(pitch / CALL_RATE_HZ)
    pulses = np.diff(np.floor(cycles), prepend=0.0) > 0
    height = np.sqrt(CALL_RATE_HZ / np.maximum(pitch, 50.0))
    return np.where(pitch > 0, pulses * height + breath * noise, noise)


def _all_pole(block: np.ndarray, order: int) -> tuple[np.ndarray, float]:
    """Filter coefficients (1, a1 ... a_order) and residual level by Levinson and Durbin."""
    correlation = np.correlate(block, block, mode="full")[len(block) - 1 :][: order + 1]
    # A floor 40 dB below keeps the filter tame in silence.
    error = correlation[0] * 1.0001 + 1e-9
    poles = np.zeros(order + 1)
    poles[0] = 1.0
    for index in range(1, order + 1):
        reflection = -(poles[:index] @ correlation[index:0:-1]) / error
        poles[: index + 1] += reflection * poles[: index + 1][::-1]
        error *= max(1 - reflection**2, 1e-6)
    return poles, float(np.sqrt(max(error, 0.0)))


def _stretched(envelope: np.ndarray, factor: float) -> np.ndarray:
    bins = np.arange(envelope.shape[1])
    stretched = [np.interp(bins / factor, bins, frame) for frame in np.log(envelope)]
    return np.exp(np.stack(stretched))


def _mel_bank(bands: int, fft_samples: int) -> np.ndarray:
    def mel(hz: np.ndarray) -> np.ndarray:
        return 2595 * np.log10(1 + hz / 700)

    bins = mel(np.fft.rfftfreq(fft_samples, 1 / CALL_RATE_HZ))
    edges = np.linspace(0, bins[-1], bands + 2)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return np.maximum(np.minimum(rising, falling), 0)


def _stft(audio: np.ndarray, fft_samples: int, hop_samples: int) -> np.ndarray:
    padded = np.pad(audio, fft_samples)
    frames = np.lib.stride_tricks.sliding_window_view(padded, fft_samples)[::hop_samples]
    return np.fft.rfft(frames * np.hanning(fft_samples))


def _istft(spectrum: np.ndarray, fft_samples: int, hop_samples: int, length: int) -> np.ndarray:
    window = np.hanning(fft_samples)
    frames = np.fft.irfft(spectrum, fft_samples) * window
    total = fft_samples + hop_samples * (len(frames) - 1)
    made, weight = np.zeros(total), np.full(total, 1e-6)
    for index, frame in enumerate(frames):
        start = index * hop_samples
        made[start : start + fft_samples] += frame
        weight[start : start + fft_samples] += window**2
    return np.pad(made / weight, (0, length + fft_samples))[fft_samples : fft_samples + length]


def like(made: np.ndarray, audio: Floats) -> Floats:
    """What was made, with the original's length and level."""
    made = np.pad(made, (0, max(0, len(audio) - len(made))))[: len(audio)]
    made = np.nan_to_num(made)
    ratio = np.sqrt(np.mean(audio.astype(np.float64) ** 2) / max(np.mean(made**2), 1e-12))
    return np.clip(made * ratio, -1, 1).astype(np.float32)
