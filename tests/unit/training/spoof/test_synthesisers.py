"""Clips are made one by one, each by its own chance."""

import numpy as np
import pytest

pytest.importorskip("py_nanotts", reason="needs pip install -r training/spoof/requirements.txt")

from training.spoof import synthesisers
from training.spoof.sources import SPOOF
from training.spoof.synthesisers import SYNTHESISERS, Order, make, orders
from training.spoof.texts import Texts


@pytest.fixture(scope="module", name="texts")
def _texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    place = folder / "fortunes/usr/share/games/fortunes"
    place.mkdir(parents=True)
    said = "The caller wants to know when the parcel is going to arrive at the house."
    (place / "one").write_text(" ".join(said.replace("parcel", f"parcel {w}") for w in "abcdefg"))
    return Texts(folder)


def test_every_clip_is_ordered_once():
    ordered = list(orders())
    assert len(ordered) == len(set(ordered))
    assert {order.synthesiser for order in ordered} == set(SYNTHESISERS)


def test_a_clip_does_not_depend_on_what_was_made_before(texts):
    made = [make(Order("pico", "en-US", number), texts, seed=1) for number in (3, 4, 3)]
    first, other, again = (source for source in made if source is not None)
    assert (first.label, first.system, first.speaker) == (SPOOF, "SVOX-Pico", "pico-en-US")
    np.testing.assert_allclose(
        first.audio, again.audio, atol=0.01
    )  # Pico has some noise of its own
    assert len(other.audio) != len(first.audio) or not np.array_equal(other.audio, first.audio)


def test_a_voice_that_is_not_installed_is_left_out_and_named(texts, capsys, monkeypatch):
    monkeypatch.setitem(synthesisers._FESTIVAL_VOICES, "nobody_diphone", "en")
    assert make(Order("festival", "nobody_diphone", 0), texts, seed=1) is None
    assert make(Order("festival", "nobody_diphone", 1), texts, seed=1) is None
    assert capsys.readouterr().out.count("nobody_diphone") == 1
