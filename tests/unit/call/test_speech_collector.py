import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes import LoudDetector, ScriptedDetector, cut, silence, voice
from vivavoce.audio.arrays import CALL_RATE_HZ
from vivavoce.call.speech import (
    FRAME_SAMPLES,
    Speech,
    SpeechCollector,
    collect_net_speech,
    joined,
)
from vivavoce.models.vad import SpeechDetector


def frames(count):
    """Audio in which every frame can be told from every other."""
    return np.arange(count * FRAME_SAMPLES, dtype=np.int16)


def collect(detector, pieces, *, gaps=()):
    """Push pieces, a gap of some samples before those whose index is a key of `gaps`."""
    collector = SpeechCollector(detector)
    found = []
    for index, piece in enumerate(pieces):
        if index in dict(gaps):
            found += collector.gap(dict(gaps)[index])
        found += collector.push(piece)
    return [*found, *collector.finish()]


def whole(found):
    return np.concatenate([speech.samples for speech in found] or [silence(0)])


def heard(probabilities):
    """Which frames are speech, of a call on which the detector says this."""
    found = collect(ScriptedDetector(probabilities), [frames(len(probabilities))])
    for speech in found:
        np.testing.assert_array_equal(
            speech.samples, np.arange(speech.start, speech.end, dtype=np.int16)
        )
    return [
        index
        for speech in found
        for index in range(speech.start // FRAME_SAMPLES, speech.end // FRAME_SAMPLES)
    ]


@settings(max_examples=40, deadline=None)
@given(
    script=st.lists(st.sampled_from([0.0, 0.3, 0.4, 0.6, 1.0]), min_size=1, max_size=40),
    tail=st.integers(0, FRAME_SAMPLES - 1),
    gap_at=st.integers(0, 40),
    cuts=st.lists(st.integers(0, 40 * FRAME_SAMPLES), max_size=12),
)
def test_any_chunking_gives_the_same_speech(script, tail, gap_at, cuts):
    audio = np.concatenate([frames(len(script)), np.full(tail, 7, np.int16)])
    split = min(gap_at * FRAME_SAMPLES, len(audio))
    before, after = audio[:split], audio[split:]
    first = cut(before, cuts)
    whole_call = collect(ScriptedDetector(script), [before, after], gaps={1: 1000})
    in_pieces = collect(
        ScriptedDetector(script), [*first, *cut(after, cuts)], gaps={len(first): 1000}
    )
    assert [(s.start, s.end) for s in in_pieces] == [(s.start, s.end) for s in whole_call]
    np.testing.assert_array_equal(whole(in_pieces), whole(whole_call))


def speech_like():
    """A gliding pitch through the formants of one vowel, with breaks and noise."""
    instants = np.arange(2 * CALL_RATE_HZ) / CALL_RATE_HZ
    phase = 2 * np.pi * np.cumsum(120 * (1 + 0.1 * np.sin(4 * np.pi * instants))) / CALL_RATE_HZ
    vowel = np.zeros_like(instants)
    for harmonic in range(1, 30):
        for formant_hz, share in ((500, 1), (1500, 0.6), (2500, 0.3)):
            off = (120 * harmonic - formant_hz) / 100
            vowel += share / (1 + off**2) * np.sin(harmonic * phase)
    spoken = vowel * np.clip(0.6 + 0.6 * np.sin(8 * np.pi * instants), 0, 1)
    spoken *= 12000 / np.abs(spoken).max()
    noise = np.random.default_rng(3).normal(0, 300, CALL_RATE_HZ)
    return np.concatenate([silence(0.3), spoken, noise, spoken]).astype(np.int16)


@pytest.mark.parametrize("step", [7, 160, 4096])
def test_with_the_real_detector_too(step):
    audio = speech_like()
    expected = collect(SpeechDetector(), [audio])
    got = collect(SpeechDetector(), cut(audio, range(step, len(audio), step)))
    assert [(s.start, s.end) for s in got] == [(s.start, s.end) for s in expected]
    np.testing.assert_array_equal(whole(got), whole(expected))
    assert 0 < len(whole(expected)) < len(audio)


def test_a_burst_of_less_than_three_frames_is_not_speech():
    assert heard([0, 1, 1, 0, 0, 1, 0, 0]) == []


def test_a_burst_of_three_frames_is_speech_from_its_first():
    assert heard([0, 1, 1, 1, 0, 0, 0, 0, 0]) == [1, 2, 3]


def test_speech_goes_on_over_a_pause_of_four_frames():
    assert heard([1, 1, 1, 0, 0, 0, 0, 1, 0]) == [0, 1, 2, 3, 4, 5, 6, 7]


def test_a_fifth_frame_of_pause_ends_it_and_a_single_frame_does_not_resume_it():
    assert heard([1, 1, 1, 0, 0, 0, 0, 0, 1, 0, 1, 1, 1]) == [0, 1, 2, 10, 11, 12]


def test_speech_begins_at_the_onset_and_goes_on_above_the_offset():
    assert heard([0.49, 0.5, 0.5, 0.5, 0.35, 0.34, 0.34]) == [1, 2, 3, 4]


def test_positions_count_what_was_lost():
    found = collect(ScriptedDetector([1] * 8), [frames(4), frames(4)], gaps={1: 12345})
    after = 4 * FRAME_SAMPLES + 12345
    assert (found[0].start, found[-1].end) == (0, after + 4 * FRAME_SAMPLES)
    assert after in [speech.start for speech in found]


def test_speech_does_not_go_on_across_a_gap():
    detector = ScriptedDetector([1, 1, 1, 1, 1, 1, 0, 0])
    found = collect(detector, [frames(4), frames(4)], gaps={1: 1})
    assert len(whole(found)) == 4 * FRAME_SAMPLES  # two loud frames after the gap are a burst
    assert detector.resets == 1


def test_less_than_a_frame_before_a_gap_is_not_counted():
    detector = ScriptedDetector([1] * 7)
    found = collect(detector, [frames(4)[:-1], frames(4)], gaps={1: 0})
    assert len(whole(found)) == 7 * FRAME_SAMPLES


def test_a_whole_recording_is_heard_as_a_call_is():
    audio = np.concatenate([silence(1.024), voice(3, 2.048), silence(1)])
    speech = collect_net_speech(audio, LoudDetector())
    assert abs(len(speech) - 2.048 * CALL_RATE_HZ) <= 2 * FRAME_SAMPLES
    assert len(collect_net_speech(silence(1), LoudDetector())) == 0
    assert len(collect_net_speech(silence(0), LoudDetector())) == 0


def test_neighbours_are_joined_and_nothing_else():
    parts = [
        Speech(start=start, samples=np.arange(start, start + 2, dtype=np.int16))
        for start in (0, 2, 4, 7, 9, 20)
    ]
    assert [(speech.start, speech.end) for speech in joined(parts)] == [(0, 6), (7, 11), (20, 22)]
    np.testing.assert_array_equal(whole(joined(parts)), whole(parts))
    assert joined([]) == []
