import numpy as np
import pytest

from training.spoof.texts import OTHER_TEXTS, PACKAGES, Texts

FORTUNES = """Whoever waits for the train on time has never been in a hurry himself.
\t\t-- Somebody Else
%
See <http://example.org/> for the page that nobody can say in one breath, thankfully.
%
The second sentence of this small book is also long enough to be said. Short one.
"""


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / PACKAGES["en"] / "usr/share/games/fortunes"
    place.mkdir(parents=True)
    (place / "sayings").write_text(FORTUNES)
    (place / "sayings.dat").write_bytes(b"\x00\xff whatever is in here is no text of any kind.")
    return tmp_path


def test_only_sentences_that_people_would_say_are_said(folder):
    said = Texts(folder).speech("en", np.random.default_rng(0), letters=2000)
    assert "has never been in a hurry" in said
    assert "long enough to be said." in said
    assert "http" not in said
    assert "Short one" not in said
    assert "whatever is in here" not in said


def test_speech_has_the_letters_that_were_asked_for(folder):
    texts = Texts(folder)
    for letters in (10, 100, 500):
        assert len(texts.speech("en", np.random.default_rng(1), letters=letters)) >= letters - 1


def test_the_same_chance_gives_the_same_speech(folder):
    said = {Texts(folder).speech("en", np.random.default_rng(5)) for _ in range(3)}
    assert len(said) == 1


def test_a_language_without_a_package_has_a_text_of_its_own(tmp_path):
    texts = Texts(tmp_path)
    for language, text in OTHER_TEXTS.items():
        assert texts.speech(language, np.random.default_rng(0)) == text
