"""How the windows of a call become one raw score for each verdict."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import spoof_evidence
from vivavoce.scoring.spoofing import VERDICTS, SpoofEvidence, SpoofReference

WINDOW_S, HOP_S = 4.022, 2.0  # of the shipped detector


def starts_of(seconds):
    """Of windows that cover so much net speech: the last one ends with it."""
    last = max(0.0, seconds - WINDOW_S)
    return [*np.arange(0, last, HOP_S), last]


def heard(seconds, synthetic, playback=0.0, distance=0.0):
    """Evidence of a call; the scores of its windows are given, or told from where they start."""
    starts = np.array(starts_of(seconds))
    ends = np.minimum(starts + WINDOW_S, seconds)
    scores = np.vectorize(synthetic)(starts) if callable(synthetic) else synthetic
    columns = np.broadcast_arrays(starts, ends, scores, playback, distance)
    return SpoofEvidence(np.stack(columns, axis=1).astype(np.float32))


lengths = st.floats(1, 60)
raw_scores = st.floats(-30, 30)
distances = st.floats(0, 5)


@st.composite
def calls(draw):
    seconds = draw(lengths)
    windows = len(starts_of(seconds))
    scores = st.lists(raw_scores, min_size=windows, max_size=windows)
    apart = st.lists(distances, min_size=windows, max_size=windows)
    return heard(seconds, draw(scores), draw(scores), draw(apart))


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
    raised = SpoofEvidence(evidence.windows + np.array([0, 0, more, 0, 0], np.float32))
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
    assert len(stored) == 20 * len(evidence.windows)
    again = SpoofEvidence.from_bytes(stored)
    np.testing.assert_array_equal(again.windows, evidence.windows)
    assert again.windows.dtype == np.float32
    assert [again.raw(verdict) for verdict in VERDICTS] == [
        evidence.raw(verdict) for verdict in VERDICTS
    ]
    assert again.certainty == evidence.certainty


def test_scores_beyond_all_measure_stay_finite():
    for score in (-1e6, 1e6):
        assert spoof_evidence(score, windows=14).raw("synthetic") == pytest.approx(score)


@pytest.mark.parametrize(
    ("distance", "certainty"),
    [(0.0, 1.0), (1.0, 1.0), (1.25, 0.75), (2.0, 0.0), (9.0, 0.0), ([0.5, 2.5], 0.5)],
)
def test_evidence_is_certain_up_to_the_edge_of_the_training_and_worth_nothing_far_beyond_it(
    distance, certainty
):
    evidence = spoof_evidence(distance=distance, windows=2)
    assert evidence.certainty == pytest.approx(certainty)


@given(calls(), st.floats(0, 3))
def test_the_certainty_falls_with_the_distance_of_any_window_and_of_nothing_else(evidence, more):
    assert 0 <= evidence.certainty <= 1
    further, changed = evidence.windows.copy(), evidence.windows.copy()
    further[-1, 4] += more
    changed[:, 2:4] += more
    assert SpoofEvidence(further).certainty <= evidence.certainty
    assert SpoofEvidence(changed).certainty == evidence.certainty


@pytest.mark.parametrize("strange", [-20.0, 20.0])
def test_a_stretch_of_strange_audio_neither_excuses_nor_accuses_what_else_was_said(strange):
    usual = [3.0] * 5
    evidence = spoof_evidence([strange] * 9 + usual, distance=[5.0] * 9 + [0.0] * 5, windows=14)
    assert evidence.certainty == 1.0
    assert evidence.raw("synthetic") == pytest.approx(3.0)


def test_a_window_weighs_as_much_as_it_can_be_believed():
    evidence = spoof_evidence([1.0, 4.0], distance=[0.0, 1.5], windows=2)
    assert evidence.raw("synthetic") == pytest.approx((1.0 + 0.5 * 4.0) / 1.5)


def test_a_reference_is_the_plain_mean_of_each_verdict_over_all_windows():
    evidence = spoof_evidence([0, 0, 0, 0, 6, 6], [1, 1, 1, 1, 1, 4], windows=6)
    reference = SpoofReference.of(evidence, model="spoof@1")
    assert reference == SpoofReference(model="spoof@1", raw={"synthetic": 2.0, "playback": 1.5})
