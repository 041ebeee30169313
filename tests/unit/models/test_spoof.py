"""The shipped spoof detector as a mechanism; how well it detects is the benchmark's matter."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vivavoce.audio.spoof_features import SPOOF_BANDS
from vivavoce.errors import ModelInvalid, NotEnoughSpeech
from vivavoce.models.card import SHIPPED_DIR, Model, load_model
from vivavoce.models.spoof import SpoofDetector

SHIPPED = SHIPPED_DIR / "spoof-v1.onnx"


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(SHIPPED)


@pytest.fixture(scope="module")
def detector(model: Model) -> SpoofDetector:
    return SpoofDetector(model)


def _voice(seconds: float) -> np.ndarray:
    """A buzz with moving formant and loudness, over some noise; float32, 8 kHz."""
    time = np.arange(int(seconds * 8000)) / 8000
    rng = np.random.default_rng(1)
    pitch_hz = 120 + 20 * np.sin(2 * np.pi * 0.7 * time)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / 8000
    harmonics = sum(np.sin(k * phase) / k for k in range(1, 25))
    loudness = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * time)
    audio = 0.1 * loudness * harmonics + 0.003 * rng.standard_normal(len(time))
    return audio.astype(np.float32)


def test_the_shipped_model_is_small_and_says_what_it_is_and_what_it_is_not(model: Model):
    assert SHIPPED.stat().st_size < 5_000_000
    assert model.card.kind == "spoof"
    assert model.calibration is not None
    assert model.card.trained_on
    assert model.card.measured
    assert any("playback" in limit.lower() for limit in model.card.limits)


def test_the_same_audio_always_gets_the_same_score(model: Model, detector: SpoofDetector):
    audio = _voice(7.3)
    again = SpoofDetector(load_model(SHIPPED))
    assert detector.judge(audio) == detector.judge(audio.copy()) == again.judge(audio)
    assert detector.name == "spoof-v1"
    assert detector.version == model.card.sha256[:12]


@settings(deadline=None, max_examples=15)
@given(gain_db=st.floats(-30, 15))
def test_level_does_not_matter(gain_db: float):
    detector = SpoofDetector(load_model(SHIPPED))
    audio = _voice(4.0)
    louder = audio * np.float32(10 ** (gain_db / 20))
    assert detector.judge(louder) == pytest.approx(detector.judge(audio), abs=0.05)


@pytest.mark.parametrize(
    ("seconds", "windows"), [(1.0, 1), (3.0, 1), (4.0, 1), (4.5, 2), (10.0, 4), (30.0, 14)]
)
def test_windows_cover_all_of_the_speech(detector: SpoofDetector, seconds: float, windows: int):
    prepared = detector.prepare(_voice(seconds))
    assert prepared.shape[0] == windows
    assert prepared.shape[2] == SPOOF_BANDS
    assert prepared.dtype == np.float32
    assert detector.score(prepared).shape == (windows,)


def test_the_last_words_count_too(detector: SpoofDetector):
    audio = _voice(9.1)
    changed = audio.copy()
    changed[-2000:] = 0.05 * np.random.default_rng(2).standard_normal(2000)
    assert detector.judge(changed) != detector.judge(audio)


def test_evidence_of_the_whole_is_the_mean_of_its_windows(detector: SpoofDetector):
    audio = _voice(12.0)
    logits = detector.score(detector.prepare(audio))
    assert detector.judge(audio) == pytest.approx(float(logits.mean()), abs=1e-5)
    one_by_one = [float(detector.score(window[None])[0]) for window in detector.prepare(audio)]
    np.testing.assert_allclose(logits, one_by_one, atol=1e-4)


@pytest.mark.parametrize("samples", [0, 1, 255, 7999])
def test_too_little_speech_is_refused_with_what_is_missing(detector: SpoofDetector, samples: int):
    with pytest.raises(NotEnoughSpeech) as refused:
        detector.judge(np.zeros(samples, np.float32))
    assert refused.value.needed_s == 1.0
    assert refused.value.got_s == samples / 8000


@pytest.mark.parametrize(
    "audio",
    [
        np.zeros(40000, np.float32),
        np.random.default_rng(0).standard_normal(40000).astype(np.float32),
        np.sign(_voice(5.0)),
        np.full(40000, 1.0, np.float32),
    ],
    ids=["silence", "noise", "clipping", "constant"],
)
def test_what_is_no_speech_gets_a_finite_score(detector: SpoofDetector, audio: np.ndarray):
    assert np.isfinite(detector.judge(audio))


@pytest.mark.parametrize("change", [{"kind": "speaker"}, {"front_end": "x"}, {"window_frames": 0}])
def test_a_model_of_another_kind_is_refused(model: Model, change: dict[str, str | int]):
    card = replace(model.card, **change)
    other = Model(card, model.session, model.calibration, model.path)
    with pytest.raises(ModelInvalid, match=r"needed|must take"):
        SpoofDetector(other)
