"""Train one model: the one that ships, or one that a fold keeps from hearing something.

    python -m training.spoof.train --work DIR --model final
    python -m training.spoof.train --work DIR --model Tortoise

Only the head is trained, on what `embed` made of the takes. Deterministic from its seed on one
number of threads of one kind of machine. Writes `DIR/models/<model>/spoof-v4.onnx`.
"""

import argparse
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training.spoof.embed import Heard, read_embeddings
from training.spoof.export import export, model_path
from training.spoof.folds import FINAL, FOLDS
from training.spoof.network import Ear, Head, Judge, SpoofNet
from training.spoof.sources import DEFAULT_WORK_DIR, GENUINE, SPOOF
from training.spoof.takes import NO_PLAYBACK, Take, read_takes

_SCALE_ROWS = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a head is trained.

    Attributes:
        seed: source of all chance.
        steps: batches.
        copy_pairs: rows in a batch that come with the copy of a vocoder beside them.
        playback_pairs: rows in a batch that come with a playback of themselves.
        singles: further rows of each class in a batch.
        learning_rate: highest, reached after a tenth of the steps.
        weight_decay: of AdamW.
        dropout: share of the inputs that a step does not see.
        label_smoothing: share of doubt in each label; keeps the scores of the known modest.
        evenness: weight of the variance of the loss between genuine corpora (V-REx: Krueger et
            al., 2021): a corpus must not be what tells.
        contrast: weight of telling the rows of a pair apart, where only the spoof differs.
        edge: see `Judge`. With this, 99 % of the calls of unheard corpora stay below 1.
    """

    seed: int = 1
    steps: int = 1000
    copy_pairs: int = 64
    playback_pairs: int = 40
    singles: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    dropout: float = 0.3
    label_smoothing: float = 0.05
    evenness: float = 1.0
    contrast: float = 0.5
    edge: float = 0.9


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows and the truth about them.

    Attributes:
        rows: shape (batch,); the first `pairs` twos are of the same speech on the same line.
        labels: shape (batch, 2): synthetic, played back.
        corpora: number of each row's corpus if it is genuine and live, else -1.
        pairs: how many twos there are.
    """

    rows: Tensor
    labels: Tensor
    corpora: Tensor
    pairs: int


class _Pool:
    """Rows to draw from, evened out: a kind's share grows with the root of its size."""

    def __init__(
        self, rows: Iterable[int], kind_of: Callable[[int], object], rng: np.random.Generator
    ) -> None:
        self._rows, self._rng = list(rows), rng
        kinds = [kind_of(row) for row in self._rows]
        sizes: dict[object, int] = {}
        for kind in kinds:
            sizes[kind] = sizes.get(kind, 0) + 1
        p = np.array([1 / math.sqrt(sizes[kind]) for kind in kinds])
        self._rising = np.cumsum(p / p.sum())

    def draw(self, count: int) -> list[int]:
        """So many rows."""
        found = np.searchsorted(self._rising, self._rng.random(count))
        return [self._rows[min(index, len(self._rows) - 1)] for index in found]


