"""What `vivavoce score` says of a recording; with its models it is a matter of tests/acceptance."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.fakes import LoudDetector, silence, spoof_evidence, straight_judge, voice
from vivavoce.cli.score import judge_recording
from vivavoce.errors import AudioError
from vivavoce.scoring.spoofing import SpoofEvidence


def finding(evidence: SpoofEvidence | None) -> Any:
    """Models that find the same in all speech."""
    return SimpleNamespace(
        new_detector=LoudDetector, judge=straight_judge(), spoof_evidence=lambda speech: evidence
    )


@pytest.fixture
def write_wav(tmp_path):
    def write(samples):
        path = tmp_path / "call.wav"
        soundfile.write(path, samples, 8000)
        return path

    return write


UNJUDGED = {"llr": None, "risk": None}


def test_a_recording_gets_both_verdicts_and_what_they_mean_together(write_wav):
    path = write_wav(np.concatenate([silence(1), voice(3, 6), silence(1)]))
    row = judge_recording(path, finding(spoof_evidence(0.6, 0.125)), channel=None)
    assert list(row) == ["file", "net_speech_s", "quality", "spoof"]
    assert row["file"] == str(path)
    assert row["net_speech_s"] == pytest.approx(6, abs=0.5)
    assert row["spoof"] == {
        "llr": pytest.approx(0.3155, abs=1e-3),
        "risk": 52,
        "synthetic": {"llr": 1.0, "risk": 60},
        "playback": {"llr": -3.75, "risk": 12},
    }
    assert json.loads(json.dumps(row, allow_nan=False)) == row


def test_too_little_speech_is_not_judged(write_wav):
    path = write_wav(np.concatenate([voice(3, 2), silence(3)]))
    row = judge_recording(path, finding(spoof_evidence(9.0)), channel=None)
    assert row["spoof"] == {**UNJUDGED, "synthetic": UNJUDGED, "playback": UNJUDGED}


def test_speech_that_the_detector_cannot_judge_is_not_judged(write_wav):
    row = judge_recording(write_wav(voice(3, 6)), finding(None), channel=None)
    assert row["spoof"] == {**UNJUDGED, "synthetic": UNJUDGED, "playback": UNJUDGED}


def test_audio_that_is_nothing_like_the_training_is_unfamiliar_and_not_judged(write_wav):
    path = write_wav(np.concatenate([silence(1), voice(3, 6), silence(1)]))
    row = judge_recording(path, finding(spoof_evidence(9.0, distance=2.5)), channel=None)
    assert row["quality"] == "UNFAMILIAR"
    assert row["spoof"] == {**UNJUDGED, "synthetic": UNJUDGED, "playback": UNJUDGED}
    row = judge_recording(path, finding(spoof_evidence(0.75, distance=1.4)), channel=None)
    assert row["quality"] == "GOOD"
    assert row["spoof"]["synthetic"] == {"llr": pytest.approx(1.5, abs=1e-3), "risk": 45}


def test_a_recording_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(AudioError):
        judge_recording(tmp_path / "missing.wav", finding(None), channel=None)
