"""Hear every take through the encoder, once for all models: `python -m training.spoof.embed`.

Writes `DIR/embeddings.npy` and `DIR/embeddings.csv`, row by row the same. The encoder is the
same in all models, so what it makes of the speech is computed once and their heads are trained on
it.

Each source is heard six times: twice in each kind of codec of `prepare`, none, an older and a newer
one, once as it comes out of the codec and once over a line, each time another part of it. All its
versions, the original, copies and playbacks, are cut alike and go over the same line, so that
little but what was done to the voice tells them apart.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from training.spoof.lines import Lines, room_responses
from training.spoof.network import Ear, FrontEnd
from training.spoof.sources import DEFAULT_WORK_DIR
from training.spoof.tables import read_rows, write_rows
from training.spoof.takes import UNHEARD_DEVICES, Take, read_takes
from vivavoce.audio.arrays import CALL_RATE_HZ, to_float

SHORTEST_S, LONGEST_S = 2.0, 4.0
_CODECS_OF_TAKE = 3
_SEED = 20254


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A row of the table: what was heard, by which number of which take.

    Attributes:
        take: index in `takes.csv`.
        group: number of the source and of the time it was heard; what is of one group differs only
            in what was done to the voice.
    """

    take: int
    group: int


def groups(takes: Sequence[Take]) -> Iterator[list[int]]:
    """Takes to hear together, by their indices: versions of one source in one kind of codec."""
    by_source: dict[int, list[int]] = {}
    for index, take in enumerate(takes):
        if take.trains and take.playback != UNHEARD_DEVICES:
            by_source.setdefault(take.source, []).append(index)
    for indices in by_source.values():
        for codec in range(_CODECS_OF_TAKE):
            yield indices[codec::_CODECS_OF_TAKE]


@dataclass(frozen=True, slots=True)
class _Group:
    number: int
    takes: list[int]
    over_a_line: bool


class _Listener:
    """What each process needs once."""

    def __init__(self, work: Path) -> None:
        torch.set_num_threads(1)
        self._takes, self._samples = read_takes(work)
        self._front, self._ear = FrontEnd(), Ear.pretrained().eval()
        responses = room_responses()
        self._kinds_of_lines = (
            Lines(responses=responses),
            # Good lines too: on bad ones alone nobody learns what they would hide.
            Lines(
                responses=responses,
                room=0.1,
                noise=0.6,
                noise_db=(15.0, 50.0),
                band=0.5,
                loss=0.05,
                suppression=0.1,
                gain=0.1,
                companding=0.2,
            ),
        )

    @torch.inference_mode()
    def hear(self, group: _Group) -> tuple[_Group, np.ndarray]:
        """Embeddings of a group, shape (takes, dimension), float16."""
        takes = [self._takes[index] for index in group.takes]
        rng = np.random.default_rng([_SEED, group.number])
        chance = torch.Generator().manual_seed(_SEED + group.number)
        wanted = int(rng.uniform(SHORTEST_S, LONGEST_S) * CALL_RATE_HZ)
        position = rng.random()
        cuts: list[np.ndarray] = []
        for take in takes:
            audio = self._samples[take.start : take.start + take.count]
            start = int(position * max(0, len(audio) - wanted))
            cuts.append(np.resize(audio[start : start + wanted], wanted))
        audio = torch.from_numpy(to_float(np.stack(cuts)))
        if group.over_a_line:
            lines = self._kinds_of_lines[rng.integers(len(self._kinds_of_lines))]
            audio = lines(audio, chance, together=len(cuts))
        return group, self._ear(self._front(audio)).half().numpy()


_LISTENER: list[_Listener] = []


def _load(work: Path) -> None:
    _LISTENER.append(_Listener(work))


def _hear(group: _Group) -> tuple[_Group, np.ndarray]:
    return _LISTENER[0].hear(group)


def embed(work: Path, *, processes: int) -> int:
    """Make both files; returns the number of rows."""
    takes, _ = read_takes(work)
    apart = list(groups(takes))
    to_hear = [
        _Group(number, indices, over_a_line=number < len(apart))
        for number, indices in enumerate(apart + apart)
    ]
    rows: list[Heard] = []
    made: list[np.ndarray] = []
    began = time.monotonic()
    with get_context("spawn").Pool(processes, _load, (work,)) as pool:
        for group, embeddings in pool.imap(_hear, to_hear, chunksize=8):
            rows += [Heard(take=index, group=group.number) for index in group.takes]
            made.append(embeddings)
            if group.number % 500 == 0:
                spent_s = time.monotonic() - began
                print(f"{group.number} of {len(to_hear)} groups, {spent_s:.0f} s", flush=True)
    np.save(work / "embeddings.npy", np.concatenate(made))
    return write_rows(work / "embeddings.csv", Heard, rows)


def read_embeddings(work: Path) -> tuple[list[Heard], np.ndarray]:
    """The table, and shape (rows, dimension), float16."""
    return read_rows(work / "embeddings.csv", Heard), np.load(work / "embeddings.npy")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=DEFAULT_WORK_DIR)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    print(f"{embed(arguments.work, processes=arguments.processes)} embeddings")


if __name__ == "__main__":
    main()
