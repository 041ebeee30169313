"""Train one model: the one that ships, or one that a fold keeps from hearing something.

    python -m training.spoof.train --work DIR --model final
    python -m training.spoof.train --work DIR --model classical

Deterministic from its seed on one thread of one kind of machine. Writes
`DIR/models/<model>/spoof-v1.onnx`.
"""

import argparse
import json
import math
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import torch

from training.spoof.folds import FINAL, FOLDS
from training.spoof.lines import draw_line
from training.spoof.network import SpoofNet
from training.spoof.prepare import DEFAULT_WORK_DIR, Take, read_takes
from training.spoof.sources import GENUINE, SPOOF
from training.spoof.vocoders import VOCODERS
from vivavoce.audio.arrays import CALL_RATE_HZ, Floats, to_float
from vivavoce.audio.spoof_features import (
    SPOOF_BANDS,
    SPOOF_FRONT_END,
    SPOOF_HOP_SAMPLES,
    log_linear_bands,
)
from vivavoce.models.card import CARD_FORMAT, METADATA_PREFIX, metadata_of, sha256_of

MODEL_NAME = "spoof-v1"
WINDOW_S = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a model is trained.

    Attributes:
        seed: source of all chance.
        steps: batches.
        pairs: genuine clips in a batch that come with a vocoder's copy of themselves.
        singles: further clips of each class in a batch.
        shortest_s: shortest input.
        longest_s: longest input.
        learning_rate: highest, reached after a tenth of the steps.
        label_smoothing: share of doubt in each label; keeps the scores of the known modest.
    """

    seed: int = 1
    steps: int = 1100
    pairs: int = 12
    singles: int = 20
    shortest_s: float = 2.0
    longest_s: float = 4.5
    learning_rate: float = 2e-3
    label_smoothing: float = 0.05


class Feed:
    """Draws batches: classes equal, corpora and systems evened out, copies beside originals."""

    def __init__(self, takes: Iterable[Take], samples: np.ndarray, recipe: Recipe) -> None:
        self._samples, self._recipe = samples, recipe
        self._rng = np.random.default_rng([recipe.seed, 7])
        takes = [take for take in takes if take.trains]
        genuine = [take for take in takes if take.label == GENUINE]
        copies = [take for take in takes if take.system in VOCODERS]
        made = [take for take in takes if take.label == SPOOF and take.system not in VOCODERS]
        self._genuine, self._genuine_p = _evened(genuine, [take.corpus for take in genuine])
        self._made, self._made_p = _evened(made, [(take.system, take.corpus) for take in made])
        self._copies, self._copies_p = _evened(
            copies, [(take.system, take.corpus) for take in copies]
        )
        self._originals: dict[tuple[int, str], list[Take]] = {}
        for take in genuine:
            self._originals.setdefault((take.source, take.codec == "none"), []).append(take)

    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        """Features, shape (batch, frames, bands), and labels, shape (batch, 1)."""
        recipe, rng = self._recipe, self._rng
        # Whole tenths of a second: lengths with large prime factors make Fourier transforms slow.
        tenths = round(10 * rng.uniform(recipe.shortest_s, recipe.longest_s))
        length = tenths * CALL_RATE_HZ // 10
        features: list[Floats] = []
        labels: list[float] = []
        for _ in range(recipe.pairs):
            copy = self._copies[rng.choice(len(self._copies), p=self._copies_p)]
            candidates = self._originals[copy.source, copy.codec == "none"]
            original = candidates[rng.integers(len(candidates))]
            line, position = draw_line(rng), rng.random()
            for take, label in ((original, 0.0), (copy, 1.0)):
                features.append(self._masked(line(self._cut(take, length, position))))
                labels.append(label)
        for chosen, p, label in (
            (self._genuine, self._genuine_p, 0.0),
            (self._made, self._made_p, 1.0),
        ):
            for index in rng.choice(len(chosen), recipe.singles, p=p):
                cut = self._cut(chosen[index], length, rng.random())
                features.append(self._masked(draw_line(rng)(cut)))
                labels.append(label)
        return np.stack(features), np.array(labels, np.float32)[:, None]

    def _cut(self, take: Take, length: int, position: float) -> Floats:
        audio = self._samples[take.start : take.start + take.count]
        if len(audio) < length:
            return to_float(np.resize(audio, length))
        start = int(position * (len(audio) - length))
        return to_float(audio[start : start + length])

    def _masked(self, audio: Floats) -> Floats:
        """Features, half the time with some bands or frames hidden (SpecAugment, Park 2019)."""
        features, rng = log_linear_bands(audio), self._rng
        if rng.random() < 0.5:
            low = rng.integers(SPOOF_BANDS - 4)
            features[:, low : low + rng.integers(2, 13)] = 0
        if rng.random() < 0.3:
            first = rng.integers(len(features))
            features[first : first + rng.integers(5, 25)] = 0
        return features


def _evened(takes: list[Take], groups: list[object]) -> tuple[list[Take], np.ndarray]:
    """Takes with their chance: a group's share grows with the root of its size."""
    sizes: dict[object, int] = {}
    for group in groups:
        sizes[group] = sizes.get(group, 0) + 1
    p = np.array([1 / math.sqrt(sizes[group]) for group in groups])
    return takes, p / p.sum()


def train(feed: Feed, recipe: Recipe) -> SpoofNet:
    """Train a network on what a feed gives."""
    torch.manual_seed(recipe.seed)
    torch.use_deterministic_algorithms(mode=True)
    network = SpoofNet(SPOOF_BANDS).to(memory_format=torch.channels_last)  # a third faster
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, recipe.steps, pct_start=0.1
    )
    loss_of = torch.nn.BCEWithLogitsLoss()
    began, total = time.monotonic(), 0.0
    for step in range(1, recipe.steps + 1):
        features, labels = feed.batch()
        logits = network(torch.from_numpy(features))
        smoothed = torch.from_numpy(labels) * (1 - recipe.label_smoothing)
        loss = loss_of(logits, smoothed + recipe.label_smoothing / 2)
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


def export(network: SpoofNet, path: Path, recipe: Recipe) -> None:
    """Write an ONNX file that describes itself; any batch, any number of frames."""
    torch.onnx.export(
        network,
        (torch.zeros(2, 200, SPOOF_BANDS),),
        str(path),
        input_names=["features"],
        output_names=["logit"],
        dynamic_axes={"features": {0: "batch", 1: "frames"}, "logit": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )
    window_frames = WINDOW_S * CALL_RATE_HZ // SPOOF_HOP_SAMPLES
    card = {
        "name": MODEL_NAME,
        "kind": "spoof",
        "rate_hz": CALL_RATE_HZ,
        "front_end": SPOOF_FRONT_END,
        "bands": SPOOF_BANDS,
        "dimension": 1,
        "window_frames": window_frames,
        "hop_frames": window_frames // 2,
        "subtract_mean": True,
        "source": "training/spoof of vivavoce",
        "licence": "Apache-2.0",
        "description": "Synthetic speech over a telephone line; playback is not judged.",
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
    network = train(Feed(takes, samples, recipe), recipe)
    path = model_path(arguments.work, arguments.model)
    path.parent.mkdir(parents=True, exist_ok=True)
    export(network, path, recipe)


if __name__ == "__main__":
    main()
