"""All engines of one process, behind one face for calls and enrolments."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from vivavoce.audio.arrays import CALL_RATE_HZ, Floats, Samples, to_float
from vivavoce.errors import NotEnoughSpeech
from vivavoce.models.card import Model, load_model
from vivavoce.models.memory import Memory, key_of
from vivavoce.models.processes import Processes
from vivavoce.models.registry import find
from vivavoce.models.speaker import SpeakerEncoder
from vivavoce.models.spoof import SpoofDetector
from vivavoce.models.vad import SpeechDetector, load_network
from vivavoce.scoring.judge import Judge
from vivavoce.scoring.spoofing import SpoofEvidence
from vivavoce.scoring.voices import CALIBRATED, VoicesFound, find_voices

_ENCODED_TOGETHER = 16
"""Windows; more are not faster each."""


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

    def hear(self, speech: Samples, memory: Memory) -> tuple[Floats, VoicesFound | None]:
        """The voice of net speech, shape (n,) at the call rate, and whether there are two.

        Args:
            speech: all that is known of the voice.
            memory: what was found of the same call before; what is found now is added.
        """
        prepared = self.encoder.prepare(to_float(speech), CALL_RATE_HZ)
        keys = [key_of(window) for window in prepared]
        new = [index for index, key in enumerate(keys) if key not in memory]
        for start in range(0, len(new), _ENCODED_TOGETHER):
            batch = new[start : start + _ENCODED_TOGETHER]
            vectors = self.encoder.encode(prepared[batch])
            memory |= {keys[index]: row.copy() for index, row in zip(batch, vectors, strict=True)}
        windows = np.stack([memory[key] for key in keys])
        seconds = len(speech) / CALL_RATE_HZ
        return self.encoder.pool(windows), find_voices(windows, self.voices, seconds=seconds)

    def spoof_evidence(self, speech: Samples, memory: Memory | None = None) -> SpoofEvidence | None:
        """What net speech, shape (n,) at the call rate, says of spoofing; None if too short."""
        try:
            return self.spoof.judge(to_float(speech), memory)
        except NotEnoughSpeech:
            return None

    def look_ahead(self, speech: Samples, memory: Memory) -> None:
        """Find what more speech will not change: the spoof detector's windows but for the last.

        The encoder's windows are not looked at: each time all of the speech would have to be made
        into features anew, which takes a fifth of what the windows do.
        """
        self.spoof.look_ahead(to_float(speech), memory)


class Engines:
    """The models, shared by all calls, in processes of their own."""

    def __init__(self, models: Models, *, load: Callable[[], Models], processes: int) -> None:
        """Prepare; no process is started yet.

        Args:
            models: the models, of this process; what is asked of them alone is answered at once.
            load: loads the same in another process; a function of a module, or a partial of one.
            processes: at most.
        """
        self._models = models
        self._processes = Processes(partial(_load_here, load), count=processes)

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
        """Pieces of speech that wait to be looked at."""
        return self._processes.waiting

    async def embed(self, speech: Samples) -> Floats:
        """The voice of net speech, shape (n,) at the call rate: shape (dimension,)."""
        nothing: Memory = {}
        vector, _, _ = await self._processes.run(_hear_voice, speech, nothing)
        return vector

    async def judge(
        self, speech: Samples, memory: Memory | None = None
    ) -> tuple[Floats, SpoofEvidence | None, VoicesFound | None]:
        """The voice of net speech, what it says of spoofing, and whether the voices are two.

        The latter two are None where there is too little speech for them.

        Args:
            speech: all that is known of the voice.
            memory: what was found of the same call before; what is found now is added.
        """
        known = {} if memory is None else memory
        # Side by side, which halves the time where there is a core to spare.
        (vector, voices, heard), (spoof, judged) = await asyncio.gather(
            self._processes.run(_hear_voice, speech, known),
            self._processes.run(_judge_spoof, speech, known),
        )
        known |= heard | judged
        return vector, spoof, voices

    async def look_ahead(self, speech: Samples, memory: Memory) -> None:
        """Find what can be found before a checkpoint needs it.

        Args:
            speech: all net speech of a call so far, shape (n,) at the call rate.
            memory: what was found of the same call before; what is found now is added.
        """
        memory |= await self._processes.run(_look_ahead, speech, memory)

    async def aclose(self) -> None:
        """Finish what runs."""
        await asyncio.to_thread(self._processes.close)


_here: list[Models] = []
"""The models of a process that was started for them."""


def _load_here(load: Callable[[], Models]) -> None:
    _here.append(load())


def _hear_voice(speech: Samples, memory: Memory) -> tuple[Floats, VoicesFound | None, Memory]:
    """The voice, whether there are two, and what was not in the memory before."""
    known = set(memory)
    vector, voices = _here[0].hear(speech, memory)
    return vector, voices, _without(memory, known)


def _judge_spoof(speech: Samples, memory: Memory) -> tuple[SpoofEvidence | None, Memory]:
    """What the speech says of spoofing, and what was not in the memory before."""
    known = set(memory)
    spoof = _here[0].spoof_evidence(speech, memory)
    return spoof, _without(memory, known)


def _look_ahead(speech: Samples, memory: Memory) -> Memory:
    """What a later checkpoint will look up, and was not in the memory before."""
    known = set(memory)
    _here[0].look_ahead(speech, memory)
    return _without(memory, known)


def _without(memory: Memory, known: set[bytes]) -> Memory:
    return {key: found for key, found in memory.items() if key not in known}


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
