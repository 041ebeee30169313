"""Hearing an entry's recordings: from objects to a voice, without the database.

It needs no more than the entry, the objects and the models, so it runs in any process on any
machine: `hear` is what a worker of a queue calls. What it finds is plain data; what follows from
it is decided where the database is.
"""

import re
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import soundfile

from vivavoce.audio.arrays import CALL_RATE_HZ, Floats, Samples
from vivavoce.audio.quality import QualityMeter
from vivavoce.audio.recording import LONGEST_S, iter_recording
from vivavoce.call.machine import ENROLLMENT_S, ENROLLMENT_SAMPLES, samples_to_s
from vivavoce.call.speech import FrameDetector, Speech, SpeechCollector
from vivavoce.errors import (
    AudioError,
    EntryFailed,
    NotEnoughSpeech,
    ObjectError,
    ObjectsDown,
    RoleRefused,
)
from vivavoce.jobs.manifest import AudioFile
from vivavoce.objects.objects import Objects, Place
from vivavoce.scoring.spoofing import SpoofEvidence
from vivavoce.scoring.voices import VoicesFound

LARGEST_AUDIO_BYTES = 20_000_000
"""Of one recording. Source: voice-id-behaviour.md, section 11.2."""

_BAD_RATE = "The provided sample rate is invalid."
"""Words of Amazon's service. Source: section 5.4."""

_STRICT_FORMATS, _STRICT_SUBTYPE = ("WAV", "WAVEX"), "PCM_16"

_SUFFIX = re.compile(r"\.[a-z0-9]{1,7}")
_STRICT_CHANNELS = 2

_BLOCK_SAMPLES = CALL_RATE_HZ
"""Listened to at a time: recordings come in blocks of a minute, of which little may be needed."""


