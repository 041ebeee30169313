"""All engines of one process, behind one face for calls and enrolments."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from vivavoce.audio.arrays import CALL_RATE_HZ, Floats, Samples, to_float
from vivavoce.errors import NotEnoughSpeech
from vivavoce.models.batch import MicroBatcher
from vivavoce.models.card import Model, load_model
from vivavoce.models.registry import find
from vivavoce.models.speaker import SpeakerEncoder
from vivavoce.models.spoof import SpoofDetector
from vivavoce.models.vad import SpeechDetector
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

    def spoof_evidence(self, speech: Samples) -> SpoofEvidence | None:
        """What net speech, shape (n,) at the call rate, says of spoofing; None if too short."""
        try:
            return self.spoof.judge(to_float(speech))
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
        return self._models.encoder.pool(await self._encode(speech))

    async def judge(
        self, speech: Samples
    ) -> tuple[Floats, SpoofEvidence | None, VoicesFound | None]:
        """The voice of net speech, what it says of spoofing, and whether the voices are two.

        The latter two are None where there is too little speech for them.
        """
        windows = await self._encode(speech)
        spoof = await asyncio.to_thread(self._models.spoof_evidence, speech)
        seconds = len(speech) / CALL_RATE_HZ
        voices = find_voices(windows, self._models.voices, seconds=seconds)
        return self._models.encoder.pool(windows), spoof, voices

    async def _encode(self, speech: Samples) -> Floats:
        """The encoder's windows of net speech, shape (windows, dimension)."""
        encoder = self._models.encoder
        windows = await asyncio.to_thread(encoder.prepare, to_float(speech), CALL_RATE_HZ)
        return await self._voices.run(windows)

    async def aclose(self) -> None:
        """Finish what runs."""
        await self._voices.aclose()


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
