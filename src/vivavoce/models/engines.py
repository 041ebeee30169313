"""All engines of one process, behind one face for calls and enrolments."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from vivavoce.audio.arrays import CALL_RATE_HZ, Floats, Samples, to_float
from vivavoce.errors import NotEnoughSpeech
from vivavoce.models.batch import MicroBatcher
from vivavoce.models.card import Model, load_model
from vivavoce.models.memory import Memory, key_of
from vivavoce.models.registry import find
from vivavoce.models.speaker import SpeakerEncoder
from vivavoce.models.spoof import SpoofDetector
from vivavoce.models.vad import SpeechDetector, load_network
from vivavoce.scoring.judge import Judge
from vivavoce.scoring.spoofing import SpoofEvidence
from vivavoce.scoring.voices import CALIBRATED, VoicesFound, find_voices


class Models:
    """The models of one installation, loaded and checked.

    Attributes:
        encoder: from speech to a voice.
        spoof: from speech to evidence that it is no living voice.
        judge: what the scores of both mean.
        voices: what the encoder's windows say of two voices; None where that is not known.
    """

    def __init__(self, speaker: Model, spoof: Sequence[Model]) -> None:
        load_network()
        self.encoder = SpeakerEncoder(speaker)
        self.voices = speaker.calibrations.get(CALIBRATED)
        self.spoof = SpoofDetector(*spoof)
        self.judge = Judge(
            speaker=speaker.calibration(),
            spoof_calibrations={
                verdict: model.calibration(verdict)
                for verdict, model in self.spoof.by_verdict.items()
            },
        )

    @property
    def model(self) -> str:
        """Name and version of the encoder; vectors of different ones do not compare."""
        return f"{self.encoder.name}@{self.encoder.version}"

    @property
    def spoof_model(self) -> str:
        """Names and versions of the spoof detectors."""
        return self.spoof.version

    @staticmethod
    def new_detector() -> SpeechDetector:
        """A voice activity detector for one call."""
        return SpeechDetector()

    def embed(self, speech: Samples) -> Floats:
        """The voice of net speech, shape (n,) at the call rate: shape (dimension,)."""
        return self.encoder.embed(to_float(speech), CALL_RATE_HZ)

    def spoof_evidence(self, speech: Samples, memory: Memory | None = None) -> SpoofEvidence | None:
        """What net speech, shape (n,) at the call rate, says of spoofing; None if too short."""
        try:
            return self.spoof.judge(to_float(speech), memory)
        except NotEnoughSpeech:
            return None


class Engines:
    """The models, shared by all calls: windows of many calls are run together."""

    def __init__(
        self,
        models: Models,
        *,
        max_batch: int,
        max_wait_ms: float,
        threads: int,
    ) -> None:
        self._models = models
        self._voices = MicroBatcher(
            models.encoder.encode, max_batch=max_batch, max_wait_ms=max_wait_ms, threads=threads
        )
        self._judging = ThreadPoolExecutor(threads, thread_name_prefix="judge")
        # Short work of its own: behind the detector's it would keep the encoder waiting.
        self._preparing = ThreadPoolExecutor(1, thread_name_prefix="prepare")

    @property
    def model(self) -> str:
        """Name and version of the encoder; vectors of different ones do not compare."""
        return self._models.model

    @property
    def spoof_model(self) -> str:
        """Name and version of the spoof detector."""
        return self._models.spoof_model

    @property
    def waiting(self) -> int:
        """Pieces of speech that wait for the encoder."""
        return self._voices.waiting

    async def embed(self, speech: Samples) -> Floats:
        """The voice of net speech, shape (n,) at the call rate: shape (dimension,)."""
        return self._models.encoder.pool(await self._encode(speech, {}))

    async def judge(
        self, speech: Samples, memory: Memory | None = None
    ) -> tuple[Floats, SpoofEvidence | None, VoicesFound | None]:
        """The voice of net speech, what it says of spoofing, and whether the voices are two.

        The latter two are None where there is too little speech for them.

        Args:
            speech: all that is known of the voice.
            memory: what was found of the same call before; what is found now is added.
        """
        found = {} if memory is None else memory
        loop = asyncio.get_running_loop()
        # Side by side, which halves the time where there is a core to spare.
        judging = loop.run_in_executor(self._judging, self._models.spoof_evidence, speech, found)
        windows, spoof = await asyncio.gather(self._encode(speech, found), judging)
        seconds = len(speech) / CALL_RATE_HZ
        voices = find_voices(windows, self._models.voices, seconds=seconds)
        return self._models.encoder.pool(windows), spoof, voices

    async def _encode(self, speech: Samples, memory: Memory) -> Floats:
        """The encoder's windows of net speech, shape (windows, dimension)."""
        loop = asyncio.get_running_loop()
        windows, keys = await loop.run_in_executor(self._preparing, self._prepare, speech)
        new = [index for index, key in enumerate(keys) if key not in memory]
        if new:
            vectors = await self._voices.run(windows[new])
            # Copies: the vectors of many calls may be parts of one array.
            memory |= {keys[index]: row.copy() for index, row in zip(new, vectors, strict=True)}
        return np.stack([memory[key] for key in keys])

    async def aclose(self) -> None:
        """Finish what runs."""
        await self._voices.aclose()
        self._judging.shutdown()
        self._preparing.shutdown()

    def _prepare(self, speech: Samples) -> tuple[Floats, list[bytes]]:
        windows = self._models.encoder.prepare(to_float(speech), CALL_RATE_HZ)
        return windows, [key_of(window) for window in windows]


def load_models(models_dir: Path, *, speaker: str, spoof: str) -> Models:
    """Load the models by name; whatever is wrong with them shows here and not in a call.

    Args:
        models_dir: where models are installed.
        speaker: name of the encoder.
        spoof: names of the spoof detectors, by commas.

    Raises:
        ModelMissing: one is not installed; says how to install it.
        ModelInvalid: one has the wrong hash, shape, card or calibration.
    """
    detectors = [load_model(find(models_dir, name.strip())) for name in spoof.split(",")]
    return Models(load_model(find(models_dir, speaker)), detectors)
