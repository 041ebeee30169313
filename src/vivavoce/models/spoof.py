"""The spoof detector: from a caller's net speech to evidence that it is no living voice.

Two questions are asked of each window: is a machine speaking, and is a recording played back? A
model may also tell how far a window is from the audio that it was trained on.
"""

from collections.abc import Sequence

import numpy as np

from vivavoce.audio.arrays import CALL_RATE_HZ, Floats
from vivavoce.audio.features import (
    WHISPER_BANDS,
    WHISPER_HOP_SAMPLES,
    WHISPER_WINDOW_SAMPLES,
    whisper_log_mel,
)
from vivavoce.errors import ModelInvalid, NotEnoughSpeech
from vivavoce.models.card import Model, ModelCard
from vivavoce.models.memory import Memory, key_of
from vivavoce.scoring.spoofing import BLOCK_S, DISTANCE, VERDICTS, SpoofEvidence

FRONT_END = "whisper-mel80"
"""The name that stands for `whisper_log_mel` in a model's metadata."""

_OUTPUTS = (*VERDICTS, DISTANCE)
"""The columns of the evidence that models give."""

MIN_SPEECH_S = 1.0
"""Less net speech gets no score: shorter inputs were never seen in training, and the calibration
begins at 3 s."""

_BATCH = 2
"""Windows run at once. More take as long each, and memory for all of them, which ONNX Runtime keeps
for every thread that ever needed it."""


class SpoofDetector:
    """Spoof models with their front ends: shared by all calls, without state.

    Each verdict comes from the first model that gives it; so does the distance, but no model is run
    for it alone. Raw scores are logits; positive speaks for a spoof. What they mean as a likelihood
    ratio is the calibration's matter.

    Attributes:
        version: names of the models, each with the first 12 digits of its file's SHA-256.
        by_verdict: the model that gives a verdict.
    """

    def __init__(self, *models: Model) -> None:
        for model in models:
            _check(model.card)
        self.version = "+".join(f"{model.card.name}@{model.card.sha256[:12]}" for model in models)
        self.by_verdict = {verdict: _giving(verdict, models) for verdict in VERDICTS}
        self._used = [model for model in models if model in self.by_verdict.values()]
        spans = [_span(model.card) for model in self._used]
        telling = (model for model in self._used if DISTANCE in model.card.outputs)
        self._by_output = {**self.by_verdict, DISTANCE: next(telling, None)}
        # The longest: a model of a shorter one takes any number of frames.
        self._window_samples = max(window for window, _ in spans)
        self._stride_samples = min(stride for _, stride in spans)

    def judge(self, audio: Floats, memory: Memory | None = None) -> SpoofEvidence:
        """Evidence of net speech.

        Args:
            audio: net speech, shape (n,), full scale -1..1, 8 kHz; its level does not matter.
            memory: what was found of the same call before; what is found now is added.

        Returns:
            Windows that cover all of the speech. The last one ends with the audio, overlapping more
            if need be; audio shorter than a window is one window of fewer frames.

        Raises:
            NotEnoughSpeech: less than `MIN_SPEECH_S`.
        """
        if len(audio) < MIN_SPEECH_S * CALL_RATE_HZ:
            raise NotEnoughSpeech(needed_s=MIN_SPEECH_S, got_s=len(audio) / CALL_RATE_HZ)
        length = min(len(audio), self._window_samples)
        starts = np.array([*self._lasting_starts(audio), len(audio) - length])
        cuts = [audio[start : start + length] for start in starts]
        windows = np.zeros((len(cuts), 2 + len(_OUTPUTS)), np.float32)
        windows[:, 0] = starts / CALL_RATE_HZ
        windows[:, 1] = (starts + length) / CALL_RATE_HZ
        windows[:, 2:] = self._scores(cuts, {} if memory is None else memory)
        return SpoofEvidence(windows)

    def look_ahead(self, audio: Floats, memory: Memory) -> None:
        """Judge those windows that will be windows of more speech too; what is found is added.

        Args:
            audio: net speech so far, as for `judge`.
            memory: what was found of the same call before.
        """
        length = self._window_samples
        cuts = [audio[start : start + length] for start in self._lasting_starts(audio)]
        if cuts:
            self._scores(cuts, memory)

    def _lasting_starts(self, audio: Floats) -> range:
        """First samples of all windows but the one that ends with the audio."""
        return range(0, max(0, len(audio) - self._window_samples), self._stride_samples)

    def _scores(self, cuts: Sequence[Floats], memory: Memory) -> Floats:
        """Scores of windows, (n, samples): shape (n, outputs); of those not known, from models."""
        keys = [key_of(cut) for cut in cuts]
        new = [index for index, key in enumerate(keys) if key not in memory]
        for start in range(0, len(new), _BATCH):
            batch = new[start : start + _BATCH]
            rows = self._judge(np.stack([whisper_log_mel(cuts[index]) for index in batch]))
            memory |= {keys[index]: row for index, row in zip(batch, rows, strict=True)}
        return np.stack([memory[key] for key in keys])

    def _judge(self, features: Floats) -> Floats:
        """Scores of features, (n, frames, bands): shape (n, outputs)."""
        rows = np.zeros((len(features), len(_OUTPUTS)), np.float32)
        for model in self._used:
            scores = model.run(features)
            for column, output in enumerate(_OUTPUTS):
                if self._by_output[output] is model:
                    rows[:, column] = scores[:, model.card.outputs.index(output)]
        return rows


def _check(card: ModelCard) -> None:
    if (card.kind, card.front_end) != ("spoof", FRONT_END):
        raise ModelInvalid(
            f"{card.name} is a {card.kind} model on {card.front_end!r}; a spoof model on"
            f" {FRONT_END!r} is needed"
        )
    if (card.rate_hz, card.bands) != (CALL_RATE_HZ, WHISPER_BANDS) or card.window_frames == 0:
        raise ModelInvalid(
            f"{card.name} must take windows at {CALL_RATE_HZ} Hz and {WHISPER_BANDS} bands"
        )
    if _span(card)[0] > BLOCK_S * CALL_RATE_HZ:
        raise ModelInvalid(f"{card.name} must take windows of at most {BLOCK_S:g} s")


def _giving(verdict: str, models: Sequence[Model]) -> Model:
    for model in models:
        if verdict in model.card.outputs:
            return model
    names = " and ".join(model.card.name for model in models) or "no model"
    raise ModelInvalid(f"a spoof model that gives {verdict!r} is needed; there is {names}")


def _span(card: ModelCard) -> tuple[int, int]:
    """Samples of a window, and from window to window."""
    window_samples = (card.window_frames - 1) * WHISPER_HOP_SAMPLES + WHISPER_WINDOW_SAMPLES
    return window_samples, card.hop_frames * WHISPER_HOP_SAMPLES
