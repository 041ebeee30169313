"""Train one model: the one that ships, or one that a fold keeps from hearing something.

    python -m training.spoof.train --work DIR --model final
    python -m training.spoof.train --work DIR --model classical

Deterministic from its seed on one number of threads of one kind of machine. Writes
`DIR/models/<model>/spoof-v3.onnx`.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor
from torch.nn import functional

from training.spoof.folds import FINAL, FOLDS
from training.spoof.lines import Lines
from training.spoof.network import FRONT_END, LOOK, FrontEnd, Judge, SpoofNet
from training.spoof.playback import rooms
from training.spoof.prepare import HEARD_DEVICES, NO_PLAYBACK, VOCODERS, Take, read_takes
from training.spoof.sources import DEFAULT_WORK_DIR, GENUINE, SPOOF
from vivavoce.audio.arrays import CALL_RATE_HZ
from vivavoce.audio.spoof_features import BANDS_OF_WINDOW
from vivavoce.models.card import CARD_FORMAT, METADATA_PREFIX, load_model, metadata_of, sha256_of
from vivavoce.scoring.spoofing import VERDICTS

MODEL_NAME = "spoof-v3"
WINDOW_S = 4

_EMBEDDED_BATCHES = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a model is trained.

    Attributes:
        seed: source of all chance.
        steps: batches.
        copy_pairs: clips in a batch that come with a vocoder's copy of themselves.
        playback_pairs: clips in a batch that come with a playback of themselves.
        singles: further clips of each class in a batch.
        shortest_s: shortest input.
        longest_s: longest input.
        learning_rate: highest, reached after a tenth of the steps.
        label_smoothing: share of doubt in each label; keeps the scores of the known modest.
        evenness: weight of the variance of the loss between genuine corpora (V-REx: Krueger et
            al., 2021): a corpus must not be what tells.
        contrast: weight of telling the clips of a pair apart, where only the spoof differs.
        tempo: how much faster or slower a batch may be played, pitch and size of the voice with it.
        edge: see `Judge`. Calls, being means of windows, scatter less than the embeddings of
            training: with this, 99 % of those of unheard corpora stay below distance 1.
    """

    seed: int = 1
    steps: int = 2800
    copy_pairs: int = 16
    playback_pairs: int = 6
    singles: int = 10
    shortest_s: float = 2.0
    longest_s: float = 4.5
    learning_rate: float = 2e-3
    label_smoothing: float = 0.05
    evenness: float = 1.0
    contrast: float = 0.5
    tempo: float = 0.1
    edge: float = 0.9


@dataclass(frozen=True, slots=True)
class Batch:
    """Some speech and the truth about it.

    Attributes:
        audio: shape (batch, samples); the first `pairs` twos are of the same clip, the last
            `singles` are synthesisers'.
        labels: shape (batch, 2): synthetic, played back.
        corpora: number of each example's corpus if it is genuine and live, else -1.
        pairs: how many twos there are.
    """

    audio: Tensor
    labels: Tensor
    corpora: Tensor
    pairs: int


class _Pool:
    """Takes to draw from, evened out: a group's share grows with the root of its size."""

    def __init__(
        self, takes: Iterable[Take], group_of: Callable[[Take], object], rng: np.random.Generator
    ) -> None:
        self._takes, self._rng = list(takes), rng
        groups = [group_of(take) for take in self._takes]
        sizes: dict[object, int] = {}
        for group in groups:
            sizes[group] = sizes.get(group, 0) + 1
        p = np.array([1 / math.sqrt(sizes[group]) for group in groups])
        self._rising = np.cumsum(p / p.sum())

    def draw(self, count: int) -> list[Take]:
        """So many takes."""
        found = np.searchsorted(self._rising, self._rng.random(count))
        return [self._takes[min(index, len(self._takes) - 1)] for index in found]


