"""Stand-ins for what surrounds the core: clock, keys, voice activity, engines, and who listens.

A made-up voice is audio of one level: `voice(3, 30)` is half a minute of speaker 3. The detector
hears it as speech, and the engines know it again by its level.
"""

import asyncio
import hashlib
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike

from vivavoce.api.keys import AccessKey
from vivavoce.api.records import ApiCall
from vivavoce.audio.arrays import CALL_RATE_HZ
from vivavoce.call.speech import FRAME_SAMPLES
from vivavoce.errors import KeyDenied, KeyServiceDown, NotFound, SealBroken
from vivavoce.scoring.calibration import Calibration, Condition, Correction
from vivavoce.scoring.judge import Judge
from vivavoce.scoring.spoofing import VERDICTS, SpoofEvidence
from vivavoce.scoring.voices import VoicesFound
from vivavoce.vault.customer_keys import DataKey
from vivavoce.vault.seal import SealingKey, new_key

LEVEL = 1000
FRAME_S = FRAME_SAMPLES / CALL_RATE_HZ


def silence(seconds):
    return np.zeros(round(seconds * CALL_RATE_HZ), np.int16)


def voice(number, seconds):
    return np.full(round(seconds * CALL_RATE_HZ), number * LEVEL, np.int16)


def cut(samples, cuts):
    """The same samples in pieces."""
    return np.split(samples, sorted(min(cut, len(samples)) for cut in cuts))


class StillClock:
    """Stands still until it is told to go on; starts in the middle of an hour."""

    def __init__(self, now_ms=1_000 * 3_600_000 + 1_234_567):
        self.ms = now_ms

    def now_ms(self):
        return self.ms


@dataclass
class FakeCustomerKeys:
    """Customers' keys without a keeper: there is every key that is named.

    What one of these wraps, another one opens, in another process as well. Keys in `denied` cannot
    be used; while `down` is set, there is no answer.
    """

    denied: set[str] = field(default_factory=set)
    down: bool = False
    opened: list[str] = field(default_factory=list)

    def find(self, key_id, *, region, account_id):
        return self.resolve(key_id, region=region, account_id=account_id)

    def resolve(self, key_id, *, region, account_id):
        named = key_id if key_id.startswith("arn:") else f"key/{key_id}"
        arn = named if named == key_id else f"arn:aws:kms:{region}:{account_id}:{named}"
        self._require(arn)
        return arn

    def new_data_key(self, key_arn, *, domain_arn):
        plain = new_key()
        return DataKey(plain=plain, wrapped=self._key(key_arn).seal(plain, place=domain_arn))

    def open_data_key(self, key_arn, wrapped, *, domain_arn):
        key = self._key(key_arn)
        try:
            plain = key.unseal(wrapped, place=domain_arn)
        except SealBroken:
            raise KeyDenied(key_arn, "it did not wrap this, or not for this domain") from None
        self.opened.append(key_arn)
        return plain

    def is_usable(self, key_arn):
        if self.down:
            raise KeyServiceDown("no answer")
        return key_arn not in self.denied

    def _key(self, key_arn):
        self._require(key_arn)
        return SealingKey(hashlib.sha256(key_arn.encode()).digest())

    def _require(self, key_arn):
        if not self.is_usable(key_arn):
            raise KeyDenied(key_arn, "it is disabled")


class ScriptedDetector:
    """Says what the script says, frame by frame, whatever it hears."""

    def __init__(self, probabilities=()):
        self.script = list(probabilities)
        self.frames = 0
        self.resets = 0

    def probabilities(self, frames):
        assert frames.shape[1:] == (512,)
        said = self.script[self.frames : self.frames + len(frames)]
        self.frames += len(frames)
        return said + [0.0] * (len(frames) - len(said))

    def reset(self):
        self.resets += 1


class LoudDetector:
    """Takes for speech what is loud."""

    def probabilities(self, frames):
        return (np.abs(frames.astype(np.int32)).mean(axis=1) > LEVEL / 2).astype(float).tolist()

    def reset(self):
        pass


def level_of(speech):
    return round(float(speech.mean()) / LEVEL)


def towards(cosine):
    """A unit vector, shape (2,), whose cosine with `towards(1)` is this one."""
    return np.array([cosine, (1 - cosine**2) ** 0.5], np.float32)


def spoof_evidence(
    synthetic: ArrayLike = 0.0,
    playback: ArrayLike = 0.0,
    *,
    distance: ArrayLike = 0.0,
    windows: int = 1,
) -> SpoofEvidence:
    """Windows of 4 s, one every 2 s, with these scores: one for all, or one for each."""
    starts = np.arange(windows) * 2.0
    columns = np.broadcast_arrays(starts, starts + 4.0, synthetic, playback, distance)
    return SpoofEvidence(np.stack(columns, axis=1).astype(np.float32))


