import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vivavoce.audio.features import kaldi_log_mel, mel_power
from vivavoce.audio.resample import resample
from vivavoce.errors import ModelInvalid, NotEnoughSpeech
from vivavoce.models.card import ModelCard, load_model
from vivavoce.models.speaker import SpeakerEncoder

GE2E_CARD = ModelCard(
    name="fake",
    kind="speaker",
    sha256="ab" * 32,
    rate_hz=16000,
    front_end="ge2e-mel40",
    bands=40,
    dimension=40,
    window_frames=160,
    hop_frames=77,
    source="made by a test",
    licence="Apache-2.0",
)
HOP_SAMPLES = 77 * 160
WINDOW_SAMPLES = 160 * 160


class MeanModel:
    """A model whose vector is the mean of its frames."""

    def __init__(self, card):
        self.card = card

    def run(self, batch):
        return batch.mean(axis=1)


@pytest.fixture
def encoder():
    return SpeakerEncoder(MeanModel(GE2E_CARD))


def speech_like(samples, level=0.1, seed=0):
    rng = np.random.default_rng(seed)
    return (level * rng.standard_normal(samples)).astype(np.float32)


def windows_as_published(samples):
    """Starts in samples: every 77 frames up to the first window that reaches the last frame; the
    last one needs 75 % of audio unless it is the only one.
    """
    starts, start = [], 0
    while start == 0 or start <= samples // 160 + 1 - 160 + 77:
        starts.append(start * 160)
        start += 77
    if len(starts) > 1 and (samples - starts[-1]) / WINDOW_SAMPLES < 0.75:
        starts.pop()
    return starts


@settings(max_examples=30, deadline=None)
@given(samples=st.integers(1, 120_000))
def test_windows_lie_where_the_encoder_was_trained_to_have_them(samples):
    encoder = SpeakerEncoder(MeanModel(GE2E_CARD))
    audio = speech_like(samples)
    windows = encoder.prepare(audio, 16000)
    starts = windows_as_published(samples)
    assert windows.shape == (len(starts), 160, 40)
    assert windows.dtype == np.float32
    frames = mel_power(np.pad(audio, (0, 2 * WINDOW_SAMPLES)))
    # Frames that see the end of the audio differ by its padding only when it was padded less.
    inside = (samples - 400) // 160
    for window, start in zip(windows, starts, strict=True):
        first = start // 160
        usable = max(0, min(160, inside - first))
        np.testing.assert_allclose(window[:usable], frames[first : first + usable], rtol=1e-5)


def test_speech_shorter_than_a_window_is_filled_with_silence(encoder):
    windows = encoder.prepare(speech_like(8000), 16000)
    assert windows.shape == (1, 160, 40)
    assert windows[0, :40].min() > 0
    assert not windows[0, 60:].any()


@pytest.mark.parametrize(
    ("samples", "count"),
    [
        (WINDOW_SAMPLES, 1),
        (HOP_SAMPLES + round(0.74 * WINDOW_SAMPLES), 1),
        (HOP_SAMPLES + round(0.76 * WINDOW_SAMPLES), 2),
        (HOP_SAMPLES + WINDOW_SAMPLES, 2),
        (30 * 16000, 38),
    ],
)
def test_a_last_window_counts_from_three_quarters_of_audio(encoder, samples, count):
    assert len(encoder.prepare(speech_like(samples), 16000)) == count


def test_quiet_speech_is_raised_and_loud_speech_is_left(encoder):
    quiet, loud = speech_like(WINDOW_SAMPLES, 0.001), speech_like(WINDOW_SAMPLES, 0.2)
    raised = encoder.prepare(quiet, 16000)
    target = 10 ** (-30 / 20)
    gain = target / float(np.sqrt(np.mean(quiet.astype(np.float64) ** 2)))
    np.testing.assert_allclose(raised[0], mel_power(quiet * np.float32(gain))[:160], rtol=1e-4)
    np.testing.assert_allclose(encoder.prepare(loud, 16000)[0], mel_power(loud)[:160], rtol=1e-6)


def test_telephone_audio_is_resampled_first(encoder):
    audio = speech_like(16000)
    got = encoder.prepare(audio, 8000)
    np.testing.assert_array_equal(got, encoder.prepare(resample(audio, 8000, 16000), 16000))


def test_pooling_gives_the_direction_of_the_mean(encoder):
    vectors = np.array([[3.0, 0.0], [0.0, 4.0]], np.float32)
    np.testing.assert_allclose(encoder.pool(vectors), [0.6, 0.8], rtol=1e-6)
    assert not encoder.pool(np.zeros((2, 2), np.float32)).any()


def test_embedding_is_the_three_steps_in_one(encoder):
    audio = speech_like(40 * 16000)
    steps = encoder.pool(encoder.encode(encoder.prepare(audio, 16000)))
    np.testing.assert_allclose(encoder.embed(audio, 16000), steps, rtol=1e-6)
    assert np.linalg.norm(steps) == pytest.approx(1.0)


def test_silence_gives_a_finite_vector(encoder):
    assert np.isfinite(encoder.embed(np.zeros(16000, np.float32), 8000)).all()


def test_no_audio_is_not_enough_speech(encoder):
    with pytest.raises(NotEnoughSpeech):
        encoder.embed(np.empty(0, np.float32), 8000)


def test_any_speaker_model_with_kaldi_features_loads_from_file_and_card(write_model):
    encoder = SpeakerEncoder(load_model(write_model()))
    assert (encoder.name, encoder.dimension, len(encoder.version)) == ("tiny", 12, 12)
    audio = speech_like(24000)
    prepared = encoder.prepare(audio, 8000)
    expected = kaldi_log_mel(resample(audio, 8000, 16000), subtract_mean=True)
    np.testing.assert_allclose(prepared, expected[np.newaxis], atol=1e-5)
    vector = encoder.embed(audio, 8000)
    assert vector.shape == (12,)
    assert np.linalg.norm(vector) == pytest.approx(1.0)


@pytest.mark.parametrize("scale", [1.0, 32768.0])
def test_the_card_says_the_scale_of_the_audio(write_model, scale):
    encoder = SpeakerEncoder(load_model(write_model(scale=scale, subtract_mean=False)))
    audio = speech_like(16000)
    np.testing.assert_array_equal(
        encoder.prepare(audio, 16000)[0], kaldi_log_mel(audio, scale=scale)
    )


def test_very_short_speech_still_gives_frames(write_model):
    encoder = SpeakerEncoder(load_model(write_model()))
    assert encoder.prepare(speech_like(10), 16000).shape == (1, 48, 80)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "spoof"}, "not a speaker model"),
        ({"front_end": "raw-wave"}, "front end"),
        ({"front_end": "ge2e-mel40"}, "do not fit"),
    ],
)
def test_another_kind_of_model_is_refused(write_model, changes, message):
    model = load_model(write_model(**changes))
    with pytest.raises(ModelInvalid, match=message):
        SpeakerEncoder(model)