class Feed:
    """Draws batches: classes equal, corpora and systems evened out, copies beside originals."""

    def __init__(self, takes: Sequence[Take], samples: np.ndarray, recipe: Recipe) -> None:
        self._samples, self._recipe = samples, recipe
        self._rng = rng = np.random.default_rng([recipe.seed, 7])
        takes = [take for take in takes if take.trains]
        live = [take for take in takes if take.playback == NO_PLAYBACK]
        played = [take for take in takes if take.playback == HEARD_DEVICES]

        def kind(take: Take) -> object:
            return take.system, take.corpus

        self._genuine = _Pool((t for t in live if t.label == GENUINE), kind, rng)
        self._copies = _Pool((t for t in live if t.system in VOCODERS), kind, rng)
        self._made = _Pool(
            (t for t in live if t.label == SPOOF and t.system not in VOCODERS), kind, rng
        )
        self._played = _Pool(played, kind, rng)
        self._originals: dict[tuple[int, str, bool], list[Take]] = {}
        for take in live:
            if take.system not in VOCODERS:
                place = (take.source, take.label, take.codec == "none")
                self._originals.setdefault(place, []).append(take)
        names = sorted({take.corpus for take in takes})
        self._corpora = {name: number for number, name in enumerate(names)}

    def batch(self) -> Batch:
        """The next one."""
        recipe, rng = self._recipe, self._rng
        # Whole fifths of a second: lengths with large prime factors make Fourier transforms slow.
        fifths = round(5 * rng.uniform(recipe.shortest_s, recipe.longest_s))
        length = fifths * CALL_RATE_HZ // 5
        audio: list[np.ndarray] = []
        takes: list[Take] = []
        for changed in (
            *self._copies.draw(recipe.copy_pairs),
            *self._played.draw(recipe.playback_pairs),
        ):
            label = GENUINE if changed.system in VOCODERS else changed.label
            candidates = self._originals[changed.source, label, changed.codec == "none"]
            original, position = candidates[rng.integers(len(candidates))], rng.random()
            for take in (original, changed):
                audio.append(self._cut(take, length, position))
                takes.append(take)
        for pool in (self._genuine, self._made):
            for take in pool.draw(recipe.singles):
                audio.append(self._cut(take, length, rng.random()))
                takes.append(take)
        is_spoof = [[t.label == SPOOF, t.playback != NO_PLAYBACK] for t in takes]
        corpora = [
            self._corpora[t.corpus] if not any(spoof) else -1
            for t, spoof in zip(takes, is_spoof, strict=True)
        ]
        return Batch(
            torch.from_numpy(np.stack(audio).astype(np.float32) / 32768),
            torch.tensor(is_spoof, dtype=torch.float32),
            torch.tensor(corpora),
            recipe.copy_pairs + recipe.playback_pairs,
        )

    def _cut(self, take: Take, length: int, position: float) -> np.ndarray:
        audio = self._samples[take.start : take.start + take.count]
        if len(audio) < length:
            return np.resize(audio, length)
        start = int(position * (len(audio) - length))
        return audio[start : start + length]


def room_responses() -> Tensor:
    """What a caller may speak in; shape (rooms, samples)."""
    quarter = CALL_RATE_HZ // 4
    responses = [
        np.pad(response[:quarter], (0, max(0, quarter - len(response))))
        for room in rooms(unheard=False)
        for response in (*room.near, *room.far)
    ]
    return torch.from_numpy(np.stack(responses))


class Hearing:
    """Batches as the network gets them: over a telephone line, and as features."""

    def __init__(self, feed: Feed, recipe: Recipe) -> None:
        self._feed, self._recipe = feed, recipe
        self._chance = torch.Generator().manual_seed(recipe.seed)
        rooms = room_responses()
        self._lines, self._front = Lines(responses=rooms), FrontEnd()
        # Synthesisers have no noise of their own, as all recordings have: they always get some.
        self._noisy_lines = Lines(responses=rooms, noise=1.0, noise_db=(10.0, 35.0))

    @torch.no_grad()
    def hear(self) -> tuple[Tensor, Batch]:
        """Features of the next batch, shape (batch, frames, bands), and the batch."""
        batch = self._feed.batch()
        twos, made = 2 * batch.pairs, len(batch.audio) - self._recipe.singles
        audio = torch.cat(
            [
                self._lines(batch.audio[:twos], self._chance, together=2),
                self._lines(batch.audio[twos:made], self._chance),
                self._noisy_lines(batch.audio[made:], self._chance),
            ]
        )
        tempo = 1 + self._recipe.tempo * (2 * torch.rand((), generator=self._chance) - 1)
        audio = _at_tempo(audio, float(tempo))
        return _masked(self._front(audio), self._chance), batch


