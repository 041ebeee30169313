import hashlib
from typing import Any

import numpy as np
import onnxruntime
import pytest

from vivavoce.errors import ModelInvalid
from vivavoce.models.ge2e import to_onnx

METADATA = {"vivavoce.name": "ge2e", "vivavoce.kind": "speaker"}


def random_weights(seed=0):
    rng = np.random.default_rng(seed)

    def values(*shape):
        return (0.1 * rng.standard_normal(shape)).astype(np.float32)

    weights = {"linear.weight": values(256, 256), "linear.bias": values(256)}
    for layer in range(3):
        weights[f"lstm.weight_ih_l{layer}"] = values(1024, 40 if layer == 0 else 256)
        weights[f"lstm.weight_hh_l{layer}"] = values(1024, 256)
        weights[f"lstm.bias_ih_l{layer}"] = values(1024)
        weights[f"lstm.bias_hh_l{layer}"] = values(1024)
    return weights


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_hand(weights, mels):
    """The encoder in plain numpy, from the equations in PyTorch's documentation of LSTM."""
    sequence = mels.astype(np.float64)
    for layer in range(3):
        w_hh = weights[f"lstm.weight_hh_l{layer}"].astype(np.float64)
        bias = weights[f"lstm.bias_ih_l{layer}"] + weights[f"lstm.bias_hh_l{layer}"]
        entering = sequence @ weights[f"lstm.weight_ih_l{layer}"].T + bias
        hidden = cell = np.zeros((len(mels), 256))
        states = []
        for frame in range(sequence.shape[1]):
            # einsum, not @: many small products in BLAS threads stall on a busy machine.
            gates = entering[:, frame] + np.einsum("bi,oi->bo", hidden, w_hh)
            i, f, g, o = np.split(gates, 4, axis=1)
            cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
            hidden = sigmoid(o) * np.tanh(cell)
            states.append(hidden)
        sequence = np.stack(states, axis=1)
    vectors = np.maximum(sequence[:, -1] @ weights["linear.weight"].T + weights["linear.bias"], 0)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def session_of(content) -> Any:
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


def test_the_network_computes_what_the_equations_say():
    weights = random_weights()
    mels = np.abs(np.random.default_rng(1).standard_normal((3, 160, 40))).astype(np.float32)
    got = session_of(to_onnx(weights, METADATA)).run(None, {"mels": mels})[0]
    np.testing.assert_allclose(got, by_hand(weights, mels), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1.0, rtol=1e-5)


def test_a_row_does_not_depend_on_its_neighbours():
    session = session_of(to_onnx(random_weights(), METADATA))
    mels = np.random.default_rng(2).random((5, 160, 40), dtype=np.float32)
    batch = session.run(None, {"mels": mels})[0]
    alone = np.concatenate([session.run(None, {"mels": mel[np.newaxis]})[0] for mel in mels])
    np.testing.assert_allclose(batch, alone, atol=1e-6)


def test_a_vector_that_relu_leaves_empty_is_zero_and_not_nan():
    weights = random_weights()
    weights["linear.bias"] = np.full(256, -1e3, np.float32)
    mels = np.zeros((1, 160, 40), np.float32)
    got = session_of(to_onnx(weights, METADATA)).run(None, {"mels": mels})[0]
    assert not got.any()


def test_the_same_weights_make_the_same_bytes():
    def digest(metadata):
        return hashlib.sha256(to_onnx(random_weights(), metadata)).hexdigest()

    assert digest(METADATA) == digest(dict(reversed(METADATA.items())))
    assert digest(METADATA) != digest({**METADATA, "vivavoce.licence": "other"})


def test_the_file_describes_itself():
    meta = session_of(to_onnx(random_weights(), METADATA)).get_modelmeta()
    assert meta.custom_metadata_map == METADATA


def test_a_missing_weight_is_named():
    weights = random_weights()
    del weights["lstm.bias_hh_l1"]
    with pytest.raises(ModelInvalid, match="bias_hh_l1 is missing"):
        to_onnx(weights, METADATA)


def test_a_weight_of_another_shape_is_named():
    weights = random_weights()
    weights["linear.weight"] = np.zeros((128, 256), np.float32)
    with pytest.raises(ModelInvalid, match=r"linear\.weight is of shape"):
        to_onnx(weights, METADATA)
