"""Who can be enrolled, and what their calls are joined from."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: pip install -r training/spoof/requirements.txt")

from training.spoof.calls import LINES, heard, portions
from training.spoof.enrolled import enrolled_speakers, enrolment_count, in_turn
from training.spoof.folds import FOLDS
from training.spoof.takes import Take

FOLD = FOLDS["Piper"]
SECOND = 8000


def takes_of(source, *, seconds, corpus="speechocean762", speaker="a", system="", playback=""):
    """The three takes of a source; its samples are worth its number."""
    plain = Take(
        source=source, label="spoof" if system else "genuine", corpus=corpus, system=system,
        speaker=speaker, trains=True, playback=playback, codec="none",
        start=source * 100 * SECOND, count=int(seconds * SECOND),
    )  # fmt: skip
    return [plain, replace(plain, codec="mulaw"), replace(plain, codec="opus-8000")]


def numbers(sources):
    return [of_source[0].source for of_source in sources]


@pytest.mark.parametrize(
    ("lengths", "groups"),
    [
        ([6, 6, 6, 6], [[0, 1], [2, 3]]),
        ([12, 3, 3, 3], [[0]]),  # what is left over does not make a short one
        ([3, 4], [[0, 1]]),  # but if there is no more, it does
        ([1, 1], []),
        ([], []),
    ],
)
def test_sources_are_joined_until_a_call_is_long_enough(lengths, groups):
    sources = [takes_of(number, seconds=length) for number, length in enumerate(lengths)]
    found = portions(sources, seconds=10.0, least_s=4.0)
    assert [numbers(group) for group in found] == groups


def test_each_line_hears_its_own_take_of_each_source():
    samples = np.repeat(np.arange(6, dtype=np.int16) * 1000, 100)
    takes = [
        [
            replace(take, start=100 * (3 * number + version), count=100)
            for version, take in enumerate(takes_of(number, seconds=1))
        ]
        for number in range(2)
    ]
    for line, expected in {
        "linear": (0, 3000), "older codecs": (1000, 4000), "mobile and VoIP": (2000, 5000),
    }.items():  # fmt: skip
        audio = heard(takes, samples, line=line, seconds=150 / SECOND)
        assert audio.shape == (150,)
        assert set((audio * 32768).round().astype(int).tolist()) == set(expected)
    assert "µ-law" in LINES
    through = heard(takes, samples, line="µ-law", seconds=1.0)
    assert through.shape == (200,)
    assert through[150] == pytest.approx(3000 / 32768, rel=0.05)


@pytest.mark.parametrize(
    ("seconds", "count"),
    [
        ([10, 10, 10], 2),
        ([10, 10.5, 3], 0),  # 20 s leave no call, and 10 s are not enough to enrol with
        ([7, 7, 7, 3], 2),  # 21 s would leave too little, 14 s do not
        ([5, 5, 5, 4], 3),
        ([12, 3.9], 0),
        ([30, 4], 1),
        ([40], 0),
        ([], 0),
    ],
)
def test_an_enrolment_leaves_enough_for_a_call(seconds, count):
    assert enrolment_count(seconds) == count


def test_calls_are_made_from_what_was_not_enrolled():
    takes = [
        take
        for number in range(5)
        for take in (
            *takes_of(number, seconds=8),
            *takes_of(number, seconds=8, system="copy-lpc"),
            *takes_of(number, seconds=8, playback="heard"),
            *takes_of(number, seconds=8, playback="unheard"),
        )
        if (take.playback, number) != ("unheard", 4)
    ]
    (speaker,) = enrolled_speakers(takes, FOLD)
    assert numbers(speaker.enrolment) == [0, 1, 2]
    assert numbers(speaker.genuine) == [3, 4]
    assert {system: numbers(s) for system, s in speaker.copies.items()} == {"copy-lpc": [3, 4]}
    assert numbers(speaker.playback) == [3]
    assert {take.playback for of_source in speaker.playback for take in of_source} == {"unheard"}


@pytest.mark.parametrize(
    "changes",
    [
        {"corpus": "librispeech_resemblyzer"},  # another fold leaves it out
        {"trains": False},
        {"system": "Piper(VITS)", "label": "spoof"},  # nobody lives there
        {"corpus": "stamps-fr", "speaker": "stamps-fr"},  # several people
    ],
)
def test_who_must_not_be_enrolled_is_not(changes):
    takes = [take for number in range(9) for take in takes_of(number, seconds=8)]
    assert len(enrolled_speakers(takes, FOLD)) == 1
    folds = FOLDS.values() if changes.get("corpus") == "stamps-fr" else [FOLD]
    for fold in folds:
        assert enrolled_speakers([replace(take, **changes) for take in takes], fold) == []


def test_one_volunteer_under_two_names_is_one_person():
    def speaker(corpus, name=None):
        takes = [
            take
            for number in range(5)
            for take in takes_of(number, seconds=8, corpus=corpus, speaker=name or corpus)
        ]
        (found,) = [s for fold in FOLDS.values() for s in enrolled_speakers(takes, fold)]
        return found

    letters, potato, other = (speaker(c) for c in ("letters-en_GB", "potato-en", "potato-lt"))
    assert letters.person == potato.person != other.person
    assert potato.campaign == other.campaign != letters.campaign
    assert speaker("prompts-es", "prompts-en").person == speaker("prompts-en").person


def test_every_vocoder_has_its_first_turn_before_any_has_its_second():
    first, second, third, other = ([takes_of(number, seconds=1)] for number in range(4))
    assert list(in_turn([[first, second, third], [other], []])) == [first, other, second, third]
