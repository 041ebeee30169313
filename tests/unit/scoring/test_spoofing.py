"""How the windows of a call become one raw score for each verdict."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import spoof_evidence
from vivavoce.scoring.spoofing import VERDICTS, SpoofEvidence

WINDOW_S, HOP_S = 4.022, 2.0  # of the shipped detector


def starts_of(seconds):
    """Of windows that cover so much net speech: the last one ends with it."""
    last = max(0.0, seconds - WINDOW_S)
    return [*np.arange(0, last, HOP_S), last]


def heard(seconds, synthetic, playback=0.0):
    """Evidence of a call; the scores of its windows are given, or told from where they start."""
    starts = np.array(starts_of(seconds))
    ends = np.minimum(starts + WINDOW_S, seconds)
    scores = np.vectorize(synthetic)(starts) if callable(synthetic) else synthetic
    columns = np.broadcast_arrays(starts, ends, scores, playback)
    return SpoofEvidence(np.stack(columns, axis=1).astype(np.float32))


lengths = st.floats(1, 60)
raw_scores = st.floats(-30, 30)


@st.composite
def calls(draw):
    seconds = draw(lengths)
    windows = len(starts_of(seconds))
    scores = st.lists(raw_scores, min_size=windows, max_size=windows)
    return heard(seconds, draw(scores), draw(scores))


@pytest.mark.parametrize("seconds", [1.0, 4.5, 7.9, 10.0])
def test_a_call_of_one_block_has_the_mean_of_its_windows(seconds):
    scores = np.arange(len(starts_of(seconds)))
    assert heard(seconds, scores).raw("synthetic") == pytest.approx(scores.mean())


def test_a_longer_call_has_the_log_of_the_mean_of_exponentials_of_its_blocks():
    # Windows begin at 0, 2, 4, 6, 8 and 9.978 s; blocks at 0, 2 and 4 s hold four of them each.
    evidence = heard(14.0, [0, 0, 0, 0, 6, 6])
    means = [0.0, 1.5, 3.0]
    expected = math.log(np.mean(np.exp(means)))
    assert evidence.raw("synthetic") == pytest.approx(expected, abs=1e-5)


def test_a_voice_that_turns_synthetic_after_20_s_scores_higher_than_its_mean():
    changed = heard(30.0, lambda start: 4.0 if start >= 20 else -4.0)
    genuine = heard(30.0, lambda start: -4.0)
    mean = float(changed.windows[:, 2].mean())
    assert mean < 0
    assert changed.raw("synthetic") > mean + 2
    assert changed.raw("synthetic") > genuine.raw("synthetic") + 5


def test_one_block_in_doubt_does_not_outweigh_a_sound_call():
    doubtful = heard(30.0, lambda start: 0.5 if start < 6 else -3.0)
    assert doubtful.raw("synthetic") < -1


@given(calls(), st.sampled_from(VERDICTS))
def test_the_raw_score_lies_between_the_mean_of_the_blocks_and_the_highest_window(
    evidence, verdict
):
    scores = evidence.windows[:, 2 + VERDICTS.index(verdict)]
    assert scores.min() - 1e-4 <= evidence.raw(verdict) <= scores.max() + 1e-4


@given(calls(), st.floats(-10, 10))
def test_more_evidence_everywhere_is_that_much_more_in_all(evidence, more):
    raised = SpoofEvidence(evidence.windows + np.array([0, 0, more, 0], np.float32))
    assert raised.raw("synthetic") == pytest.approx(evidence.raw("synthetic") + more, abs=1e-3)
    assert raised.raw("playback") == evidence.raw("playback")


@given(lengths, st.data())
def test_every_window_counts(seconds, data):
    scores = np.zeros(len(starts_of(seconds)))
    plain = heard(seconds, scores)
    scores[data.draw(st.integers(0, len(scores) - 1))] = 5.0
    raised = heard(seconds, scores)
    assert raised.raw("synthetic") > plain.raw("synthetic")


@given(calls())
def test_stored_evidence_comes_back_bit_for_bit(evidence):
    stored = evidence.to_bytes()
    assert len(stored) == 16 * len(evidence.windows)
    again = SpoofEvidence.from_bytes(stored)
    np.testing.assert_array_equal(again.windows, evidence.windows)
    assert again.windows.dtype == np.float32
    assert [again.raw(verdict) for verdict in VERDICTS] == [
        evidence.raw(verdict) for verdict in VERDICTS
    ]


def test_scores_beyond_all_measure_stay_finite():
    for score in (-1e6, 1e6):
        assert spoof_evidence(score, windows=14).raw("synthetic") == pytest.approx(score)
