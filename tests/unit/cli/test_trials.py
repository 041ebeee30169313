import hashlib
import json

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner

from vivavoce.cli.trials import (
    Comparer,
    Result,
    accuracy_of,
    net_speech,
    read_trials,
    report,
    trials,
)
from vivavoce.errors import (
    AudioError,
    InvalidRequest,
    ModelInvalid,
    ModelMissing,
    NotEnoughSpeech,
)
from vivavoce.scoring.calibration import Calibration, Condition

RATE_HZ = 8000


class HearsAll:
    """Takes every frame that is not silent for speech."""

    def probabilities(self, frames):
        return [1.0 if np.abs(frame).max() > 100 else 0.0 for frame in frames]

    def reset(self):
        pass


class Loudness:
    """A voice is told by its level: the angle of its vector."""

    def __init__(self):
        self.heard_s = []

    def embed(self, audio, rate_hz):
        self.heard_s.append(len(audio) / rate_hz)
        angle = np.abs(audio).mean()
        return np.array([np.cos(angle), np.sin(angle)], np.float32)


CALIBRATION = Calibration(
    model="loudness",
    model_sha256="00" * 32,
    conditions=(
        Condition(
            seconds=3, slope=10, offset=-9, tail_raw=(0.5, 0.9, 1.0), tail_log10_p=(-0.1, -1, -2)
        ),
    ),
)


def speak(path, level, seconds=3.0):
    rng = np.random.default_rng(round(level * 1000))
    noise = rng.uniform(-1, 1, round(seconds * RATE_HZ)) * level * 32767
    soundfile.write(path, noise.astype(np.int16), RATE_HZ)
    return str(path)


def table(tmp_path, text):
    path = tmp_path / "trials.csv"
    path.write_text(text)
    return path


@pytest.fixture
def encoder():
    return Loudness()


@pytest.fixture
def comparer(encoder, tmp_path):
    return Comparer(encoder, CALIBRATION, HearsAll, beside=tmp_path)


def one(tmp_path, text):
    (trial,) = read_trials(table(tmp_path, text))
    return trial


def test_a_row_is_compared_and_gets_its_meaning(comparer, tmp_path):
    speak(tmp_path / "a.wav", 0.2)
    speak(tmp_path / "b.wav", 0.9)
    same = comparer.compare(one(tmp_path, "enrol,test\na.wav,a.wav\n"))
    other = comparer.compare(one(tmp_path, "enrol,test\na.wav,b.wav\n"))
    assert same.raw == pytest.approx(1)
    assert same.llr == pytest.approx(10 * same.raw - 9)
    assert same.score == 80
    assert other.raw < same.raw


def test_an_enrolment_may_have_several_recordings_and_is_heard_once(comparer, encoder, tmp_path):
    for name in ("a", "b", "c", "d"):
        speak(tmp_path / f"{name}.wav", 0.3, seconds=2.048)
    rows = list(read_trials(table(tmp_path, "enrol,test\na.wav; b.wav,c.wav\na.wav;b.wav,d.wav\n")))
    for row in rows:
        comparer.compare(row)
    assert encoder.heard_s == pytest.approx([4.096, 2.048, 2.048])


def test_seconds_limit_the_net_speech_of_the_test(comparer, encoder, tmp_path):
    speak(tmp_path / "a.wav", 0.3, seconds=6)
    comparer.compare(one(tmp_path, "enrol,test,seconds\na.wav,a.wav,2.5\n"))
    assert encoder.heard_s[1] == 2.5
    assert encoder.heard_s[0] > 5


def test_asking_for_more_speech_than_there_is_uses_what_there_is(comparer, encoder, tmp_path):
    speak(tmp_path / "a.wav", 0.3, seconds=3)
    comparer.compare(one(tmp_path, "enrol,test,seconds\na.wav,a.wav,60\n"))
    assert 2.5 < encoder.heard_s[1] <= 3


def test_silence_cannot_be_judged(comparer, tmp_path):
    speak(tmp_path / "a.wav", 0.3)
    speak(tmp_path / "silence.wav", 0.0)
    with pytest.raises(NotEnoughSpeech):
        comparer.compare(one(tmp_path, "enrol,test\na.wav,silence.wav\n"))


def test_a_file_that_failed_fails_again_without_being_read_again(comparer, tmp_path):
    speak(tmp_path / "a.wav", 0.3)
    trial = one(tmp_path, "enrol,test\nabsent.wav,a.wav\n")
    with pytest.raises(AudioError, match="does not exist"):
        comparer.compare(trial)
    speak(tmp_path / "absent.wav", 0.3)
    with pytest.raises(AudioError, match="does not exist"):
        comparer.compare(trial)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (",b.wav,,", "enrol is empty"),
        (" ; ,b.wav,,", "enrol is empty"),
        ("a.wav,,,", "test is empty"),
        ("a.wav", "test is empty"),
        ("a.wav,b.wav,fast,", "seconds is 'fast'"),
        ("a.wav,b.wav,-3,", "seconds is '-3'"),
        ("a.wav,b.wav,nan,", "seconds is 'nan'"),
        ("a.wav,b.wav,,maybe", "label is 'maybe'"),
        ("a.wav,b.wav,3,1,more", "more cells than columns"),
    ],
)
def test_a_malformed_row_says_what_is_wrong_with_it(tmp_path, comparer, row, problem):
    trial = one(tmp_path, f"enrol,test,seconds,label\n{row}\n")
    assert problem in trial.problem
    with pytest.raises(InvalidRequest, match=problem.split()[0]):
        comparer.compare(trial)


