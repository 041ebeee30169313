import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vivavoce.audio.spoof_features import BANDS_OF_WINDOW, FRONT_ENDS, filter_bank

FRONT_END = FRONT_ENDS["log-linear-64x2"]


def _babble(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise whose loudness and colour change as speech's do; float32, 8 kHz."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(int(seconds * 8000))
    smooth = np.convolve(noise, np.ones(4) / 4, mode="same")
    slow = np.sin(2 * np.pi * 3 * np.arange(len(noise)) / 8000)
    return (0.1 * (np.maximum(slow, 0) * noise + np.maximum(-slow, 0) * smooth)).astype(np.float32)


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (255, 0), (256, 1), (335, 1), (336, 2)])
def test_a_frame_comes_every_hop_once_a_whole_window_is_there(samples: int, frames: int):
    features = FRONT_END.features(_babble(1.0)[:samples])
    assert features.shape == (frames, FRONT_END.bands)
    assert features.dtype == np.float32


@settings(deadline=None, max_examples=30)
@given(gain_db=st.floats(-60, 20))
def test_level_does_not_matter(gain_db: float):
    audio = _babble(1.0)
    louder = audio * np.float32(10 ** (gain_db / 20))
    np.testing.assert_allclose(FRONT_END.features(louder), FRONT_END.features(audio), atol=1e-2)


def test_each_band_has_mean_zero_so_that_a_steady_filter_of_the_line_falls_out():
    audio = _babble(2.0)
    np.testing.assert_allclose(FRONT_END.features(audio).mean(axis=0), 0, atol=1e-4)
    tilted = np.convolve(audio, [1.0, -0.4], mode="same").astype(np.float32)
    difference = FRONT_END.features(tilted) - FRONT_END.features(audio)
    assert np.abs(difference).mean() < 0.1 * np.abs(FRONT_END.features(audio)).mean()


def of_each_window(features: np.ndarray) -> list[np.ndarray]:
    """The features of the long window, and those of the short one."""
    return np.split(features, len(FRONT_END.windows), axis=1)


def test_a_tone_stands_out_in_the_band_of_its_frequency_of_each_window():
    hz, seconds = 1200.0, np.arange(8000) / 8000
    audio = (0.3 * np.sin(2 * np.pi * hz * seconds) * (seconds > 0.5)).astype(np.float32)
    audio += np.float32(1e-3) * _babble(1.0)
    centres = np.linspace(200, 3500, BANDS_OF_WINDOW + 2)[1:-1]
    for features in of_each_window(FRONT_END.features(audio)):
        late = features[5000 // FRONT_END.hop_samples :].mean(axis=0)
        assert abs(centres[int(np.argmax(late))] - hz) < centres[1] - centres[0]


@pytest.mark.parametrize("middle", [4000, 4033, 4127])
def test_frames_of_both_windows_lie_on_the_same_speech(middle: int):
    audio = np.float32(1e-3) * _babble(1.0)
    audio[middle - 8 : middle + 8] += np.hanning(16).astype(np.float32)
    peaks = [f.mean(axis=1).argmax() for f in of_each_window(FRONT_END.features(audio))]
    frame = (middle - FRONT_END.windows[0][0] // 2) / FRONT_END.hop_samples
    assert all(abs(peak - frame) <= 1 for peak in peaks)


def test_the_long_window_tells_frequencies_apart_and_the_short_one_instants():
    seconds = np.arange(8000) / 8000
    noise = np.float32(1e-4) * np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    tone = noise + (0.3 * np.sin(2 * np.pi * 1200 * seconds) * (seconds > 0.5)).astype(np.float32)
    click = noise.copy()
    click[4000] += 1.0

    def wide(bands: np.ndarray) -> int:
        late = bands[-30:].mean(axis=0)
        return int(np.count_nonzero(late > late.max() / 2))

    def long(bands: np.ndarray) -> int:
        loud = bands.mean(axis=1)
        return int(np.count_nonzero(loud > loud.max() / 2))

    of_tone, of_click = (
        of_each_window(FRONT_END.features(tone)),
        of_each_window(FRONT_END.features(click)),
    )
    assert wide(of_tone[0]) < wide(of_tone[1])
    assert long(of_click[0]) > long(of_click[1])


@pytest.mark.parametrize("fft_samples", [fft for _, fft in FRONT_END.windows])
def test_no_band_of_either_window_is_empty(fft_samples: int):
    bank = filter_bank(fft_samples)
    assert bank.shape == (fft_samples // 2 + 1, BANDS_OF_WINDOW)
    assert (bank.sum(axis=0) > 0.5).all()


def test_digital_silence_gives_zeros_and_nothing_gives_infinities():
    assert not FRONT_END.features(np.zeros(4000, np.float32)).any()
    half = np.concatenate([np.zeros(4000, np.float32), _babble(0.5)])
    assert np.isfinite(FRONT_END.features(half)).all()


def test_audio_out_of_the_telephone_band_is_not_looked_at():
    seconds = np.arange(16000) / 8000
    audio = _babble(2.0)
    hum = (0.05 * np.sin(2 * np.pi * 50 * seconds)).astype(np.float32)
    difference = FRONT_END.features(audio + hum) - FRONT_END.features(audio)
    assert np.abs(difference).mean() < 0.05
