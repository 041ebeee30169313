import shutil
from functools import partial

import numpy as np
import pytest

from training import telephone
from vivavoce.audio.arrays import Floats

RATE_HZ = 8000

_without_speex = pytest.mark.skipif(
    shutil.which("speexenc") is None, reason="needs Speex: apt-get install speex"
)
CODECS = {**telephone.CODECS, "mp3-24k": partial(telephone.mp3, bitrate_bps=24_000)}
ALL = [*CODECS, pytest.param("speex-8", marks=_without_speex)]
CODECS["speex-8"] = partial(telephone.speex, quality=8)


def speech_like(seconds: float = 2.0) -> Floats:
    """A buzz of changing pitch through two formants, with pauses: codecs treat it as a voice."""
    n = int(seconds * RATE_HZ)
    t = np.arange(n) / RATE_HZ
    phase = np.cumsum(120 + 30 * np.sin(2 * np.pi * 1.7 * t)) / RATE_HZ
    buzz = sum(
        np.sin(2 * np.pi * k * phase) * np.exp(-(((k * 120 - 500) / 600) ** 2))
        for k in range(1, 25)
    )
    envelope = np.clip(np.sin(2 * np.pi * 2.3 * t), 0, 1)
    return (0.15 * buzz * envelope).astype(np.float32)


def shift_of(original: np.ndarray, heard: np.ndarray) -> int:
    """Samples by which `heard` comes later than `original`, by cross-correlation."""
    size = 1 << 16
    product = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(original, size))
    lag = int(np.argmax(np.fft.irfft(product, size)))
    return lag if lag < size // 2 else lag - size


@pytest.mark.parametrize("name", ALL)
def test_a_codec_keeps_the_length_and_the_place_of_speech(name):
    audio = speech_like()
    heard = CODECS[name](audio)
    assert heard.shape == audio.shape
    assert heard.dtype == np.float32
    assert abs(shift_of(audio, heard)) <= 8  # 1 ms


@pytest.mark.parametrize("name", ALL)
def test_a_codec_sounds_like_what_went_in_and_is_not_it(name):
    audio = speech_like()
    heard = CODECS[name](audio)
    assert np.corrcoef(audio, heard)[0, 1] > 0.7
    assert not np.array_equal(audio, heard)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("length", [0, 1, 159, 161])
def test_a_codec_takes_any_length(name, length):
    heard = CODECS[name](speech_like()[:length])
    assert heard.shape == (length,)


def test_amr_has_no_other_modes():
    with pytest.raises(ValueError, match="no mode of 6000"):
        telephone.amr(speech_like(), 6000)


def test_lost_packets_are_concealed_by_the_one_before():
    audio = np.full(1600, 0.5, np.float32)
    heard = telephone.lose_packets(audio, 0.3, 20, np.random.default_rng(1))
    packets = heard.reshape(10, 160)
    assert set(np.unique(packets)) <= {0.0, 0.5, 0.25, 0.125, 0.0625}
    assert (packets < 0.5).any()


def test_without_loss_nothing_changes_and_with_total_loss_nothing_is_left():
    audio = speech_like()
    rng = np.random.default_rng(2)
    assert np.array_equal(telephone.lose_packets(audio, 0.0, 20, rng), audio)
    assert not telephone.lose_packets(audio, 1.0, 20, rng).any()


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 20.0])
def test_noise_has_the_asked_ratio_to_the_active_speech(snr_db):
    audio = speech_like()
    noise = telephone.add_noise(audio, snr_db, np.random.default_rng(3)) - audio
    active = audio[np.abs(audio) > 0]
    measured = 20 * np.log10(np.std(active) / np.std(noise))
    assert abs(measured - snr_db) < 1.5


def test_the_same_seed_gives_the_same_noise():
    audio = speech_like()
    first = telephone.add_noise(audio, 10, np.random.default_rng(4))
    assert np.array_equal(first, telephone.add_noise(audio, 10, np.random.default_rng(4)))


def test_a_level_is_reached_whatever_it_was_before():
    quiet = telephone.set_level(speech_like() * np.float32(0.01), -26)
    loud = telephone.set_level(speech_like() * np.float32(0.9), -26)
    assert np.allclose(quiet, loud, atol=1e-4)


def test_silence_stays_silence():
    silence = np.zeros(800, np.float32)
    assert not telephone.set_level(silence, -26).any()
    assert not telephone.add_noise(silence, 10, np.random.default_rng(5)).any()


def test_a_band_is_kept_and_what_is_outside_goes():
    t = np.arange(RATE_HZ) / RATE_HZ
    inside = np.sin(2 * np.pi * 1000 * t).astype(np.float32)
    outside = (np.sin(2 * np.pi * 120 * t) + np.sin(2 * np.pi * 3800 * t)).astype(np.float32)
    heard = telephone.band_limit(inside + outside, 300, 3400)
    middle = slice(1000, -1000)
    assert np.max(np.abs(heard[middle] - inside[middle])) < 0.02
