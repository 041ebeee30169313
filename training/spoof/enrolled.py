"""Callers who are enrolled, and who calls in their name: `python -m training.spoof.enrolled`.

Writes `DIR/enrolled.csv`. The callers are the speakers of the genuine corpora that a fold leaves
out, and the model is the fold's. Each is enrolled with some of their clips; from the others come
their own calls, vocoders' copies of those, and playbacks through devices that nobody trained on.
Other callers' own calls come in their name too. Enrolment and calls are on lines drawn apart.

Speakers, words and devices are unheard. The vocoders are not: every model trained on copies by
them, of other speakers.
"""

import argparse
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
from typing import TypeAlias

import numpy as np

from training.spoof.calls import LINES, heard, portions
from training.spoof.export import model_path
from training.spoof.folds import FOLDS, Fold
from training.spoof.sources import DEFAULT_WORK_DIR
from training.spoof.tables import read_rows, write_rows
from training.spoof.takes import COPY, NO_PLAYBACK, UNHEARD_DEVICES, Take, read_takes
from vivavoce.audio.arrays import CALL_RATE_HZ, Floats
from vivavoce.models.card import load_model
from vivavoce.models.registry import DEFAULT_SPEAKER_MODEL, find, models_folder
from vivavoce.models.speaker import SpeakerEncoder
from vivavoce.models.spoof import SpoofDetector
from vivavoce.scoring.spoofing import VERDICTS

ENROLMENT_S, LEAST_ENROLMENT_S = 20.0, 12.0
CALL_S, LEAST_CALL_S = 10.0, 4.0

KINDS = ("genuine", "impostor", "copy", "playback")
"""The enrolled caller; another one; a vocoder's copy, or a playback, of the enrolled caller."""

_MOST = {"genuine": 6, "impostor": 6, "copy": 8, "playback": 6}
_SEED = 20251

_LANGUAGE = re.compile(r"^(?:letters|potato|stamps)-([a-z]+)")

# Under one label, 3 s pieces of these are less alike (GE2E's cosine: tenth percentile below 0.70)
# than those of any reader of LibriSpeech (0.74 at the least); the WaveNet page names nobody.
_SEVERAL_PEOPLE = frozenset(
    {
        *(f"letters-{language}" for language in ("da", "de", "lt", "ml", "tn")),
        *(f"potato-{language}" for language in ("ca", "da", "fr", "ru", "uk")),
        *("stamps-fr", "wn"),
    }
)