def voices_found(*, two: bool) -> VoicesFound:
    """What is said of the voices in some speech."""
    return VoicesFound(raw=0.5, llr=5.0, log10_p=-3.0 if two else -0.1)


@dataclass
class FakeEngines:
    """Knows voices by their level, and spoofs likewise; of two levels the voices are two.

    `held` stops every answer until it is set; `failure` is raised instead of one.
    """

    vectors: dict[int, np.ndarray] = field(default_factory=dict)
    spoofs: dict[int, SpoofEvidence | None] = field(default_factory=dict)
    model: str = "fake@1"
    spoof_model: str = "fake-spoof@1"
    failure: Exception | None = None
    held: asyncio.Event | None = None
    heard: list[np.ndarray] = field(default_factory=list)
    ahead: list[int] = field(default_factory=list)
    ahead_failure: Exception | None = None
    ahead_before: list[bool] = field(default_factory=list)

    async def look_ahead(self, speech, memory):
        self.ahead.append(len(speech))
        await asyncio.sleep(0)
        if self.ahead_failure is not None:
            raise self.ahead_failure
        memory[b"ahead"] = np.zeros(1, np.float32)

    async def embed(self, speech):
        self.heard.append(speech)
        await asyncio.sleep(0)
        if self.held is not None:
            await self.held.wait()
        if self.failure is not None:
            raise self.failure
        return self.vectors.get(level_of(speech), towards(0))

    async def judge(self, speech, memory=None):
        self.ahead_before.append(memory is not None and b"ahead" in memory)
        vector = await self.embed(speech)
        two = len(set(np.unique(speech // LEVEL)) - {0}) > 1
        return vector, self.spoofs.get(level_of(speech), spoof_evidence()), voices_found(two=two)


class RecordingListener:
    """Writes down what a call tells."""

    def __init__(self, failing=()):
        self.told = []
        self.failing = failing

    async def on_evidence(self, call, evidence):
        await self._tell("evidence", evidence)

    async def on_speech_complete(self, call):
        await self._tell("complete", None)

    async def on_end(self, call):
        await self._tell("end", None)

    async def _tell(self, what, detail):
        await asyncio.sleep(0)
        self.told.append((what, detail))
        if what in self.failing:
            raise RuntimeError(what)

    @property
    def names(self):
        return [what for what, _ in self.told]


@dataclass
class FakeAccessKeys:
    """Access keys by id; those in `new` are found only by another look."""

    keys: dict[str, AccessKey] = field(default_factory=dict)
    new: dict[str, AccessKey] = field(default_factory=dict)

    def find(self, access_key_id):
        return self.keys.get(access_key_id)

    async def find_anew(self, access_key_id):
        return (self.keys | self.new).get(access_key_id)


@dataclass
class FakeDirectory:
    """Every domain is where it is looked for, but for those that are not there at all."""

    missing: set[str] = field(default_factory=set)

    async def require(self, domain_id, arn):
        if domain_id in self.missing:
            raise NotFound("DOMAIN")

    async def tags_of(self, arn):
        return {}


@dataclass
class RecordingAudit:
    """Keeps the records of calls; of what is in `unwanted` only where it was denied."""

    unwanted: set[str] = field(default_factory=set)
    calls: list[ApiCall] = field(default_factory=list)
    failure: Exception | None = None

    def wants(self, operation, *, denied):
        return denied or operation not in self.unwanted

    async def require_log(self):
        if self.failure is not None:
            raise self.failure

    async def add(self, call):
        if self.failure is not None:
            raise self.failure
        self.calls.append(call)


@dataclass
class RecordingMeter:
    """Writes down which requests were answered, and with which error."""

    answers: list[tuple[str | None, str | None]] = field(default_factory=list)

    def answered(self, operation, seconds, code):
        assert seconds >= 0
        self.answers.append((operation, code))


def straight_calibration():
    """log10_p is -4 times the raw score: 0.75 scores 90, 0.5 scores 80 or a risk of 50."""
    condition = Condition(
        seconds=10.0, slope=10.0, offset=-5.0, tail_raw=(0.0, 1.0), tail_log10_p=(0.0, -4.0)
    )
    return Calibration(model="fake", model_sha256="", conditions=(condition,))


def straight_judge():
    return Judge(
        speaker=straight_calibration(),
        spoof_calibrations=dict.fromkeys(VERDICTS, straight_calibration()),
    )


def referring_judge():
    """A straight one that takes half of the caller's own raw score away, up to half of 1."""
    straight = straight_calibration()
    correction = Correction(weight=0.5, centre=0.0, limit=1.0, conditions=straight.conditions)
    return Judge(
        speaker=straight,
        spoof_calibrations=dict.fromkeys(VERDICTS, replace(straight, reference=correction)),
    )
