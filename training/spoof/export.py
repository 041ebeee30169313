"""From a trained network to the file that the product loads."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

from training.spoof import whisper
from training.spoof.network import Judge
from vivavoce.audio.arrays import CALL_RATE_HZ
from vivavoce.audio.features import WHISPER_BANDS, WHISPER_HOP_SAMPLES
from vivavoce.models.card import (
    CARD_FORMAT,
    METADATA_PREFIX,
    calibration_suffix,
    load_model,
    metadata_of,
    sha256_of,
)
from vivavoce.models.spoof import FRONT_END
from vivavoce.scoring.spoofing import DISTANCE, VERDICTS

MODEL_NAME = "spoof-v4"
WINDOW_S, HOP_S = 4, 3
"""Three windows make the block of 10 s that a decision needs."""

_LARGE = 4096
"""Tables of numbers from this size on are rounded to 8 bits."""


def export(network: Judge, path: Path, recipe: Mapping[str, object]) -> None:
    """Write an ONNX file that describes itself; any batch, any number of frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    window_frames = WINDOW_S * CALL_RATE_HZ // WHISPER_HOP_SAMPLES
    torch.onnx.export(
        network,
        (torch.zeros(2, window_frames, WHISPER_BANDS),),
        str(path),
        input_names=["features"],
        output_names=["scores"],
        dynamic_axes={"features": {0: "batch", 1: "frames"}, "scores": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )
    card = {
        "name": MODEL_NAME,
        "kind": "spoof",
        "rate_hz": CALL_RATE_HZ,
        "front_end": FRONT_END,
        "bands": WHISPER_BANDS,
        "dimension": len(VERDICTS) + 1,
        "outputs": " ".join((*VERDICTS, DISTANCE)),
        "window_frames": window_frames,
        "hop_frames": HOP_S * CALL_RATE_HZ // WHISPER_HOP_SAMPLES,
        "source": f"training/spoof of vivavoce, from the first layers of {whisper.MODEL}",
        "licence": "Apache-2.0 AND MIT",
        "description": "Synthetic speech, and speech played back, over a telephone line.",
    }
    recipe_text = " ".join(f"{name}={value}" for name, value in recipe.items())
    model = onnx.load(path)
    _round_weights(model)
    metadata = {**metadata_of(card), f"{METADATA_PREFIX}recipe": recipe_text}
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.checker.check_model(model)
    onnx.save(model, path)
    card_file = {"format": CARD_FORMAT, **card, "sha256": sha256_of(path)}
    path.with_suffix(".card.json").write_text(json.dumps(card_file, indent=2) + "\n")
    for verdict in VERDICTS:
        # Made for the model that was here before.
        path.with_name(path.stem + calibration_suffix(verdict)).unlink(missing_ok=True)
    load_model(path)  # what cannot be used should fail here


def model_path(work: Path, model: str) -> Path:
    """Where a trained model lies; each in a folder of its own, all of one name."""
    return work / "models" / model.replace(" ", "-") / f"{MODEL_NAME}.onnx"


def _round_weights(model: onnx.ModelProto) -> None:
    """Keep large weights in 8 bits, with a scale for each output of their layer.

    Only what is stored is rounded, not what is computed: with inputs rounded too (ONNX Runtime's
    dynamic quantization), the score of a window would depend on the others of its batch.
    """
    graph = model.graph
    output_axis = {
        node.input[1]: 1 if node.op_type == "MatMul" else 0
        for node in graph.node
        if node.op_type in ("Conv", "Gemm", "MatMul")
    }
    for tensor in list(graph.initializer):
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.ndim < 2 or values.size < _LARGE:
            continue
        axis = output_axis.get(tensor.name, 0)
        others = tuple(i for i in range(values.ndim) if i != axis)
        scale = np.maximum(np.abs(values).max(axis=others, keepdims=True) / 127, 1e-12)
        rounded = np.round(values / scale).astype(np.int8)
        parts = {
            f"{tensor.name}.rounded": rounded,
            f"{tensor.name}.scale": scale.ravel().astype(np.float32),
        }
        graph.initializer.remove(tensor)
        graph.initializer.extend(numpy_helper.from_array(part, n) for n, part in parts.items())
        graph.node.insert(
            0, helper.make_node("DequantizeLinear", list(parts), [tensor.name], axis=axis)
        )