Sources: TypeAlias = Sequence[Sequence[Take]]
"""Some sources, each as its takes in the order of `prepare`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """Somebody who can be enrolled and still has something left to say.

    Attributes:
        corpus: recording campaign.
        name: as in the corpus.
        enrolment: sources to enrol with.
        genuine: the other sources.
        copies: by vocoder, those of the other sources that it has copied.
        playback: those of the other sources that were played back through unheard devices.
    """

    corpus: str
    name: str
    enrolment: Sources
    genuine: Sources
    copies: Mapping[str, Sources]
    playback: Sources

    @property
    def person(self) -> str:
        """Who it may be: some volunteers read in one language for several collections."""
        language = _LANGUAGE.match(self.name)
        return f"volunteer-{language[1]}" if language else self.name

    @property
    def campaign(self) -> str:
        """The corpus without its language: recordings that are alike."""
        return self.corpus.partition("-")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A call in the name of an enrolled caller.

    Attributes:
        fold: names the model.
        kind: one of `KINDS`.
        system: the vocoder of a copy, or empty.
        corpus: of the enrolled caller.
        speaker: the enrolled caller.
        line: of the call, one of `LINES`.
        net_s: net speech of the call.
        synthetic: raw score of the call.
        played_back: raw score of the call.
        certainty: how far these scores can be believed, 0..1.
        reference_synthetic: raw score of the enrolled speech, the mean of its windows.
        reference_playback: the same of the other verdict.
        cosine: between the voices of enrolment and call.
    """

    fold: str
    kind: str
    system: str
    corpus: str
    speaker: str
    line: str
    net_s: float
    synthetic: float
    played_back: float
    certainty: float
    reference_synthetic: float
    reference_playback: float
    cosine: float

    def raw(self, verdict: str) -> float:
        """The raw score of one of `VERDICTS`."""
        return self.synthetic if verdict == "synthetic" else self.played_back

    def reference(self, verdict: str) -> float:
        """The enrolment's raw score of one of `VERDICTS`."""
        return self.reference_synthetic if verdict == "synthetic" else self.reference_playback


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Call:
    """A call as the models hear it; members that are not here are as in `Trial`.

    Attributes:
        voice: shape (dimension,), unit length.
    """

    kind: str
    system: str
    line: str
    net_s: float
    synthetic: float
    played_back: float
    certainty: float
    voice: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Listener:
    """The models, and the samples that they listen to."""

    samples: np.ndarray
    detector: SpoofDetector
    encoder: SpeakerEncoder

    def call(self, kind: str, sources: Sources, *, line: str) -> _Call:
        """A call of some sources."""
        audio = heard(sources, self.samples, line=line, seconds=CALL_S)
        evidence = self.detector.judge(audio)
        return _Call(
            kind=kind,
            system=sources[0][0].system,
            line=line,
            net_s=round(len(audio) / CALL_RATE_HZ, 3),
            synthetic=round(evidence.raw("synthetic"), 5),
            played_back=round(evidence.raw("playback"), 5),
            certainty=round(evidence.certainty, 3),
            voice=self.encoder.embed(audio, CALL_RATE_HZ),
        )

    def enrol(self, sources: Sources, *, line: str) -> tuple[Floats, dict[str, float]]:
        """The voice of some sources, shape (dimension,), and mean raw scores by verdict."""
        audio = heard(sources, self.samples, line=line, seconds=ENROLMENT_S)
        evidence = self.detector.judge(audio)
        reference = {verdict: round(evidence.mean(verdict), 5) for verdict in VERDICTS}
        return self.encoder.embed(audio, CALL_RATE_HZ), reference


def enrolled_speakers(takes: Iterable[Take], fold: Fold) -> list[Speaker]:
    """The speakers whom a fold leaves out, who are one person and have enough sources."""
    voices: dict[tuple[str, str], dict[tuple[str, str], dict[int, list[Take]]]] = {}
    for take in takes:
        if not (take.trains and fold.leaves_out(take)) or take.speaker in _SEVERAL_PEOPLE:
            continue
        # Of a synthesiser there is nobody to enrol: it has no live genuine take.
        by_version = voices.setdefault((take.corpus, take.speaker), {})
        by_source = by_version.setdefault((take.system, take.playback), {})
        by_source.setdefault(take.source, []).append(take)
    speakers: list[Speaker] = []
    for (corpus, name), by_version in sorted(voices.items()):
        live = by_version.get(("", NO_PLAYBACK), {})
        count = enrolment_count([s[0].count / CALL_RATE_HZ for s in live.values()])
        if count == 0:
            continue
        apart = list(live)[count:]
        others = {
            version: [by_source[number] for number in apart if number in by_source]
            for version, by_source in by_version.items()
        }
        speakers.append(
            Speaker(
                corpus=corpus,
                name=name,
                enrolment=[live[number] for number in list(live)[:count]],
                genuine=others["", NO_PLAYBACK],
                copies={
                    system: sources
                    for (system, playback), sources in others.items()
                    if system.startswith(COPY) and playback == NO_PLAYBACK
                },
                playback=others.get(("", UNHEARD_DEVICES), []),
            )
        )
    return speakers


def enrolment_count(seconds: Sequence[float]) -> int:
    """How many of a speaker's first sources to enrol with; 0 if they are not enough.

    As many as give `ENROLMENT_S`, or fewer down to `LEAST_ENROLMENT_S`, so that the others still
    give a call of `LEAST_CALL_S`.

    Args:
        seconds: net speech of each source.
    """
    enrolled = np.cumsum([0.0, *seconds])
    left = enrolled[-1] - enrolled
    wanted = int(np.argmax(enrolled >= ENROLMENT_S)) or len(seconds)
    return next(
        (
            count
            for count in range(wanted, 0, -1)
            if enrolled[count] >= LEAST_ENROLMENT_S and left[count] >= LEAST_CALL_S
        ),
        0,
    )


