import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vivavoce.audio.spoof_features import SPOOF_BANDS, SPOOF_HOP_SAMPLES, log_linear_bands


def _babble(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise whose loudness and colour change as speech's do; float32, 8 kHz."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(int(seconds * 8000))
    smooth = np.convolve(noise, np.ones(4) / 4, mode="same")
    slow = np.sin(2 * np.pi * 3 * np.arange(len(noise)) / 8000)
    return (0.1 * (np.maximum(slow, 0) * noise + np.maximum(-slow, 0) * smooth)).astype(np.float32)


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (255, 0), (256, 1), (383, 1), (384, 2)])
def test_a_frame_comes_every_hop_once_a_whole_window_is_there(samples: int, frames: int):
    features = log_linear_bands(_babble(1.0)[:samples])
    assert features.shape == (frames, SPOOF_BANDS)
    assert features.dtype == np.float32


@settings(deadline=None, max_examples=30)
@given(gain_db=st.floats(-60, 20))
def test_level_does_not_matter(gain_db: float):
    audio = _babble(1.0)
    louder = audio * np.float32(10 ** (gain_db / 20))
    np.testing.assert_allclose(log_linear_bands(louder), log_linear_bands(audio), atol=1e-2)


def test_each_band_has_mean_zero_so_that_a_steady_filter_of_the_line_falls_out():
    audio = _babble(2.0)
    np.testing.assert_allclose(log_linear_bands(audio).mean(axis=0), 0, atol=1e-4)
    tilted = np.convolve(audio, [1.0, -0.4], mode="same").astype(np.float32)
    difference = log_linear_bands(tilted) - log_linear_bands(audio)
    assert np.abs(difference).mean() < 0.1 * np.abs(log_linear_bands(audio)).mean()


def test_a_tone_stands_out_in_the_band_of_its_frequency():
    hz, seconds = 1200.0, np.arange(8000) / 8000
    audio = (0.3 * np.sin(2 * np.pi * hz * seconds) * (seconds > 0.5)).astype(np.float32)
    audio += np.float32(1e-3) * _babble(1.0)
    features = log_linear_bands(audio)
    late = features[5000 // SPOOF_HOP_SAMPLES :].mean(axis=0)
    centres = np.linspace(200, 3500, SPOOF_BANDS + 2)[1:-1]
    assert abs(centres[int(np.argmax(late))] - hz) < centres[1] - centres[0]


def test_digital_silence_gives_zeros_and_nothing_gives_infinities():
    assert not log_linear_bands(np.zeros(4000, np.float32)).any()
    half = np.concatenate([np.zeros(4000, np.float32), _babble(0.5)])
    assert np.isfinite(log_linear_bands(half)).all()


def test_audio_out_of_the_telephone_band_is_not_looked_at():
    seconds = np.arange(16000) / 8000
    audio = _babble(2.0)
    hum = (0.05 * np.sin(2 * np.pi * 50 * seconds)).astype(np.float32)
    difference = log_linear_bands(audio + hum) - log_linear_bands(audio)
    assert np.abs(difference).mean() < 0.05
