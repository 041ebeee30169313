"""Entries are heard in processes of their own, behind those that serve calls.

They give way to calls, and end when there is nothing to hear: each holds the models once more, some
180 MB.
"""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

from vivavoce.audio.arrays import Floats, Samples
from vivavoce.call.speech import FrameDetector
from vivavoce.errors import ObjectsDown
from vivavoce.jobs.hearing import Heard, Request, hear
from vivavoce.models.engines import Models
from vivavoce.models.processes import Processes
from vivavoce.objects.objects import Objects
from vivavoce.scoring.spoofing import SpoofEvidence
from vivavoce.scoring.voices import VoicesFound

_NICE = 10


class HearingProcesses:
    """Has entries heard in processes of this machine."""

    def __init__(
        self,
        *,
        load: Callable[[], Models],
        objects: Callable[[], Objects],
        folder: Path,
        count: int,
    ) -> None:
        """No process is started yet.

        Args:
            load: loads the models in another process; a function of a module, or a partial of one.
            objects: opens the objects there, likewise.
            folder: where copies of recordings may be put.
            count: processes at most.
        """
        self._begin = partial(_begin, load, objects, folder)
        self._count = count
        self._processes = Processes(self._begin, count=count)
        self._alone = asyncio.Lock()

    @property
    def at_a_time(self) -> int:
        """How many entries it makes sense to have heard side by side."""
        return self._count

    async def hear(self, request: Request) -> Heard:
        """What is heard of an entry.

        Raises:
            EntryFailed: a recording is missing, forbidden or unreadable, or there is more than one
                voice in them.
            NotEnoughSpeech: all of them together have too little.
            RoleRefused: the job's role gives no right to anything.
            ObjectsDown: the objects cannot be reached for now, or no process can be started.
            BrokenProcessPool: the process died of this entry.
        """
        try:
            return await self._processes.run(_hear, request)
        except BrokenProcessPool:
            # Whichever of the entries in the processes it was that they died of: alone, only that
            # one dies again.
            async with self._alone:
                return await self._hear_alone(request)

    async def _hear_alone(self, request: Request) -> Heard:
        process = Processes(self._begin, count=1)
        try:
            try:
                await process.run(_is_there)
            except BrokenProcessPool as error:
                raise ObjectsDown("the processes that hear recordings do not start") from error
            return await process.run(_hear, request)
        finally:
            await asyncio.to_thread(process.kill)

    async def rest(self) -> None:
        """End the processes; they are started again when there is something to hear."""
        ended, self._processes = self._processes, Processes(self._begin, count=self._count)
        # What still runs there is nobody's any more.
        await asyncio.to_thread(ended.kill)


class ModelEars:
    """The models, as `hear` asks for them."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def new_detector(self) -> FrameDetector:
        """A voice activity detector for one entry."""
        return self._models.new_detector()

    @property
    def model(self) -> str:
        """Name and version of the encoder."""
        return self._models.model

    @property
    def spoof_model(self) -> str:
        """Names and versions of the spoof detectors."""
        return self._models.spoof_model

    def judge(self, speech: Samples) -> tuple[Floats, SpoofEvidence | None, VoicesFound | None]:
        """The voice, shape (dimension,); what the speech says of spoofing, and of two voices."""
        vector, voices = self._models.hear(speech, {})
        return vector, self._models.spoof_evidence(speech), voices


_here: list[tuple[Objects, ModelEars, Path]] = []
"""What a process that was started for it hears with."""


def _begin(load: Callable[[], Models], objects: Callable[[], Objects], folder: Path) -> None:
    os.nice(_NICE)
    _here.append((objects(), ModelEars(load()), folder))


def _is_there() -> None:
    """Answers, if the process has begun."""


def _hear(request: Request) -> Heard:
    return hear(request, *_here[0])
