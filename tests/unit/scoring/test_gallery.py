import logging
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.scoring.gallery import Gallery, Nearest, are_comparable

OWNERS = [f"id#{number}" for number in range(12)]
LISTS = ("first", "second", "nobody's")


def voice_of(seed):
    direction = np.random.default_rng(seed).normal(size=8)
    return (direction / np.linalg.norm(direction)).astype(np.float32)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(OWNERS), st.integers(0, 99), st.sets(st.sampled_from(LISTS[:2]))),
        st.tuples(st.sampled_from(OWNERS), st.none(), st.just(set())),
    ),
    max_size=60,
)


@given(steps=STEPS, seed=st.integers(0, 99), list_id=st.sampled_from([None, *LISTS]))
def test_the_nearest_is_the_nearest_of_those_that_were_put_and_not_removed(steps, seed, list_id):
    gallery, model = Gallery(), {}
    for owner, number, list_ids in steps:
        if number is None:
            gallery.remove(owner)
            model.pop(owner, None)
        else:
            gallery.put(owner, voice_of(number), list_ids=list_ids)
            model[owner] = (voice_of(number), list_ids)
    voice = voice_of(seed)
    cosines = {
        owner: float(vector @ voice)
        for owner, (vector, list_ids) in model.items()
        if list_id is None or list_id in list_ids
    }
    nearest = gallery.nearest(voice, list_id)
    assert len(gallery) == len(model)
    assert sorted(gallery.owner_ids) == sorted(model)
    if not cosines:
        assert nearest is None
        return
    assert nearest is not None
    assert nearest.among == len(cosines)
    assert nearest.cosine == pytest.approx(max(cosines.values()), abs=1e-6)
    assert cosines[nearest.owner_id] == pytest.approx(nearest.cosine, abs=1e-6)


@pytest.mark.parametrize("listed", [1, 30, 99, 100])
def test_a_short_list_and_a_long_one_are_searched_alike(listed):
    gallery, like_one = Gallery(), cast("float", pytest.approx(1, abs=1e-6))
    for number in range(100):
        list_ids = ["some"] if number < listed else []
        gallery.put(str(number), voice_of(number), list_ids=list_ids)
    for number in range(0, listed, 7):
        nearest = gallery.nearest(voice_of(number), "some")
        assert nearest == Nearest(owner_id=str(number), cosine=like_one, among=listed)


def test_a_voice_that_is_put_again_is_on_its_new_lists_alone():
    gallery = Gallery()
    gallery.put("id#1", voice_of(1), list_ids=["first"])
    gallery.put("id#1", voice_of(2), list_ids=["second"])
    assert gallery.nearest(voice_of(1), "first") is None
    found = gallery.nearest(voice_of(2), "second")
    assert found is not None
    assert found.cosine == pytest.approx(1)


def test_voices_of_two_encoders_do_not_compare_which_is_logged_once(caplog):
    with caplog.at_level(logging.WARNING):
        assert are_comparable("new@1", "new@1")
        assert not are_comparable("old@1", "new@1")
        assert not are_comparable("old@1", "new@1")
    assert len(caplog.messages) == 1