@pytest.mark.parametrize(
    ("written", "label"),
    [("1", True), ("Target", True), ("same", True), ("TRUE", True), ("0", False),
     ("impostor", False), ("different", False), ("false", False), ("", None)],
)  # fmt: skip
def test_labels_are_read_as_people_write_them(tmp_path, written, label):
    trial = one(tmp_path, f"label, enrol, test\n{written},a.wav,b.wav\n")
    assert trial.label is label
    assert not trial.problem


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no column enrol and test"),
        (b"enrol,tset\na,b\n", "no column test"),
        (b"enrol,test\n", "has no rows"),
        (b"\xff\xfe\x00\x01", "cannot be read as a table"),
    ],
)
def test_what_is_no_table_of_trials_is_one_clear_line(tmp_path, content, said):
    path = tmp_path / "trials.csv"
    path.write_bytes(content)
    with pytest.raises(InvalidRequest, match=said):
        list(read_trials(path))
    with pytest.raises(InvalidRequest, match="cannot be read"):
        list(read_trials(tmp_path / "absent.csv"))


def test_net_speech_is_read_only_as_far_as_needed(tmp_path):
    path = tmp_path / "long.wav"
    speak(path, 0.5, seconds=60)
    detector = HearsAll()
    judged = []
    detector.probabilities = lambda frames: judged.extend(frames) or [1.0] * len(frames)
    speech = net_speech(path, detector, limit_s=2)
    assert len(speech) == 2 * RATE_HZ
    assert len(judged) < 10 * RATE_HZ / 256


def results(tmp_path, rows):
    lines = "".join(f"e{i},t{i},{label}\n" for i, (_, label) in enumerate(rows))
    trials = read_trials(table(tmp_path, f"enrol,test,label\n{lines}"))
    return [
        Result(trial=trial, raw=raw, llr=raw, score=None)
        for trial, (raw, _) in zip(trials, rows, strict=True)
    ]


def test_error_rates_count_labelled_rows_that_could_be_judged(tmp_path):
    accuracy = accuracy_of(
        results(tmp_path, [(0.9, 1), (0.2, 1), (0.1, 0), (0.4, 0), (None, 1), (0.99, "")])
    )
    assert accuracy is not None
    assert (accuracy.targets, accuracy.nontargets) == (2, 2)
    assert accuracy.eer.value == 0.5
    assert accuracy.frr_at == {0.01: None, 0.001: None}


@pytest.mark.parametrize("rows", [[(0.9, 1)], [(0.1, 0)], [(0.5, "")], [(None, 1), (0.2, 0)]])
def test_without_both_labels_there_are_no_error_rates(tmp_path, rows):
    assert accuracy_of(results(tmp_path, rows)) is None


def test_every_row_gets_its_line_even_when_one_is_bad(comparer, tmp_path, capsys):
    a, b = speak(tmp_path / "a.wav", 0.2), speak(tmp_path / "b.wav", 0.9)
    path = table(
        tmp_path, f"enrol,test,label\n{a},{a},1\n{a},absent.wav,1\n{a},{b},0\n{a},{b},huh\n"
    )
    assert not report(list(read_trials(path)), comparer, jsonl=True)
    said = capsys.readouterr()
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert [row["raw"] is None for row in rows] == [False, True, False, True]
    assert rows[0] == {
        "enrol": a, "test": a, "label": 1, "raw": 1.0, "llr": 1.0, "score": 80,
    }  # fmt: skip
    assert "row 3: " in said.err
    assert "row 5: label is 'huh'" in said.err


def test_silence_is_a_result_and_no_failure(comparer, tmp_path, capsys):
    a, silence = speak(tmp_path / "a.wav", 0.2), speak(tmp_path / "s.wav", 0.0)
    path = table(tmp_path, f"enrol,test\n{a},{silence}\n")
    assert report(list(read_trials(path)), comparer, jsonl=True)
    said = capsys.readouterr()
    assert json.loads(said.out)["score"] is None
    assert "net speech" in said.err


def test_for_people_a_table_and_the_error_rates_are_printed(comparer, tmp_path, capsys):
    a, b = speak(tmp_path / "a.wav", 0.2), speak(tmp_path / "b.wav", 0.9)
    path = table(tmp_path, f"enrol,test,label\n{a},{a},same\n{a},{b},different\n")
    assert report(list(read_trials(path)), comparer, jsonl=False)
    said = capsys.readouterr()
    assert "EER 0.00 %" in said.out
    assert "needs 1000 trials" in said.out


def run_command(*arguments):
    app = typer.Typer()
    app.command()(trials)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_without_the_model_the_command_says_how_to_get_it(tmp_path):
    done = run_command(table(tmp_path, "enrol,test\na,b\n"), "--models-dir", tmp_path / "none")
    assert isinstance(done.exception, ModelMissing)
    assert "vivavoce models pull" in str(done.exception)


def test_a_model_without_calibration_is_refused(tmp_path, network):
    card = {
        "format": "vivavoce-card/1", "name": "tiny", "kind": "speaker", "rate_hz": 16000,
        "front_end": "kaldi-fbank80", "bands": 80, "dimension": 12, "source": "made by a test",
        "licence": "Apache-2.0",
    }  # fmt: skip
    content, _ = network(80, 12, {})
    (tmp_path / "tiny.onnx").write_bytes(content)
    card["sha256"] = hashlib.sha256(content).hexdigest()
    (tmp_path / "tiny.card.json").write_text(json.dumps(card))
    path = table(tmp_path, "enrol,test\na,b\n")
    done = run_command(path, "--models-dir", tmp_path, "--speaker-model", "tiny")
    assert isinstance(done.exception, ModelInvalid)
    assert "no calibration" in str(done.exception)
