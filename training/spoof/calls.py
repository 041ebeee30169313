"""Calls for measuring: net speech of one speaker or one synthetic voice, joined to some length."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from training.spoof.takes import Take
from training.telephone import mulaw
from vivavoce.audio.arrays import CALL_RATE_HZ, Floats, to_float

LINES = ("linear", "µ-law", "older codecs", "mobile and VoIP")
"""No codec; µ-law; µ-law, A-law or GSM; AMR-NB or Opus."""

# The take of a source that each line needs; `prepare` writes none, an older and a newer codec.
_TAKE_OF_LINE = (0, 0, 1, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One thing to judge.

    Attributes:
        label: `GENUINE` or `SPOOF`.
        corpus: where it comes from.
        system: synthesiser or vocoder; empty for genuine speech.
        speaker: who speaks.
        playback: family of devices that it was played back through, or empty.
        line: one of `LINES`.
        audio: net speech, shape (n,), 8 kHz.
    """

    label: str
    corpus: str
    system: str
    speaker: str
    playback: str
    line: str
    audio: Floats

    @property
    def seconds(self) -> float:
        """Net speech."""
        return len(self.audio) / CALL_RATE_HZ


def make_calls(
    takes: Iterable[Take], samples: np.ndarray, *, seconds: float, most: int
) -> Iterator[Call]:
    """Join takes to calls of `seconds`, on alternating lines, at most `most` a voice.

    A voice with less speech than that gives one shorter call, unless it has less than 2 s: better
    a short call than one that joins two people, whose errors would partly cancel.
    """
    voices: dict[tuple[str, str, str, str, str], dict[int, list[Take]]] = {}
    for take in takes:
        voice = (take.label, take.corpus, take.system, take.speaker, take.playback)
        voices.setdefault(voice, {}).setdefault(take.source, []).append(take)
    for number, (voice, by_source) in enumerate(sorted(voices.items())):
        label, corpus, system, speaker, playback = voice
        of_voice = portions(by_source.values(), seconds=seconds, least_s=2.0)
        for index, sources in enumerate(islice(of_voice, most)):
            line = LINES[(number + index) % len(LINES)]
            yield Call(
                label=label,
                corpus=corpus,
                system=system,
                speaker=speaker,
                playback=playback,
                line=line,
                audio=heard(sources, samples, line=line, seconds=seconds),
            )


def portions(
    sources: Iterable[Sequence[Take]], *, seconds: float, least_s: float
) -> Iterator[list[Sequence[Take]]]:
    """Sources of one voice, in groups that hold so many seconds of net speech each.

    If they do not come to one group, what there is makes one, unless it is less than `least_s`.

    Args:
        sources: the takes of each source, in the order of `prepare`; all are of one length.
        seconds: net speech of a group.
        least_s: net speech without which there is no group at all.
    """
    group: list[Sequence[Take]] = []
    held, whole = 0, False
    for of_source in sources:
        group.append(of_source)
        held += of_source[0].count
        if held >= int(seconds * CALL_RATE_HZ):
            yield group
            group, held, whole = [], 0, True
    if not whole and held >= least_s * CALL_RATE_HZ:
        yield group


def heard(
    sources: Iterable[Sequence[Take]], samples: np.ndarray, *, line: str, seconds: float
) -> Floats:
    """The first seconds of some sources, joined, as one of `LINES` passes them on; shape (n,)."""
    takes = [of_source[_TAKE_OF_LINE[LINES.index(line)]] for of_source in sources]
    joined = np.concatenate([samples[take.start : take.start + take.count] for take in takes])
    audio = to_float(joined[: int(seconds * CALL_RATE_HZ)])
    return mulaw(audio) if line == "µ-law" else audio
