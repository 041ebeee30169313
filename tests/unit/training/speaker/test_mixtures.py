import numpy as np
import pytest

from training.speaker import mixtures
from training.speaker.mixtures import STYLES, Call
from vivavoce.audio.arrays import CALL_RATE_HZ

S = CALL_RATE_HZ
FIRST, SECOND = np.full(40 * S, 1000, np.int16), np.full(40 * S, 2000, np.int16)


def mixed(style, *, seconds=30, second_s=5, level_db=0):
    call = Call(
        codec="mulaw",
        seconds=seconds,
        first="libri/a",
        second="libri/b",
        second_s=second_s,
        style=style,
        level_db=level_db,
    )
    return mixtures._mixed(call, FIRST, SECOND, np.random.default_rng(1))


@pytest.mark.parametrize("style", STYLES)
def test_the_second_voice_has_so_many_seconds_of_the_call(style):
    speech = mixed(style)
    assert len(speech) == 30 * S
    assert np.count_nonzero(speech == 2000) == 5 * S


def test_styles_differ_in_where_the_second_voice_is():
    turns = {style: np.count_nonzero(np.diff(mixed(style).astype(int)) > 0) for style in STYLES}
    assert turns == {"takes over": 1, "breaks in": 1, "takes turns": 2}
    assert (mixed("takes over")[-5 * S :] == 2000).all()


def test_who_talks_at_the_same_time_is_as_loud_as_said():
    louder = mixed("overlaps", level_db=0)
    quieter = mixed("overlaps", level_db=-20)
    assert np.count_nonzero(louder == 2000) == 5 * S
    assert np.count_nonzero(quieter == 1100) == 5 * S


def test_only_speakers_of_one_corpus_and_one_half_meet():
    names = [f"{source}/{n}" for source in ("libri", "ocean") for n in range(20)]
    for one in names:
        for other in names:
            if mixtures._may_meet(one, other):
                assert one.split("/")[0] == other.split("/")[0]
                assert mixtures.half_of(one) == mixtures.half_of(other)
    assert not mixtures._may_meet("libri/1", "libri/1")
