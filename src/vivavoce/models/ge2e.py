"""The GE2E speaker encoder as an ONNX file: three LSTM layers, a linear one, ReLU, unit length.

Source: L. Wan, Q. Wang, A. Papir, I. Lopez Moreno, "Generalized end-to-end loss for speaker
verification", ICASSP 2018; sizes as in Resemblyzer 0.1.4.
"""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from vivavoce.audio.arrays import Floats
from vivavoce.errors import ModelInvalid

LAYERS = 3
UNITS = 256
BANDS = 40
WINDOW_FRAMES = 160
DIMENSION = 256

_OPSET = 18
_IR_VERSION = 8
"""Both fixed, so that the same weights always make the same bytes and the hash can be known."""

_LEAST_LENGTH = 1e-12
"""Divides a vector that ReLU left all zero, which would otherwise become not-a-number."""


def to_onnx(weights: Mapping[str, Floats], metadata: Mapping[str, str]) -> bytes:
    """Write the network.

    Args:
        weights: "lstm.weight_ih_l0" (1024, 40), "lstm.weight_hh_l0" (1024, 256),
            "lstm.bias_ih_l0" (1024,), "lstm.bias_hh_l0" (1024,) and so on for three layers,
            "linear.weight" (256, 256), "linear.bias" (256,), as PyTorch names them; others are
            ignored.
        metadata: what the file says about itself, keys prefixed.

    Returns:
        An ONNX file: input "mels", float32 (batch, 160, 40); output "vectors", float32
        (batch, 256), unit length.

    Raises:
        ModelInvalid: a weight is missing or has another shape.
    """
    initializers: list[Any] = []
    nodes: list[Any] = [helper.make_node("Transpose", ["mels"], ["sequence_0"], perm=[1, 0, 2])]

    def constant(name: str, values: Floats | npt.NDArray[np.int64]) -> str:
        initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    direction_axis = constant("direction_axis", np.array([1], np.int64))
    for layer in range(LAYERS):
        inputs = [
            f"sequence_{layer}",
            constant(f"weights_{layer}", _gates(weights, f"lstm.weight_ih_l{layer}", layer)),
            constant(f"recurrent_{layer}", _gates(weights, f"lstm.weight_hh_l{layer}", layer)),
            constant(
                f"bias_{layer}",
                np.concatenate(
                    [
                        _gates(weights, f"lstm.bias_ih_l{layer}", layer),
                        _gates(weights, f"lstm.bias_hh_l{layer}", layer),
                    ],
                    axis=1,
                ),
            ),
        ]
        outputs = [f"states_{layer}", f"last_{layer}"]
        nodes += [
            helper.make_node("LSTM", inputs, outputs, hidden_size=UNITS),
            # (frames, directions, batch, units) to what the next layer takes.
            helper.make_node("Squeeze", [outputs[0], direction_axis], [f"sequence_{layer + 1}"]),
        ]
    nodes.pop()  # Of the last layer only the last state is used.
    last_axis = constant("last_axis", np.array([0], np.int64))
    linear = [
        "last",
        constant("linear_weights", _weight(weights, "linear.weight", (DIMENSION, UNITS))),
        constant("linear_bias", _weight(weights, "linear.bias", (DIMENSION,))),
    ]
    length = ["length", constant("least_length", np.array(_LEAST_LENGTH, np.float32))]
    nodes += [
        helper.make_node("Squeeze", [f"last_{LAYERS - 1}", last_axis], ["last"]),
        helper.make_node("Gemm", linear, ["linear"], transB=1),
        helper.make_node("Relu", ["linear"], ["positive"]),
        helper.make_node("ReduceL2", ["positive", direction_axis], ["length"], keepdims=1),
        helper.make_node("Max", length, ["divisor"]),
        helper.make_node("Div", ["positive", "divisor"], ["vectors"]),
    ]
    return _serialise(nodes, initializers, metadata)


def _serialise(nodes: list[Any], initializers: list[Any], metadata: Mapping[str, str]) -> bytes:
    shape_in, shape_out = ["batch", WINDOW_FRAMES, BANDS], ["batch", DIMENSION]
    graph = helper.make_graph(
        nodes,
        "ge2e",
        [helper.make_tensor_value_info("mels", TensorProto.FLOAT, shape_in)],
        [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, shape_out)],
        initializers,
    )
    model: Any = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="vivavoce",
    )
    helper.set_model_props(model, dict(sorted(metadata.items())))
    onnx.checker.check_model(model, full_check=True)
    return cast("bytes", model.SerializeToString(deterministic=True))


def _gates(weights: Mapping[str, Floats], name: str, layer: int) -> Floats:
    """Weights of an LSTM's four gates, shape (1, 4 * units, ...), in the order of ONNX.

    PyTorch stacks input, forget, cell, output; ONNX wants input, output, forget, cell.
    """
    if "bias" in name:
        tail: tuple[int, ...] = ()
    elif "hh" in name or layer > 0:
        tail = (UNITS,)
    else:
        tail = (BANDS,)
    stacked = _weight(weights, name, (4 * UNITS, *tail))
    entry, forget, cell, leave = np.split(stacked, 4)
    return np.concatenate([entry, leave, forget, cell])[np.newaxis]


def _weight(weights: Mapping[str, Floats], name: str, shape: tuple[int, ...]) -> Floats:
    found = weights.get(name)
    if found is None or found.shape != shape:
        got = "missing" if found is None else f"of shape {found.shape}"
        raise ModelInvalid(f"The checkpoint is not a GE2E encoder: {name} is {got}, not {shape}")
    return found
