"""The shipped spoof detector as a mechanism; how well it detects is the benchmark's matter."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vivavoce.errors import ModelInvalid, NotEnoughSpeech
from vivavoce.models.card import SHIPPED_DIR, Model, load_model
from vivavoce.models.spoof import SpoofDetector
from vivavoce.scoring.spoofing import DISTANCE, VERDICTS, SpoofEvidence
from vivavoce.settings import Settings

NAMES = Settings.model_fields["spoof_model"].default.split(",")


def shipped() -> list[Model]:
    return [load_model(SHIPPED_DIR / f"{name}.onnx") for name in NAMES]


def _giving(model: Model, *outputs: str, times: float = 1.0) -> Model:
    """The model with some of its outputs only, each so many times what it is."""
    columns = [model.card.outputs.index(output) for output in outputs]

    class Session:
        def get_inputs(self):
            return model.session.get_inputs()

        def get_outputs(self):
            return model.session.get_outputs()

        def run(self, output_names: list[str], input_feed: dict[str, np.ndarray]):
            (scores,) = model.session.run(output_names, input_feed)
            return [scores[:, columns] * np.float32(times)]

    card = replace(model.card, outputs=outputs, dimension=len(outputs))
    return Model(card, Session(), model.calibrations, model.path)


@pytest.fixture(scope="module")
def models() -> list[Model]:
    return shipped()


@pytest.fixture(scope="module")
def detector(models: list[Model]) -> SpoofDetector:
    return SpoofDetector(*models)


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


def _raws(evidence: SpoofEvidence) -> list[float]:
    return [evidence.raw(verdict) for verdict in VERDICTS]


def test_the_shipped_models_are_small_and_say_what_they_are_and_what_not(models: list[Model]):
    for model in models:
        assert model.path.stat().st_size < 5_000_000
        assert model.card.kind == "spoof"
        assert model.card.trained_on
        assert model.card.measured
        assert model.card.limits


@pytest.mark.parametrize("verdict", VERDICTS)
def test_each_verdict_is_calibrated(detector: SpoofDetector, verdict: str):
    calibration = detector.by_verdict[verdict].calibration(verdict)
    assert [c.seconds for c in calibration.conditions] == [3, 5, 10, 20]
    assert calibration.apply(30.0, seconds=10).llr > calibration.apply(-30.0, seconds=10).llr


def test_each_output_comes_from_the_first_model_that_gives_it(models: list[Model]):
    (model,) = models
    assert model.card.outputs == (*VERDICTS, DISTANCE)
    audio = _voice(6.0)
    own = SpoofDetector(model).judge(audio).windows
    synthetic = _giving(model, "synthetic", times=2)
    both, swapped = (
        SpoofDetector(*chosen).judge(audio).windows
        for chosen in ((synthetic, model), (model, synthetic))
    )
    np.testing.assert_array_equal(both, own * np.array([1, 1, 2, 1, 1], np.float32))
    np.testing.assert_array_equal(swapped, own)


def test_a_model_that_gives_no_verdict_is_not_run_for_its_distance(models: list[Model]):
    (model,) = models
    untelling = _giving(model, *VERDICTS)
    evidence = SpoofDetector(untelling, model).judge(_voice(6.0))
    assert (evidence.windows[:, 4] == 0).all()
    assert evidence.certainty == 1


def test_models_that_leave_a_verdict_open_are_refused(models: list[Model]):
    with pytest.raises(ModelInvalid, match="'playback' is needed"):
        SpoofDetector(_giving(models[0], "synthetic"))


def test_the_same_audio_always_gets_the_same_score(models: list[Model], detector: SpoofDetector):
    audio = _voice(7.3)
    evidence = detector.judge(audio)
    again = SpoofDetector(*shipped()).judge(audio.copy())
    np.testing.assert_array_equal(again.windows, evidence.windows)
    versions = [f"{model.card.name}@{model.card.sha256[:12]}" for model in models]
    assert detector.version == "+".join(versions)


@settings(deadline=None, max_examples=15)
@given(gain_db=st.floats(-30, 15))
def test_level_does_not_matter(gain_db: float):
    detector = SpoofDetector(*shipped())
    audio = _voice(4.0)
    louder = audio * np.float32(10 ** (gain_db / 20))
    assert _raws(detector.judge(louder)) == pytest.approx(_raws(detector.judge(audio)), abs=0.05)


@pytest.mark.parametrize(
    ("seconds", "windows"), [(1.0, 1), (3.0, 1), (4.0, 1), (4.5, 2), (10.0, 3), (30.0, 10)]
)
def test_windows_cover_all_of_the_speech(detector: SpoofDetector, seconds: float, windows: int):
    found = detector.judge(_voice(seconds)).windows
    assert found.shape == (windows, 2 + len(VERDICTS) + 1)
    assert found.dtype == np.float32
    starts, ends = found[:, 0], found[:, 1]
    assert (starts[0], ends[-1]) == (0, pytest.approx(seconds))
    assert (starts[1:] < ends[:-1]).all()
    assert (np.diff(starts) > 0).all()
    assert (ends - starts).max() < 4.1


def test_the_last_words_count_too(detector: SpoofDetector):
    audio = _voice(9.1)
    changed = audio.copy()
    changed[-2000:] = 0.05 * np.random.default_rng(2).standard_normal(2000)
    before, after = _raws(detector.judge(audio)), _raws(detector.judge(changed))
    assert all(a != b for a, b in zip(before, after, strict=True))


def test_a_window_gets_the_score_that_its_speech_alone_would_get(detector: SpoofDetector):
    audio = _voice(12.0)
    for start_s, end_s, *scores in detector.judge(audio).windows:
        alone = detector.judge(audio[round(start_s * 8000) : round(end_s * 8000)])
        assert len(alone.windows) == 1
        np.testing.assert_allclose(alone.windows[0, 2:], scores, atol=1e-4)


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
    evidence = detector.judge(audio)
    assert np.isfinite(evidence.windows).all()
    assert np.isfinite(_raws(evidence)).all()


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "speaker"},
        {"front_end": "x"},
        {"window_frames": 0},
        {"window_frames": 1100},  # longer than a block of the evidence
        {"outputs": ("other", "playback")},
    ],
)
def test_a_model_of_another_kind_is_refused(models: list[Model], change: dict[str, Any]):
    model = models[0]
    card = replace(model.card, **change)
    other = Model(card, model.session, model.calibrations, model.path)
    with pytest.raises(ModelInvalid, match=r"needed|must take"):
        SpoofDetector(other)


def test_with_a_memory_the_evidence_is_the_same(detector: SpoofDetector):
    audio, memory = _voice(13.0), {}
    for seconds in (3.0, 5.0, 10.0, 13.0):
        speech = audio[: round(seconds * 8000)]
        remembered = detector.judge(speech, memory)
        fresh = detector.judge(speech)
        # How the network rounds depends on how many windows are run together.
        np.testing.assert_allclose(remembered.windows, fresh.windows, atol=1e-4)


def test_a_window_is_judged_once_in_a_call(models: list[Model]):
    class Counting(SpoofDetector):
        judged = 0

        def _judge(self, features):
            self.judged += len(features)
            return super()._judge(features)

    detector, memory = Counting(*models), {}
    first = detector.judge(_voice(10.0), memory)
    assert detector.judged == len(first.windows)
    again = detector.judge(_voice(10.0), memory)
    assert detector.judged == len(first.windows)
    np.testing.assert_array_equal(again.windows, first.windows)


def test_what_was_looked_at_ahead_is_not_judged_again(models: list[Model]):
    class Counting(SpoofDetector):
        judged = 0

        def _judge(self, features):
            self.judged += len(features)
            return super()._judge(features)

    detector, memory, audio = Counting(*models), {}, _voice(13.0)
    for seconds in (3.0, 4.5, 7.5, 10.5):
        detector.look_ahead(audio[: round(seconds * 8000)], memory)
    assert detector.judged == 3  # those that begin at 0, 3 and 6 s
    evidence = detector.judge(audio, memory)
    assert detector.judged == len(evidence.windows) == 4
    np.testing.assert_allclose(evidence.windows, detector.judge(audio).windows, atol=1e-4)