class Feed:
    """Draws batches: classes equal, corpora and systems evened out, copies beside originals."""

    def __init__(self, takes: Sequence[Take], heard: Sequence[Heard], recipe: Recipe) -> None:
        """Arrange the rows.

        Args:
            takes: the table of `prepare`.
            heard: the rows that may be drawn, of the table of `embed`; numbered in its order.
            recipe: sizes and seed.
        """
        self._recipe = recipe
        rng = np.random.default_rng([recipe.seed, 7])
        self._takes = of_row = [takes[each.take] for each in heard]

        def kind(row: int) -> object:
            return of_row[row].system, of_row[row].corpus

        def pool(wanted: Callable[[Take], bool]) -> _Pool:
            rows = (row for row, take in enumerate(of_row) if wanted(take))
            return _Pool(rows, kind, rng)

        self._genuine = pool(lambda t: t.label == GENUINE and not t.playback)
        self._copies = pool(lambda t: t.is_copy)
        self._made = pool(lambda t: t.label == SPOOF and not t.is_copy and not t.playback)
        self._played = pool(lambda t: bool(t.playback))
        self._originals = {
            each.group: row
            for row, (take, each) in enumerate(zip(of_row, heard, strict=True))
            if not take.is_copy and take.playback == NO_PLAYBACK
        }
        self._groups = [each.group for each in heard]
        names = sorted({take.corpus for take in of_row})
        self._corpora = {name: number for number, name in enumerate(names)}

    def genuine(self, count: int) -> list[int]:
        """Rows of living voices, corpora evened out."""
        return self._genuine.draw(count)

    def batch(self) -> Batch:
        """The next one."""
        recipe = self._recipe
        changed = self._copies.draw(recipe.copy_pairs) + self._played.draw(recipe.playback_pairs)
        rows = [each for row in changed for each in (self._originals[self._groups[row]], row)]
        rows += self._genuine.draw(recipe.singles) + self._made.draw(recipe.singles)
        takes = [self._takes[row] for row in rows]
        is_spoof = [[t.label == SPOOF, t.playback != NO_PLAYBACK] for t in takes]
        corpora = [
            self._corpora[t.corpus] if not any(spoof) else -1
            for t, spoof in zip(takes, is_spoof, strict=True)
        ]
        return Batch(
            torch.tensor(rows),
            torch.tensor(is_spoof, dtype=torch.float32),
            torch.tensor(corpora),
            len(changed),
        )


def train(feed: Feed, embeddings: Tensor, recipe: Recipe) -> Head:
    """Train a head on embeddings, shape (rows, dimension), of the rows that are fed."""
    torch.manual_seed(recipe.seed)
    head = Head(embeddings, dropout=recipe.dropout).train()
    optimizer = torch.optim.AdamW(head.parameters(), weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, recipe.steps, pct_start=0.1
    )
    began, total = time.monotonic(), 0.0
    for step in range(1, recipe.steps + 1):
        batch = feed.batch()
        loss = _loss(head(embeddings[batch.rows].float()), batch, recipe)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        total += loss.item()
        if step % 250 == 0:
            print(
                f"step {step}: loss {total / 250:.3f}, {time.monotonic() - began:.0f} s", flush=True
            )
            total = 0.0
    head.eval().set_scale(embeddings[feed.genuine(_SCALE_ROWS)])
    return head


def _loss(logits: Tensor, batch: Batch, recipe: Recipe) -> Tensor:
    smoothed = batch.labels * (1 - recipe.label_smoothing) + recipe.label_smoothing / 2
    each = functional.binary_cross_entropy_with_logits(logits, smoothed, reduction="none")
    by_corpus = torch.stack(
        [each[batch.corpora == corpus].mean(0) for corpus in batch.corpora.unique() if corpus >= 0]
    )
    logits_of_pairs = logits[: 2 * batch.pairs].unflatten(0, (-1, 2))
    labels_of_pairs = batch.labels[: 2 * batch.pairs].unflatten(0, (-1, 2))
    rise = (logits_of_pairs[:, 1] - logits_of_pairs[:, 0])[
        labels_of_pairs[:, 1] > labels_of_pairs[:, 0]
    ]
    contrast = functional.softplus(-rise).mean()
    return each.mean() + recipe.evenness * by_corpus.var(0).mean() + recipe.contrast * contrast


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=DEFAULT_WORK_DIR)
    parser.add_argument("--model", choices=[FINAL, *FOLDS], default=FINAL)
    parser.add_argument("--steps", type=int, default=Recipe().steps)
    parser.add_argument("--seed", type=int, default=Recipe().seed)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    recipe = Recipe(seed=arguments.seed, steps=arguments.steps)
    takes, _ = read_takes(arguments.work)
    heard, embeddings = read_embeddings(arguments.work)
    if arguments.model != FINAL:
        fold = FOLDS[arguments.model]
        kept = [row for row, each in enumerate(heard) if not fold.leaves_out(takes[each.take])]
        heard, embeddings = [heard[row] for row in kept], embeddings[kept]
    known = torch.from_numpy(embeddings)
    head = train(Feed(takes, heard, recipe), known, recipe)
    judge = Judge(SpoofNet(Ear.pretrained(), head), known, edge=recipe.edge).eval()
    export(judge, model_path(arguments.work, arguments.model), asdict(recipe))


if __name__ == "__main__":
    main()
