import importlib.util
from typing import Any

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vivavoce.audio.features import WHISPER_FLOOR, kaldi_log_mel, mel_power, whisper_log_mel

HAS_KALDI = importlib.util.find_spec("kaldi_native_fbank") is not None
needs_kaldi = pytest.mark.skipif(
    not HAS_KALDI, reason="kaldi-native-fbank is not installed; make setup-dev installs it"
)


def speech_like(samples, seed=0):
    """Noise whose level swells and fades, with a tone: every band and level occurs."""
    rng = np.random.default_rng(seed)
    instants = np.arange(samples) / 16000
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * instants)
    audio = 0.05 * rng.standard_normal(samples) * swell + 0.2 * np.sin(2 * np.pi * 440 * instants)
    return audio.astype(np.float32)


@pytest.mark.parametrize("samples", [400, 401, 16000, 25600, 40123])
def test_mel_power_agrees_with_librosa(samples):
    audio = speech_like(samples)
    reference = librosa.feature.melspectrogram(
        y=audio.astype(np.float64), sr=16000, n_fft=400, hop_length=160, n_mels=40
    ).T
    ours = mel_power(audio)
    assert ours.shape == reference.shape == (1 + samples // 160, 40)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, reference, rtol=1e-4)


def test_mel_power_of_silence_is_zero():
    assert not mel_power(np.zeros(1600, np.float32)).any()


def test_mel_power_of_nothing_is_one_frame_of_padding():
    assert mel_power(np.empty(0, np.float32)).shape == (1, 40)


@settings(max_examples=50, deadline=None)
@given(start=st.integers(0, 90), frames=st.integers(1, 30))
def test_a_frame_is_the_same_bit_for_bit_whatever_is_computed_with_it(start, frames):
    audio = speech_like(32000)
    part = audio[160 * start : 160 * (start + frames - 1) + 400]
    whole = kaldi_log_mel(audio)
    np.testing.assert_array_equal(kaldi_log_mel(part), whole[start : start + frames])
    # Centred windows see padding at both ends of a part; those in between do not.
    inner = mel_power(part)[2:-2]
    np.testing.assert_array_equal(inner, mel_power(audio)[start + 2 : start + 2 + len(inner)])


def reference_fbank(audio, rate_hz, bands, scale):
    # Its classes live in a compiled module without types.
    kaldi: Any = importlib.import_module("kaldi_native_fbank")
    options = kaldi.FbankOptions()
    options.frame_opts.dither = 0.0
    options.frame_opts.samp_freq = rate_hz
    options.frame_opts.snip_edges = True
    options.mel_opts.num_bins = bands
    fbank = kaldi.OnlineFbank(options)
    fbank.accept_waveform(rate_hz, (audio * scale).tolist())
    fbank.input_finished()
    return np.array([fbank.get_frame(i) for i in range(fbank.num_frames_ready)])


@needs_kaldi
@pytest.mark.parametrize("scale", [1.0, 32768.0])
@pytest.mark.parametrize(("rate_hz", "bands"), [(16000, 80), (8000, 80), (8000, 40)])
@pytest.mark.parametrize("samples", [400, 559, 560, 16000])
def test_kaldi_log_mel_agrees_with_kaldi(rate_hz, bands, scale, samples):
    audio = speech_like(samples)
    reference = reference_fbank(audio, rate_hz, bands, scale)
    ours = kaldi_log_mel(audio, rate_hz=rate_hz, bands=bands, scale=scale)
    assert ours.dtype == np.float32
    # 80 bands at 8 kHz are narrower than a bin at the low end: some are empty in both.
    np.testing.assert_allclose(ours, reference, atol=2e-3)


@needs_kaldi
def test_kaldi_log_mel_of_silence_is_the_floor():
    silence = np.zeros(1600, np.float32)
    np.testing.assert_allclose(
        kaldi_log_mel(silence), reference_fbank(silence, 16000, 80, 32768.0), atol=1e-5
    )


def test_less_than_a_window_is_no_frame():
    assert kaldi_log_mel(np.zeros(399, np.float32)).shape == (0, 80)
    assert kaldi_log_mel(np.zeros(400, np.float32)).shape == (1, 80)


def test_without_its_mean_each_band_averages_to_zero():
    audio = speech_like(16000)
    plain, centred = kaldi_log_mel(audio), kaldi_log_mel(audio, subtract_mean=True)
    np.testing.assert_allclose(centred.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(centred, plain - plain.mean(axis=0), atol=1e-5)


def test_loudness_is_a_constant_in_the_logarithm():
    audio = speech_like(16000)
    louder = kaldi_log_mel(2 * audio) - kaldi_log_mel(audio)
    np.testing.assert_allclose(louder, np.log(4.0), atol=1e-3)


@pytest.mark.parametrize("samples", [200, 279, 280, 8000, 32_120])
def test_whisper_log_mel_agrees_with_librosa(samples):
    audio = speech_like(samples)
    spectrum = librosa.stft(audio.astype(np.float64), n_fft=200, hop_length=80, center=False)
    bank = librosa.filters.mel(sr=16000, n_fft=400, n_mels=80)[:, :101]
    energies = np.log10(np.maximum(bank @ np.abs(spectrum) ** 2, 1e-20)).T / 4
    ours = whisper_log_mel(audio)
    assert ours.shape == (1 + (samples - 200) // 80, 80)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(
        ours, np.maximum(1.4 + energies - energies.max(), WHISPER_FLOOR), atol=1e-5
    )


@settings(deadline=None, max_examples=30)
@given(gain_db=st.floats(-80, 20))
def test_the_level_does_not_matter_to_whisper_log_mel(gain_db: float):
    audio = speech_like(8000)
    louder = audio * np.float32(10 ** (gain_db / 20))
    np.testing.assert_allclose(whisper_log_mel(louder), whisper_log_mel(audio), atol=1e-4)


def test_whisper_log_mel_of_too_little_is_nothing_and_of_silence_is_even():
    assert whisper_log_mel(np.zeros(199, np.float32)).shape == (0, 80)
    silence = whisper_log_mel(np.zeros(4000, np.float32))
    assert np.ptp(silence) == 0


def test_whisper_log_mel_finds_nothing_above_the_telephone_band():
    features = whisper_log_mel(speech_like(8000))
    assert (features[:, 65:] == np.float32(WHISPER_FLOOR)).all()
    assert (features[:, :60].max(axis=0) > WHISPER_FLOOR).all()
