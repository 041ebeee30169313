"""Everything that trains is left out exactly once."""

from dataclasses import replace

import pytest

from training.spoof.folds import FOLDS
from training.spoof.takes import Take

USUAL = Take(
    source=0, label="genuine", corpus="", system="", speaker="x", trains=True, playback="",
    codec="none", start=0, count=1,
)  # fmt: skip


def _folds_without(**changes):
    return [name for name, fold in FOLDS.items() if fold.leaves_out(replace(USUAL, **changes))]


@pytest.mark.parametrize(
    ("system", "corpus", "fold"),
    [
        ("Tortoise", "tortoise", "Tortoise"),
        ("Flite", "opentts", "flite"),
        ("flite", "debian-flite", "flite"),
        ("Larynx(GlowTTS+HiFiGAN)", "opentts", "Glow-TTS"),
        ("GlowSpeak(GlowTTS+HiFiGAN)", "opentts", "Glow-TTS"),
        ("WaveNet-voc", "wavenet_demo", "WaveNet"),
        ("DiffGAN-TTS+HiFiGAN", "diffgantts_demo", "DiffGAN-TTS"),
    ],
)
def test_a_system_is_left_out_once_whoever_made_clips_with_it(system, corpus, fold):
    assert _folds_without(label="spoof", system=system, corpus=corpus) == [fold]


@pytest.mark.parametrize(
    "corpus", ["librispeech_resemblyzer", "speechocean762", "pv_s2i", "prompts-en", "wavenet_demo"]
)
def test_a_corpus_is_left_out_once_with_its_copies(corpus):
    (fold,) = _folds_without(corpus=corpus)
    assert _folds_without(corpus=corpus, label="spoof", system="copy-lpc") == [fold]


@pytest.mark.parametrize("language", ["da", "fr", "uk", "sr@latin"])
def test_a_language_of_volunteers_is_left_out_once_in_all_collections(language):
    found = [
        _folds_without(corpus=f"{name}-{language}") for name in ("letters", "potato", "stamps")
    ]
    assert len(found[0]) == 1
    assert found[0] == found[1] == found[2]


def test_copies_stay_when_a_system_is_left_out():
    assert _folds_without(label="spoof", system="copy-hifigan", corpus="pv_s2i") == ["Glow-TTS"]
