"""Calls in which the voice turns: `python -m training.spoof.turns`.

Writes `DIR/spliced.csv`. The enrolled callers of `enrolled.py` speak for themselves, and then, on
the same line, a vocoder's copy or a playback of them goes on. In as many other calls they go on
themselves: so often a longer call alone is flagged.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from training.spoof.calls import LINES, heard
from training.spoof.enrolled import CALL_S, Sources, Speaker, calls_of, enrolled_speakers, in_turn
from training.spoof.export import model_path
from training.spoof.folds import FOLDS
from training.spoof.sources import DEFAULT_WORK_DIR
from training.spoof.tables import read_rows, write_rows
from training.spoof.takes import read_takes
from vivavoce.audio.arrays import CALL_RATE_HZ
from vivavoce.models.card import load_model
from vivavoce.models.spoof import SpoofDetector

_MOST = {"genuine": 3, "copy": 6, "playback": 3}
_SEED = 20252


@dataclass(frozen=True, slots=True, kw_only=True)
class Spliced:
    """A call of two halves; the first is genuine.

    Attributes:
        fold: names the model.
        kind: the second half: "genuine", "copy" or "playback".
        system: the vocoder of a copy, or empty.
        corpus: of the caller.
        speaker: the caller.
        line: of the call.
        first_s: net speech of the first half.
        net_s: net speech of the call.
        first_synthetic: raw score after the first half.
        first_played_back: raw score after the first half.
        first_certainty: how far these two can be believed, 0..1.
        synthetic: raw score at the end.
        played_back: raw score at the end.
        certainty: how far these two can be believed, 0..1.
    """

    fold: str
    kind: str
    system: str
    corpus: str
    speaker: str
    line: str
    first_s: float
    net_s: float
    first_synthetic: float
    first_played_back: float
    first_certainty: float
    synthetic: float
    played_back: float
    certainty: float


def spliced(work: Path) -> Iterator[Spliced]:
    """All such calls of all folds."""
    takes, samples = read_takes(work)
    for number, (fold_name, fold) in enumerate(FOLDS.items()):
        rng = np.random.default_rng([_SEED, number])
        detector = SpoofDetector(load_model(model_path(work, fold_name)))
        for speaker in enrolled_speakers(takes, fold):
            for kind, first, second in _halves(speaker, rng):
                line = str(rng.choice(LINES))
                before, after = (
                    heard(half, samples, line=line, seconds=CALL_S) for half in (first, second)
                )
                call = np.concatenate([before, after])
                early, whole = detector.judge(before), detector.judge(call)
                yield Spliced(
                    fold=fold_name,
                    kind=kind,
                    system=second[0][0].system,
                    corpus=speaker.corpus,
                    speaker=speaker.name,
                    line=line,
                    first_s=round(len(before) / CALL_RATE_HZ, 3),
                    net_s=round(len(call) / CALL_RATE_HZ, 3),
                    first_synthetic=round(early.raw("synthetic"), 5),
                    first_played_back=round(early.raw("playback"), 5),
                    first_certainty=round(early.certainty, 3),
                    synthetic=round(whole.raw("synthetic"), 5),
                    played_back=round(whole.raw("playback"), 5),
                    certainty=round(whole.certainty, 3),
                )


def _halves(speaker: Speaker, rng: np.random.Generator) -> Iterator[tuple[str, Sources, Sources]]:
    """Kind and both halves of a speaker's calls; none if the first would be short.

    A copy or a playback may repeat what was said before: most speakers have not enough sources to
    keep the words apart, and no model here knows words.
    """
    own = list(calls_of(speaker.genuine))
    if sum(of_source[0].count for of_source in own[0]) < CALL_S * CALL_RATE_HZ:
        return
    vocoders = rng.permutation(sorted(speaker.copies)).tolist()
    seconds = {
        "genuine": own[1:],
        "copy": in_turn(calls_of(speaker.copies[vocoder]) for vocoder in vocoders),
        "playback": calls_of(speaker.playback),
    }
    for kind, calls in seconds.items():
        for index, second in enumerate(islice(calls, _MOST[kind])):
            # Never the very call that follows: `own[1:]` begins one later.
            yield kind, own[index % len(own)], second


def read_spliced(work: Path) -> list[Spliced]:
    """The table again."""
    return read_rows(work / "spliced.csv", Spliced)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=DEFAULT_WORK_DIR)
    work = parser.parse_args().work
    print(f"{write_rows(work / 'spliced.csv', Spliced, spliced(work))} calls")


if __name__ == "__main__":
    main()
