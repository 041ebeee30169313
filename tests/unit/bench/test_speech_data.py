import numpy as np
import pytest
import soundfile

from bench import speech_data
from bench.speech_data import SpeechDataAbsent, find_speech, hash_of, read_clips

HEADER = "file,label,set,system,speaker,seconds,language,age,pair,licence\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "clips.csv").write_text(
        HEADER
        + "b.flac,bonafide,readers,,r1,4.0,en,,,CC\na.flac,synthetic,demo,tts,,4.0,en,,,MIT\n"
    )
    for seed, name in enumerate(("a.flac", "b.flac")):
        noise = np.random.default_rng(seed).integers(-99, 99, 800).astype(np.int16)
        soundfile.write(tmp_path / name, noise, 8000)
    monkeypatch.setenv(speech_data.VARIABLE, str(tmp_path))
    return tmp_path


def test_the_folder_named_by_the_environment_is_read(folder):
    clips = read_clips(find_speech())
    assert [clip.label for clip in clips] == ["bonafide", "synthetic"]
    assert clips[0].speaker == "r1"
    assert clips[0].read().shape == (800,)


def test_an_absent_folder_says_how_to_name_one(tmp_path, monkeypatch):
    monkeypatch.setenv(speech_data.VARIABLE, str(tmp_path))
    with pytest.raises(SpeechDataAbsent, match=speech_data.VARIABLE):
        find_speech()


def test_the_version_is_that_of_the_contents_and_not_of_the_order(folder):
    clips = read_clips(folder)
    before = hash_of(clips)
    assert hash_of(clips[::-1]) == before
    soundfile.write(folder / "a.flac", np.zeros(800, np.int16), 8000)
    assert hash_of(clips) != before


def test_a_clip_of_another_rate_is_refused(folder):
    soundfile.write(folder / "b.flac", np.zeros(800, np.int16), 16000)
    with pytest.raises(ValueError, match="not mono at 8000 Hz"):
        read_clips(folder)[0].read()