def train(hearing: Hearing, recipe: Recipe) -> SpoofNet:
    """Train a network on what is heard."""
    torch.manual_seed(recipe.seed)
    network = SpoofNet().to(memory_format=torch.channels_last)  # a third faster
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, recipe.steps, pct_start=0.1
    )
    began, total = time.monotonic(), 0.0
    for step in range(1, recipe.steps + 1):
        features, batch = hearing.hear()
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(features)
        loss = _loss(logits.float(), batch, recipe)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        total += loss.item()
        if step % 100 == 0:
            print(
                f"step {step}: loss {total / 100:.3f}, {time.monotonic() - began:.0f} s", flush=True
            )
            total = 0.0
    return network.to(memory_format=torch.contiguous_format).eval()


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


@torch.no_grad()
def with_distance(network: SpoofNet, hearing: Hearing, recipe: Recipe) -> Judge:
    """The trained network with its measure of how far audio is from this training."""
    heard = [network.embed(hearing.hear()[0]) for _ in range(_EMBEDDED_BATCHES)]
    return Judge(network, torch.cat(heard), edge=recipe.edge).eval()


def _at_tempo(audio: Tensor, tempo: float) -> Tensor:
    """Resampled by Fourier transform, for all classes alike; whole frames of 20 ms."""
    samples = audio.shape[1]
    wanted = int(samples / tempo) // 160 * 160
    spectrum = torch.fft.rfft(audio)
    bins = wanted // 2 + 1
    spectrum = functional.pad(spectrum[:, :bins], (0, max(0, bins - spectrum.shape[1])))
    return torch.fft.irfft(spectrum, wanted) * (wanted / samples)


def _masked(features: Tensor, chance: torch.Generator) -> Tensor:
    """Half of them with some bands or frames hidden (SpecAugment: Park et al., 2019)."""
    batch, frames, _ = features.shape

    def hidden(size: int, widest: int, share: float) -> Tensor:
        draw = torch.rand(3, batch, 1, generator=chance)
        width = draw[0] * widest * (draw[2] < share)
        first = draw[1] * (size - widest)
        places = torch.arange(size)
        return (places >= first) & (places < first + width)

    bands = hidden(BANDS_OF_WINDOW, 12, 0.5).tile(1, len(LOOK.windows))
    return features.masked_fill(hidden(frames, 50, 0.3)[:, :, None] | bands[:, None, :], 0.0)


def export(network: Judge, path: Path, recipe: Recipe) -> None:
    """Write an ONNX file that describes itself; any batch, any number of frames."""
    torch.onnx.export(
        network,
        (torch.zeros(2, 200, LOOK.bands),),
        str(path),
        input_names=["features"],
        output_names=["scores"],
        dynamic_axes={"features": {0: "batch", 1: "frames"}, "scores": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )
    window_frames = WINDOW_S * CALL_RATE_HZ // LOOK.hop_samples
    card = {
        "name": MODEL_NAME,
        "kind": "spoof",
        "rate_hz": CALL_RATE_HZ,
        "front_end": FRONT_END,
        "bands": LOOK.bands,
        "dimension": len(VERDICTS) + 1,
        "outputs": " ".join((*VERDICTS, "distance")),
        "window_frames": window_frames,
        "hop_frames": window_frames // 2,
        "subtract_mean": True,
        "source": "training/spoof of vivavoce",
        "licence": "Apache-2.0",
        "description": "Synthetic speech, and speech played back, over a telephone line.",
    }
    recipe_text = " ".join(f"{name}={value}" for name, value in asdict(recipe).items())
    model = onnx.load(path)
    metadata = {**metadata_of(card), f"{METADATA_PREFIX}recipe": recipe_text}
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(model, path)
    card_file = {"format": CARD_FORMAT, **card, "sha256": sha256_of(path)}
    path.with_suffix(".card.json").write_text(json.dumps(card_file, indent=2) + "\n")
    load_model(path)  # what cannot be used should fail here


def model_path(work: Path, model: str) -> Path:
    """Where a trained model lies; each in a folder of its own, all of one name."""
    return work / "models" / model.replace(" ", "-") / f"{MODEL_NAME}.onnx"


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
    takes, samples = read_takes(arguments.work)
    if arguments.model != FINAL:
        fold = FOLDS[arguments.model]
        takes = [take for take in takes if not fold.leaves_out(take)]
    hearing = Hearing(Feed(takes, samples, recipe), recipe)
    network = with_distance(train(hearing, recipe), hearing, recipe)
    path = model_path(arguments.work, arguments.model)
    path.parent.mkdir(parents=True, exist_ok=True)
    export(network, path, recipe)


if __name__ == "__main__":
    main()