def in_turn(groups: Iterable[Iterable[Sources]]) -> Iterator[Sources]:
    """The first of each, then the second of each, and so on."""
    for turn in zip_longest(*groups):
        yield from (sources for sources in turn if sources is not None)


def calls_of(sources: Sources) -> Iterator[Sources]:
    """Sources in groups of a call's length."""
    return portions(sources, seconds=CALL_S, least_s=LEAST_CALL_S)


def trials(work: Path) -> Iterator[Trial]:
    """All trials of all folds."""
    takes, samples = read_takes(work)
    encoder = SpeakerEncoder(load_model(find(models_folder(None), DEFAULT_SPEAKER_MODEL)))
    for number, (name, fold) in enumerate(FOLDS.items()):
        detector = SpoofDetector(load_model(model_path(work, name)))
        listener = _Listener(samples=samples, detector=detector, encoder=encoder)
        rng = np.random.default_rng([_SEED, number])
        yield from _of_fold(name, enrolled_speakers(takes, fold), listener, rng)


def _of_fold(
    fold: str, speakers: Sequence[Speaker], listener: _Listener, rng: np.random.Generator
) -> Iterator[Trial]:
    calls = {
        (speaker.corpus, speaker.name): [
            listener.call(kind, sources, line=str(rng.choice(LINES)))
            for kind, sources in _calls(speaker, rng)
        ]
        for speaker in speakers
    }
    for speaker in speakers:
        voice, reference = listener.enrol(speaker.enrolment, line=str(rng.choice(LINES)))
        own = [(call.kind, call) for call in calls[speaker.corpus, speaker.name]]
        of_others = [("impostor", call) for call in _impostors(speaker, speakers, calls, rng)]
        for kind, call in own + of_others:
            yield Trial(
                fold=fold,
                kind=kind,
                system=call.system,
                corpus=speaker.corpus,
                speaker=speaker.name,
                line=call.line,
                net_s=call.net_s,
                synthetic=call.synthetic,
                played_back=call.played_back,
                certainty=call.certainty,
                reference_synthetic=reference["synthetic"],
                reference_playback=reference["playback"],
                cosine=round(float(voice @ call.voice), 5),
            )


def _calls(speaker: Speaker, rng: np.random.Generator) -> Iterator[tuple[str, Sources]]:
    """Kind and sources of a speaker's calls; copies by as many vocoders as there are."""
    vocoders = rng.permutation(sorted(speaker.copies)).tolist()
    copies = in_turn(calls_of(speaker.copies[vocoder]) for vocoder in vocoders)
    for kind, calls in (
        ("genuine", calls_of(speaker.genuine)),
        ("copy", copies),
        ("playback", calls_of(speaker.playback)),
    ):
        for sources in islice(calls, _MOST[kind]):
            yield kind, sources


def _impostors(
    speaker: Speaker,
    speakers: Sequence[Speaker],
    calls: Mapping[tuple[str, str], Sequence[_Call]],
    rng: np.random.Generator,
) -> list[_Call]:
    """Genuine calls of other people; of the same campaign first, where all else is alike."""
    near: list[_Call] = []
    far: list[_Call] = []
    for other in speakers:
        if other.person != speaker.person:
            genuine = [c for c in calls[other.corpus, other.name] if c.kind == "genuine"]
            (near if other.campaign == speaker.campaign else far).extend(genuine)
    drawn: list[_Call] = []
    for found in (near, far):
        drawn += [found[index] for index in rng.permutation(len(found)).tolist()]
    return drawn[: _MOST["impostor"]]


def read_trials(work: Path) -> list[Trial]:
    """The table again."""
    return read_rows(work / "enrolled.csv", Trial)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=DEFAULT_WORK_DIR)
    work = parser.parse_args().work
    print(f"{write_rows(work / 'enrolled.csv', Trial, trials(work))} trials")


if __name__ == "__main__":
    main()
