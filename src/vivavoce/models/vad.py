"""Speech or not, 32 ms at a time: Silero's voice activity detector.

The network carries its state from frame to frame, so each call needs a detector of its own. The
network itself is shared: a detector is two vectors.
"""

from functools import cache
from typing import Any, cast

import numpy as np
import onnxruntime

from vivavoce.audio.arrays import Floats, Samples
from vivavoce.models import silero
from vivavoce.models.silero import FRAME_SAMPLES

RATE_HZ = 16_000


class SpeechDetector:
    """Tells for each frame of one call how likely it holds speech."""

    def __init__(self) -> None:
        self._network = load_network()
        self.reset()

    def probabilities(self, frames: Samples) -> list[float]:
        """Chances of speech, 0..1, in the next frames: shape (n, 512) at 16 kHz, n at least 1.

        Raises:
            ValueError: the frames have another length.
        """
        if frames.ndim != 2 or frames.shape[1] != FRAME_SAMPLES:
            raise ValueError(f"a frame has {FRAME_SAMPLES} samples, not shape {frames.shape}")
        given = {
            "windows": silero.windows_of(frames),
            "hidden": self._hidden,
            "cell": self._cell,
        }
        probabilities, self._hidden, self._cell = self._network.run(None, given)
        return cast("list[float]", probabilities[:, 0].tolist())

    def reset(self) -> None:
        """Forget what was heard: the next frame is the first of a new stretch of audio."""
        self._hidden: Floats = np.zeros((1, 1, silero.UNITS), np.float32)
        self._cell: Floats = self._hidden


@cache
def load_network() -> Any:  # noqa: ANN401 - onnxruntime has no types
    """The network, one for the process.

    Raises:
        ModelMissing: the package that brings the weights is not installed, or brings others.
        ModelInvalid: the file of weights is damaged.
    """
    options = cast("Any", onnxruntime).SessionOptions()
    # Calls are the parallelism, as with the other models.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return cast("Any", onnxruntime).InferenceSession(
        silero.to_onnx(silero.read_weights()), options, providers=["CPUExecutionProvider"]
    )