class Ears(Protocol):
    """What the models do for an entry; blocking."""

    def new_detector(self) -> FrameDetector:
        """A voice activity detector for one entry."""
        ...

    @property
    def model(self) -> str:
        """Name and version of the encoder."""
        ...

    @property
    def spoof_model(self) -> str:
        """Names and versions of the spoof detectors."""
        ...

    def judge(self, speech: Samples) -> tuple[Floats, SpoofEvidence | None, VoicesFound | None]:
        """The voice, shape (dimension,); what the speech says of spoofing, and of two voices."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be heard.

    Attributes:
        files: the recordings, in the order in which they are taken.
        role_arn: whose rights to read them with.
        is_strict: whether only what Amazon's service took is taken: WAV, 16 bits, 8 kHz.
    """

    files: tuple[AudioFile, ...]
    role_arn: str
    is_strict: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What was heard.

    Attributes:
        speech: net speech, shape (n,) at the call rate; as much as an enrolment takes.
        vector: the voice, shape (dimension,), unit length.
        spoof: what the speech says of spoofing; None where it cannot be judged.
        model: name and version of the encoder that made the vector.
        spoof_model: names and versions of the spoof detectors that judged.
        weakness: why the speech is too weak for a voiceprint; None where it is not.
    """

    speech: Samples = field(repr=False)
    vector: Floats = field(repr=False)
    spoof: SpoofEvidence | None
    model: str
    spoof_model: str
    weakness: str | None

    @property
    def seconds(self) -> float:
        """Net speech, in seconds."""
        return len(self.speech) / CALL_RATE_HZ


def hear(request: Request, objects: Objects, ears: Ears, folder: Path) -> Heard:
    """Read recordings one after the other until there is enough speech, and judge it.

    Args:
        request: what to hear.
        objects: where the recordings are.
        ears: the models.
        folder: where copies of the recordings may be put; they are removed.

    Raises:
        EntryFailed: a recording is missing, forbidden or unreadable, or there is more than one
            voice in them.
        NotEnoughSpeech: all of them together have too little.
        RoleRefused: the job's role gives no right to anything.
        ObjectsDown: the objects cannot be reached for now, or this machine's disk fails.
    """
    pool = _Pool(ears.new_detector())
    with _own_folder(folder) as own:
        for number, file in enumerate(request.files):
            for block in _samples(file, f"AudioSpecifications[{number}]", request, objects, own):
                pool.add(block)
                if pool.is_full:
                    break
            if pool.is_full:
                break
            pool.end_recording()
    if not pool.is_full:
        raise NotEnoughSpeech(needed_s=ENROLLMENT_S, got_s=samples_to_s(pool.net_samples))
    speech = pool.speech()
    vector, spoof, voices = ears.judge(speech)
    if voices is not None and voices.are_two:
        raise EntryFailed("More than one voice was heard in the provided audio files.")
    return Heard(
        speech=speech,
        vector=vector,
        spoof=spoof,
        model=ears.model,
        spoof_model=ears.spoof_model,
        weakness=pool.weakness(),
    )


class _Pool:
    """The speech of several recordings, until there is enough of it."""

    def __init__(self, detector: FrameDetector) -> None:
        self._collector = SpeechCollector(detector)
        self._meter = QualityMeter()
        self._found: list[Samples] = []
        self.net_samples = 0

    @property
    def is_full(self) -> bool:
        return self.net_samples >= ENROLLMENT_SAMPLES

    def add(self, block: Samples) -> None:
        self._meter.add_audio(block)
        self._keep(self._collector.push(block))

    def end_recording(self) -> None:
        """What comes next does not follow on what there was."""
        self._keep(self._collector.gap(0))

    def speech(self) -> Samples:
        return np.concatenate(self._found)[:ENROLLMENT_SAMPLES]

    def weakness(self) -> str | None:
        # Noise is none: where hardly anything but speech was recorded, its ends are taken for it.
        if self._meter.verdict() == "QUIET":
            return "The speech in the provided audio files is too quiet for a voiceprint."
        return None

    def _keep(self, speeches: list[Speech]) -> None:
        for speech in speeches:
            self._meter.add_speech(speech.samples)
            self._found.append(speech.samples)
            self.net_samples += len(speech.samples)


@contextmanager
def _own_folder(parent: Path) -> Generator[Path]:
    try:
        with tempfile.TemporaryDirectory(dir=parent) as folder:
            yield Path(folder)
    except OSError as error:
        raise ObjectsDown(f"this machine's disk fails: {error.strerror or error}") from error


def _samples(
    file: AudioFile, name: str, request: Request, objects: Objects, folder: Path
) -> Iterator[Samples]:
    """One channel of a recording, in blocks of a second.

    Errors call the recording by its place in the entry: its own name may be a customer's, and they
    are told to the world.
    """
    suffix = Path(file.uri).suffix.lower()
    copy = folder / f"recording{suffix if _SUFFIX.fullmatch(suffix) else ''}"
    try:
        objects.fetch(
            Place.of(file.uri), copy, role_arn=request.role_arn, limit_bytes=LARGEST_AUDIO_BYTES
        )
        if request.is_strict:
            _require_strict(copy, name)
        heard = 0
        for block in iter_recording(copy, channel=file.channel):
            for start in range(0, len(block), _BLOCK_SAMPLES):
                yield block[start : start + _BLOCK_SAMPLES]
            heard += len(block)
            if heard > LONGEST_S * CALL_RATE_HZ:  # 20 MB may unfold to any length
                raise EntryFailed(f"{name} is longer than {LONGEST_S / 3600:g} hours.")
    except RoleRefused:
        raise
    except ObjectsDown as error:
        raise ObjectsDown(str(error).replace(file.uri, name)) from error
    except (ObjectError, AudioError) as error:
        text = f"{error}.".replace(str(copy), name).replace(repr(file.uri), name)
        raise EntryFailed(text.replace(file.uri, name)) from error
    finally:
        copy.unlink(missing_ok=True)


def _require_strict(path: Path, name: str) -> None:
    """Refuse what Amazon's service refused."""
    try:
        info = soundfile.info(path)
    except (soundfile.LibsndfileError, TypeError):  # a suffix may mean: without a header
        raise EntryFailed(f"{name} is not a WAV file.") from None
    if info.format not in _STRICT_FORMATS or info.subtype != _STRICT_SUBTYPE:
        raise EntryFailed(f"{name} is not a WAV file of 16-bit PCM.")
    if info.samplerate != CALL_RATE_HZ:
        raise EntryFailed(_BAD_RATE)
    if info.channels > _STRICT_CHANNELS:
        raise EntryFailed(f"{name} has {info.channels} channels; 1 or 2 are taken.")
