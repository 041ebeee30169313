import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes import straight_calibration
from vivavoce.scoring.voices import (
    LEAST_WINDOWS,
    VoicesFound,
    find_voices,
    greatest_unlikeness,
)

DIMENSION = 64


def speaker(seed):
    vector = np.abs(np.random.default_rng(seed).standard_normal(DIMENSION))
    return vector / np.linalg.norm(vector)


def windows(*turns, seed=0, scatter=0.05):
    """Windows of speakers who take turns: (speaker, how many) each."""
    rng = np.random.default_rng(seed)
    means = np.concatenate([np.tile(speaker(who), (count, 1)) for who, count in turns])
    heard = means + scatter * rng.standard_normal(means.shape)
    return (heard / np.linalg.norm(heard, axis=1, keepdims=True)).astype(np.float32)


ALONE = greatest_unlikeness(windows((1, 38)))


@pytest.mark.parametrize(
    "turns",
    [
        [(1, 34), (2, 4)],
        [(2, 4), (1, 34)],
        [(1, 10), (2, 4), (1, 24)],
        [(1, 19), (2, 19)],
        [(1, 9), (2, 3)],
        [(1, 6), (2, 3), (1, 8), (2, 3), (1, 9), (2, 4), (1, 5)],
    ],
)
def test_two_voices_are_unlike_however_they_take_turns(turns):
    assert greatest_unlikeness(windows(*turns)) > 3 * ALONE


def test_the_less_alike_two_voices_are_the_more_unlike_their_call_is():
    unlikeness = {
        other: greatest_unlikeness(windows((1, 20), (other, 18), scatter=0))
        for other in range(2, 12)
    }
    cosines = {other: float(speaker(1) @ speaker(other)) for other in unlikeness}
    assert sorted(unlikeness, key=unlikeness.__getitem__) == sorted(
        cosines, key=cosines.__getitem__, reverse=True
    )


def test_one_window_of_another_sound_is_no_voice():
    assert greatest_unlikeness(windows((1, 20), (2, 1), (1, 17))) < greatest_unlikeness(
        windows((1, 20), (2, LEAST_WINDOWS), (1, 15))
    )
    assert greatest_unlikeness(windows((1, 20), (2, 1), (1, 17))) < 3 * ALONE


def test_windows_that_are_all_alike_are_of_one_voice():
    assert greatest_unlikeness(np.tile(windows((1, 1)), (20, 1))) == pytest.approx(0, abs=1e-9)
    assert greatest_unlikeness(np.zeros((20, DIMENSION), np.float32)) == 1.0


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(1, 12), min_size=1, max_size=6).filter(lambda c: sum(c) >= 6),
    seed=st.integers(0, 99),
)
def test_unlikeness_is_the_same_backwards_and_never_out_of_range(counts, seed):
    heard = windows(*((turn % 2, count) for turn, count in enumerate(counts)), seed=seed)
    unlikeness = greatest_unlikeness(heard)
    assert 0 <= unlikeness <= 2
    assert greatest_unlikeness(heard[::-1]) == pytest.approx(unlikeness, abs=1e-6)


def test_the_calibration_says_what_it_means():
    calibration = straight_calibration()  # log10_p is -4 times the raw score
    one = find_voices(windows((1, 38)), calibration, seconds=30)
    two = find_voices(windows((1, 20), (2, 18), scatter=0), calibration, seconds=30)
    assert one is not None
    assert two is not None
    assert one.raw == pytest.approx(ALONE)
    assert one.log10_p == pytest.approx(-4 * ALONE)
    assert one.llr == pytest.approx(10 * ALONE - 5)
    assert not one.are_two
    assert two.raw > one.raw
    assert two.are_two == (two.raw >= 0.5)


@pytest.mark.parametrize(("log10_p", "two"), [(-2.2, False), (-2.3, True), (-2.4, True)])
def test_two_voices_are_what_one_call_of_two_hundred_is_by_chance(log10_p, two):
    assert VoicesFound(raw=0.5, llr=0.0, log10_p=log10_p).are_two == two


def test_what_cannot_be_judged_is_not():
    calibration = straight_calibration()
    heard = windows((1, 20), (2, 18))
    assert find_voices(heard, None, seconds=30) is None
    assert find_voices(heard, calibration, seconds=9.9) is None
    assert find_voices(heard[: 2 * LEAST_WINDOWS - 1], calibration, seconds=10) is None
    assert find_voices(heard[:1], calibration, seconds=30) is None
