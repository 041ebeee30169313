"""What each model says of the calls that it has not heard: `python -m training.spoof.scores`.

Writes `DIR/scores.csv`. Every fold's model scores the synthesisers and the genuine corpora that its
fold leaves out, live and played back through devices that nobody trained on. The final model scores
what is kept for measuring. Calibration and report are made from this table alone.
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from training.spoof.calls import Call, make_calls
from training.spoof.export import model_path
from training.spoof.folds import FINAL, FOLDS
from training.spoof.sources import DEFAULT_WORK_DIR, GENUINE
from training.spoof.tables import read_rows, write_rows
from training.spoof.takes import (
    HEARD_DEVICES,
    NO_PLAYBACK,
    UNHEARD_DEVICES,
    Take,
    read_takes,
)
from vivavoce.models.card import load_model
from vivavoce.models.spoof import SpoofDetector
from vivavoce.scoring.metrics import Scores, det_curve, equal_error_rate

SECONDS = (3.0, 5.0, 10.0, 20.0)
_MOST_OF_A_KIND = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A call and what a model made of it; see `Call` for the members that are not here.

    Attributes:
        fold: names the model.
        wanted_s: net speech that was wanted.
        net_s: net speech that there was.
        synthetic: raw score.
        played_back: raw score.
        certainty: how far these two can be believed, 0..1.
    """

    fold: str
    label: str
    corpus: str
    system: str
    speaker: str
    playback: str
    line: str
    wanted_s: float
    net_s: float
    synthetic: float
    played_back: float
    certainty: float

    def raw(self, verdict: str) -> float:
        """The raw score of one of `VERDICTS`."""
        return self.synthetic if verdict == "synthetic" else self.played_back


def classes(scored: Sequence[Scored], verdict: str) -> tuple[list[Scored], list[Scored]]:
    """The live genuine calls, and the spoofs that a verdict is about."""
    live = [s for s in scored if s.playback == NO_PLAYBACK]
    genuine = [s for s in live if s.label == GENUINE]
    if verdict == "synthetic":
        return genuine, [s for s in live if s.label != GENUINE]
    return genuine, [s for s in scored if s.playback == UNHEARD_DEVICES]


def raw_scores(scored: Sequence[Scored], verdict: str) -> Scores:
    """A verdict's raw scores."""
    return np.array([s.raw(verdict) for s in scored])


def eer(genuine: Scores, spoof: Scores) -> float:
    """Equal error rate of two classes of raw scores."""
    scores = np.concatenate([genuine, spoof])
    return equal_error_rate(det_curve(scores, np.arange(len(scores)) >= len(genuine)))


def unheard(takes: Iterable[Take], model: str) -> list[Take]:
    """What a model has not heard and may be measured on."""
    fold = None if model == FINAL else FOLDS[model]
    return [
        take
        for take in takes
        if not take.is_copy
        and take.playback != HEARD_DEVICES
        and (take.trains and fold.leaves_out(take) if fold else not take.trains)
    ]


def score(work: Path, *, processes: int) -> Iterator[Scored]:
    """Scores of all models, at each of `SECONDS`."""
    with get_context("spawn").Pool(processes) as pool:
        for scored in pool.imap(partial(_of_model, work), (*FOLDS, FINAL)):
            yield from scored


def _of_model(work: Path, model: str) -> list[Scored]:
    takes, samples = read_takes(work)
    detector = SpoofDetector(load_model(model_path(work, model)))
    return [
        Scored(
            fold=model,
            label=call.label,
            corpus=call.corpus,
            system=call.system,
            speaker=call.speaker,
            playback=call.playback,
            line=call.line,
            wanted_s=seconds,
            net_s=round(call.seconds, 3),
            synthetic=round(evidence.raw("synthetic"), 5),
            played_back=round(evidence.raw("playback"), 5),
            certainty=round(evidence.certainty, 3),
        )
        for seconds in SECONDS
        for call in even_calls(unheard(takes, model), samples, seconds=seconds)
        for evidence in [detector.judge(call.audio)]
    ]


def read_scores(work: Path) -> list[Scored]:
    """The table again."""
    return read_rows(work / "scores.csv", Scored)


def even_calls(takes: Iterable[Take], samples: np.ndarray, *, seconds: float) -> list[Call]:
    """Calls with no kind above its bound, and no single voice that speaks for many."""
    most = 60 if seconds < 5 else 30
    by_kind: dict[tuple[str, str, str], list[Call]] = {}
    for call in make_calls(takes, samples, seconds=seconds, most=most):
        by_kind.setdefault((call.corpus, call.system, call.playback), []).append(call)
    rng = np.random.default_rng(0)
    return [
        calls[index]
        for calls in by_kind.values()
        for index in sorted(rng.permutation(len(calls))[:_MOST_OF_A_KIND])
    ]


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=DEFAULT_WORK_DIR)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    scored = score(arguments.work, processes=arguments.processes)
    print(f"{write_rows(arguments.work / 'scores.csv', Scored, scored)} calls")


if __name__ == "__main__":
    main()
