import hashlib
import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from vivavoce.foundation import lay_foundation
from vivavoce.settings import read_settings


def average_network(bands, dimension, metadata, frames="frames"):
    """A tiny network: the mean over frames, then a fixed linear layer."""
    weights = np.random.default_rng(7).standard_normal((bands, dimension)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["features", "axis"], ["mean"], keepdims=0),
            helper.make_node("MatMul", ["mean", "weights"], ["vectors"]),
        ],
        "average",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", frames, bands])],
        [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["batch", dimension])],
        [
            numpy_helper.from_array(np.array([1], np.int64), "axis"),
            numpy_helper.from_array(weights, "weights"),
        ],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8, producer_name="test"
    )
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(), weights


CARD = {
    "format": "vivavoce-card/1",
    "name": "tiny",
    "kind": "speaker",
    "rate_hz": 16000,
    "front_end": "kaldi-fbank80",
    "bands": 80,
    "dimension": 12,
    "scale": 32768.0,
    "subtract_mean": True,
    "source": "made by a test",
    "licence": "Apache-2.0",
}


@pytest.fixture
def write_model(tmp_path):
    """Writes a tiny model with its card; members may be changed, or left out with None."""

    def write(*, metadata=None, content=None, **changes):
        card = {key: value for key, value in {**CARD, **changes}.items() if value is not None}
        if content is None:
            content, _ = average_network(80, 12, metadata or {})
        path = tmp_path / "tiny.onnx"
        path.write_bytes(content)
        card.setdefault("sha256", hashlib.sha256(content).hexdigest())
        path.with_name("tiny.card.json").write_text(json.dumps(card), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def network():
    return average_network


@pytest.fixture(scope="session")
def first_start(tmp_path_factory):
    """A data folder as a server's first start leaves it: to copy is quicker than to make."""
    folder = tmp_path_factory.mktemp("first-start") / "data"
    foundation = lay_foundation(read_settings({"data_dir": folder}))
    foundation.store.close()
    foundation.lock.close()
    return folder


@pytest.fixture
def data_dir(tmp_path, first_start):
    """A server's data folder of this test's own."""
    return shutil.copytree(first_start, tmp_path / "data")
