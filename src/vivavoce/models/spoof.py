"""The spoof detector: from a caller's net speech to evidence that a machine is speaking.

Only synthetic speech is judged. Whether a recording is played back is another question, which this
model was not asked; callers report that verdict as not judged.
"""

import numpy as np

from vivavoce.audio.arrays import CALL_RATE_HZ, Floats
from vivavoce.audio.spoof_features import SPOOF_BANDS, SPOOF_FRONT_END, log_linear_bands
from vivavoce.audio.spoof_features import SPOOF_HOP_SAMPLES as _HOP_SAMPLES
from vivavoce.errors import ModelInvalid, NotEnoughSpeech
from vivavoce.models.card import Model

MIN_SPEECH_S = 1.0
"""Less net speech gets no score: shorter inputs were never seen in training, and the calibration
begins at 3 s."""


class SpoofDetector:
    """A spoof model with its front end: shared by all calls, without state.

    Raw scores are logits; positive speaks for synthetic speech. What they mean as a likelihood
    ratio is the calibration's matter.

    Attributes:
        name: the model's name.
        version: first 12 digits of the ONNX file's SHA-256.
    """

    def __init__(self, model: Model) -> None:
        card = model.card
        if card.kind != "spoof" or card.front_end != SPOOF_FRONT_END:
            raise ModelInvalid(
                f"{card.name} is a {card.kind} model on {card.front_end!r}; a spoof model on"
                f" {SPOOF_FRONT_END!r} is needed"
            )
        wanted = (CALL_RATE_HZ, SPOOF_BANDS, 1)
        if (card.rate_hz, card.bands, card.dimension) != wanted or card.window_frames == 0:
            raise ModelInvalid(
                f"{card.name} must take windows at {wanted[0]} Hz, {wanted[1]} bands, and give one"
                " value"
            )
        self.name = card.name
        self.version = card.sha256[:12]
        self._model = model
        # A frame looks one hop beyond its own: see `log_linear_bands`.
        self._window_samples = (card.window_frames + 1) * _HOP_SAMPLES
        self._stride_samples = card.hop_frames * _HOP_SAMPLES

    def prepare(self, audio: Floats) -> Floats:
        """Windows of features that cover all of the speech.

        Args:
            audio: net speech, shape (n,), full scale -1..1, 8 kHz; its level does not matter.

        Returns:
            Shape (windows, frames, bands). The last window ends with the audio, overlapping more
            if need be; audio shorter than a window is one window of fewer frames.

        Raises:
            NotEnoughSpeech: less than `MIN_SPEECH_S`.
        """
        if len(audio) < MIN_SPEECH_S * CALL_RATE_HZ:
            raise NotEnoughSpeech(needed_s=MIN_SPEECH_S, got_s=len(audio) / CALL_RATE_HZ)
        length = min(len(audio), self._window_samples)
        last = len(audio) - length
        starts = [*range(0, last, self._stride_samples), last]
        return np.stack([log_linear_bands(audio[start : start + length]) for start in starts])

    def score(self, windows: Floats) -> Floats:
        """Raw scores, shape (windows,), of windows of features, shape (windows, frames, bands)."""
        return self._model.run(windows)[:, 0]

    def pool(self, logits: Floats) -> float:
        """Evidence of the whole from that of its windows, shape (windows,): their mean."""
        return float(np.mean(logits, dtype=np.float64))

    def judge(self, audio: Floats) -> float:
        """Raw score of net speech, shape (n,), 8 kHz.

        Raises:
            NotEnoughSpeech: less than `MIN_SPEECH_S`.
        """
        return self.pool(self.score(self.prepare(audio)))
