"""Calls that cannot be judged: `python -m training.spoof.strange`.

Writes `DIR/strange.csv`. The genuine calls that a fold leaves out, as they are and after what no
line that anybody trained on does to a voice; and sounds that are no voice. Each with how far the
fold's model believes itself there.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.spoof.export import model_path
from training.spoof.folds import FOLDS
from training.spoof.scores import even_calls, unheard
from training.spoof.sources import DEFAULT_WORK_DIR, GENUINE
from training.spoof.tables import read_rows, write_rows
from training.spoof.takes import NO_PLAYBACK, read_takes
from training.telephone import add_noise
from vivavoce.audio.arrays import CALL_RATE_HZ, Floats
from vivavoce.models.card import load_model
from vivavoce.models.spoof import SpoofDetector

CALL_S = 10.0
_CALLS_OF_FOLD = 20
_SEED = 20253


@dataclass(frozen=True, slots=True, kw_only=True)
class Strange:
    """A call of one kind, and how far it is believed; see `Scored` for the members."""

    fold: str
    kind: str
    corpus: str
    net_s: float
    synthetic: float
    played_back: float
    certainty: float


def _clipped(audio: Floats, _: np.random.Generator) -> Floats:
    return np.clip(audio * np.float32(30 / max(float(np.abs(audio).max()), 1e-6)), -1, 1)


def _coarse(audio: Floats, _: np.random.Generator) -> Floats:
    step = float(np.abs(audio).max()) / 2
    return (np.round(audio / max(step, 1e-6)) * step).astype(np.float32)


def _tones(audio: Floats, rng: np.random.Generator) -> Floats:
    """Chords that change every half second: music on hold."""
    seconds = np.arange(len(audio)) / CALL_RATE_HZ
    notes = rng.choice(
        [196.0, 220.0, 262.0, 294.0, 330.0, 392.0, 440.0], (3, 1 + len(audio) // 4000)
    )
    hz = np.repeat(notes, 4000, axis=1)[:, : len(audio)]
    fades = np.exp(-3 * (seconds % 0.5))
    return (0.1 * fades * np.sin(2 * np.pi * hz * seconds).sum(axis=0)).astype(np.float32)


def _hiss(audio: Floats, rng: np.random.Generator) -> Floats:
    return (0.1 * rng.standard_normal(len(audio))).astype(np.float32)


STRANGE: Mapping[str, Callable[[Floats, np.random.Generator], Floats]] = {
    "as it is": lambda audio, _: audio,
    "noise 5 dB above the voice": lambda audio, rng: add_noise(audio, -5.0, rng),
    "overdriven 30-fold": _clipped,
    "five steps of loudness": _coarse,
    "backwards": lambda audio, _: audio[::-1].copy(),
    "chords": _tones,
    "hiss": _hiss,
}
"""What is done to a call, by the name that the table uses."""


def strange_calls(work: Path) -> Iterator[Strange]:
    """All such calls of all folds."""
    takes, samples = read_takes(work)
    for fold in FOLDS:
        rng = np.random.default_rng(_SEED)
        detector = SpoofDetector(load_model(model_path(work, fold)))
        calls = [
            call
            for call in even_calls(unheard(takes, fold), samples, seconds=CALL_S)
            if call.label == GENUINE and call.playback == NO_PLAYBACK
        ]
        for index in rng.permutation(len(calls))[:_CALLS_OF_FOLD]:
            call = calls[index]
            for kind, change in STRANGE.items():
                evidence = detector.judge(change(call.audio, rng))
                yield Strange(
                    fold=fold,
                    kind=kind,
                    corpus=call.corpus,
                    net_s=round(call.seconds, 3),
                    synthetic=round(evidence.raw("synthetic"), 5),
                    played_back=round(evidence.raw("playback"), 5),
                    certainty=round(evidence.certainty, 3),
                )


def read_strange(work: Path) -> list[Strange]:
    """The table again."""
    return read_rows(work / "strange.csv", Strange)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=DEFAULT_WORK_DIR)
    work = parser.parse_args().work
    print(f"{write_rows(work / 'strange.csv', Strange, strange_calls(work))} calls")


if __name__ == "__main__":
    main()
