import dataclasses

import numpy as np
import pytest

from training.speaker import voiceprints
from training.speaker.voiceprints import Corpus, Voiceprints, all_pairs, trials

RATE_HZ = 8000
SPEAKERS = ("ocean/a", "ocean/b", "ocean/c", "libri/d")


def prints(seed):
    """a and b are enrolled twice and tested twice; c is tested only."""
    rng = np.random.default_rng(seed)
    tested, turn = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 1, -1])
    return Voiceprints(
        enrolled=np.array([0, 0, 1, 1]),
        turn=np.array([0, 1, 0, 1]),
        enrolment_s=np.full(4, 30.0),
        enrolments=rng.standard_normal((4, 3)).astype(np.float32),
        tested={10: tested},
        test_turn={10: turn},
        tests={10: rng.standard_normal((5, 3)).astype(np.float32)},
    )


@pytest.fixture
def corpus():
    return Corpus(
        speakers=SPEAKERS,
        by_codec={"pcm": prints(0), "gsm": prints(1)},
        data_sha256="00" * 32,
        model="test",
        model_sha256="00" * 32,
    )


def test_nobody_is_tested_on_clips_of_the_own_enrolment(corpus):
    found = trials(corpus, seconds=10, pairs=[("pcm", "pcm")])
    # Each of four enrolments: one disjoint test of the same speaker, three of others.
    assert np.count_nonzero(found.is_target) == 4
    assert np.count_nonzero(~found.is_target) == 12
    assert np.array_equal(found.is_target, found.enrolled == found.tested)


def test_impostors_come_from_the_same_corpus(corpus):
    apart = dataclasses.replace(corpus, speakers=("ocean/a", "ocean/b", "libri/c", "libri/d"))
    found = trials(apart, seconds=10, pairs=[("pcm", "pcm")])
    assert set(found.tested.tolist()) == {0, 1}
    assert np.count_nonzero(~found.is_target) == 8


def test_a_score_is_the_product_of_the_two_voiceprints_named(corpus):
    found = trials(corpus, seconds=10, pairs=[("pcm", "gsm")])
    left, right = corpus.by_codec["pcm"], corpus.by_codec["gsm"]
    assert found.scores[0] == pytest.approx(
        float(left.enrolments[0] @ right.tests[10][0]), abs=1e-5
    )


def test_only_those_who_take_part_are_compared(corpus):
    found = trials(
        corpus,
        seconds=10,
        pairs=all_pairs(corpus.by_codec),
        who=np.array([True, False, True, True]),
    )
    assert set(found.enrolled.tolist()) == {0}
    assert set(found.tested.tolist()) == {0, 2}


def test_the_halves_share_no_speaker_and_leave_none_out(corpus):
    assert (corpus.is_in(0) ^ corpus.is_in(1)).all()


def clip(value, seconds):
    return np.full(round(seconds * RATE_HZ), value, np.int16)


def test_enrolment_and_test_of_a_turn_share_no_clip():
    spoken = [clip(number, 6) for number in range(8)]
    splits = voiceprints._splits(spoken)
    assert [turn for turn, _, _ in splits] == [0, 1]
    for _, enrolment, test in splits:
        assert enrolment is not None
        assert not set(enrolment.tolist()) & set(test.tolist())
        assert len(enrolment) == 30 * RATE_HZ
        assert len(test) == 12 * RATE_HZ
    assert set(splits[0][2].tolist()) == {0, 1}
    assert set(splits[1][2].tolist()) == {7, 6}


def test_a_speaker_with_little_speech_is_tested_only():
    for _, enrolment, test in voiceprints._splits([clip(number, 6) for number in range(3)]):
        assert enrolment is None
        assert len(test) == 12 * RATE_HZ


def test_a_speaker_with_one_clip_is_an_impostor_for_everybody():
    ((turn, enrolment, test),) = voiceprints._splits([clip(1, 4)])
    assert turn == -1
    assert enrolment is None
    assert len(test) == 4 * RATE_HZ
