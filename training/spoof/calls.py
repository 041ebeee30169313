"""Calls for measuring: net speech of one speaker or one synthetic voice, joined to some length."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from training.spoof.prepare import Take
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
    wanted = int(seconds * CALL_RATE_HZ)
    for number, (voice, by_source) in enumerate(sorted(voices.items())):
        label, corpus, system, speaker, playback = voice
        made, joined = 0, np.zeros(0, np.int16)
        line = number % len(LINES)
        for position, of_source in enumerate(by_source.values()):
            take = of_source[_TAKE_OF_LINE[line]]
            joined = np.concatenate([joined, samples[take.start : take.start + take.count]])
            last = position == len(by_source) - 1
            if len(joined) < wanted and not (last and made == 0):
                continue
            if made == most or len(joined) < 2 * CALL_RATE_HZ:
                break
            audio = to_float(joined[:wanted])
            yield Call(
                label=label,
                corpus=corpus,
                system=system,
                speaker=speaker,
                playback=playback,
                line=LINES[line],
                audio=mulaw(audio) if LINES[line] == "µ-law" else audio,
            )
            made += 1
            line = (line + 1) % len(LINES)
            joined = joined[:0]
