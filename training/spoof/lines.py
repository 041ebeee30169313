"""The telephone line of one training example: drawn once, put on both classes alike."""

from collections.abc import Callable

import numpy as np
from scipy.signal import fftconvolve

from training.telephone import add_noise, alaw, band_limit, lose_packets, mulaw
from vivavoce.audio.arrays import CALL_RATE_HZ, Floats


def draw_line(rng: np.random.Generator) -> Callable[[Floats], Floats]:
    """A line with its room, noise, band, loss and level; the same for whatever passes it."""
    seed = int(rng.integers(2**32))

    def line(audio: Floats) -> Floats:
        chance = np.random.default_rng(seed)
        if chance.random() < 0.25:
            audio = _reverberated(audio, chance)
        if chance.random() < 0.6:
            snr_db, tilt = chance.uniform(8, 40), chance.uniform(-6, 0)
            audio = add_noise(audio, snr_db, chance, tilt_db_per_octave=tilt)
        if chance.random() < 0.7:
            audio = band_limit(audio, chance.uniform(0, 320), chance.uniform(2900, 4000))
        audio = audio * np.float32(10 ** (chance.uniform(-20, 6) / 20))
        if chance.random() < 0.15:
            audio = lose_packets(audio, chance.uniform(0.005, 0.05), 20, chance)
        if chance.random() < 0.6:
            audio = (mulaw if chance.random() < 0.6 else alaw)(audio)
        return audio

    return line


def _reverberated(audio: Floats, rng: np.random.Generator) -> Floats:
    """A room as decaying noise: direct sound, then a tail 0.1 to 0.5 s long (60 dB)."""
    decay_s = rng.uniform(0.1, 0.5)
    seconds = np.arange(int(decay_s * CALL_RATE_HZ)) / CALL_RATE_HZ
    tail = rng.standard_normal(len(seconds)) * 10 ** (-3 * seconds / decay_s)
    tail *= 10 ** (-rng.uniform(0, 15) / 20) / np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    return fftconvolve(audio, tail)[: len(audio)].astype(np.float32)
