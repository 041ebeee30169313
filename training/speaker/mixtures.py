"""Calls of one voice and of two, made from the development speakers, as an encoder's windows.

Each speaker with several clips has calls alone, and calls in which another one of the same corpus
and the same half of the speakers takes over, breaks in, takes turns, or talks at the same time.
Clips go through the codec one by one and are cut to net speech by the product's own rule; calls are
put together from that. The result is kept in a temporary folder, under a key of everything that it
depends on.
"""

import hashlib
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import vivavoce.audio.features
import vivavoce.audio.resample
import vivavoce.call.speech
import vivavoce.models.speaker
import vivavoce.models.vad
from bench import speech_data
from training import telephone
from training.speaker.voiceprints import SOURCES
from vivavoce.audio.arrays import CALL_RATE_HZ, Floats, Samples, to_float, to_int16
from vivavoce.models.card import load_model
from vivavoce.models.registry import DEFAULT_SPEAKER_MODEL, find, models_folder

CODECS = ("mulaw", "gsm", "opus-10k", "amr-12.2")
CALL_S = (10, 20, 30)
"""Net speech of a call; speakers who have less than 30 s give what they have."""

SECOND_S = {10: (2, 3, 5), 20: (5,), 30: (2, 3, 5, 10)}
"""By the length of the call: how long the second voice speaks."""

STYLES = ("takes over", "breaks in", "takes turns")
"""The second voice has the end, one piece anywhere, or pieces of about 2 s anywhere."""

OVERLAPS = ((10, 5, 0), (10, 5, -10), (30, 10, 0), (30, 10, -10))
"""Length of the call, of the overlap in it in seconds, level of the second voice in dB."""

_LEAST_CLIPS = 4
_TURN_S = 2
_CODE = (
    telephone,
    vivavoce.audio.features,
    vivavoce.audio.resample,
    vivavoce.call.speech,
    vivavoce.models.speaker,
    vivavoce.models.vad,
    sys.modules[__name__],
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call, or what is known of it.

    Attributes:
        codec: that it came through.
        seconds: its length as it was meant.
        first: who speaks, "source/speaker".
        second: who else does; empty for nobody.
        second_s: for how long.
        style: one of `STYLES`, or "alone", or "overlaps".
        level_db: of the second voice to the first one where they overlap.
    """

    codec: str
    seconds: int
    first: str
    second: str = ""
    second_s: int = 0
    style: str = "alone"
    level_db: int = 0

    @property
    def half(self) -> int:
        """Which half of the speakers its speakers are of, 0 or 1."""
        return half_of(self.first)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixtures:
    """All calls with the encoder's windows of them, each shape (windows, dimension).

    Attributes:
        data_sha256: version of the clips.
        model: name of the speaker model.
        model_sha256: hash of its file.
    """

    calls: tuple[tuple[Call, Floats], ...]
    data_sha256: str
    model: str
    model_sha256: str


def half_of(speaker: str) -> int:
    """The same halves as those of the speaker calibration: by a hash of the name."""
    return hashlib.sha256(speaker.encode()).digest()[0] % 2


def build_mixtures(*, codecs: Sequence[str] = CODECS, jobs: int = 1) -> Mixtures:
    """All calls through some codecs, from the cache where they are there.

    Raises:
        SpeechDataAbsent: there is no development speech.
        ModelMissing: the speaker model is not installed.
    """
    groups: dict[str, list[speech_data.Clip]] = defaultdict(list)
    for clip in speech_data.read_clips(speech_data.find_speech()):
        if clip.source in SOURCES and clip.label == "bonafide" and clip.speaker:
            groups[f"{clip.source}/{clip.speaker}"].append(clip)
    used = {name: group for name, group in sorted(groups.items()) if len(group) >= _LEAST_CLIPS}
    data_sha256 = speech_data.hash_of([clip for group in used.values() for clip in group])
    card = load_model(find(models_folder(None), DEFAULT_SPEAKER_MODEL)).card
    folder = _cache_folder(data_sha256, card.sha256)
    folder.mkdir(parents=True, exist_ok=True)
    missing = [codec for codec in codecs if not (folder / f"{codec}.npz").exists()]
    with ProcessPoolExecutor(max_workers=jobs) as pool:
        list(pool.map(_make, missing, [used] * len(missing), [folder] * len(missing)))
    return Mixtures(
        calls=tuple(call for codec in codecs for call in _load(folder / f"{codec}.npz")),
        data_sha256=data_sha256,
        model=card.name,
        model_sha256=card.sha256,
    )


def net_speech(audio: Samples, codec: str, detector: vivavoce.models.vad.SpeechDetector) -> Samples:
    """What is heard of some audio through a codec."""
    heard = to_int16(telephone.CODECS[codec](to_float(audio)))
    detector.reset()
    return vivavoce.call.speech.collect_net_speech(heard, detector)


def encode(
    speech: Samples, encoder: vivavoce.models.speaker.SpeakerEncoder, *, batch: int = 16
) -> Floats:
    """An encoder's windows of some net speech, shape (windows, dimension)."""
    windows = encoder.prepare(to_float(speech), CALL_RATE_HZ)
    parts = [encoder.encode(windows[i : i + batch]) for i in range(0, len(windows), batch)]
    return np.concatenate(parts)


def _cache_folder(data_sha256: str, model_sha256: str) -> Path:
    key = hashlib.sha256(f"{data_sha256} {model_sha256}".encode())
    for module in _CODE:
        key.update(Path(str(module.__file__)).read_bytes())
    return Path(tempfile.gettempdir()) / "vivavoce-bench" / f"mixtures-{key.hexdigest()[:16]}"


def _make(codec: str, groups: dict[str, list[speech_data.Clip]], folder: Path) -> None:
    encoder = vivavoce.models.speaker.SpeakerEncoder(
        load_model(find(models_folder(None), DEFAULT_SPEAKER_MODEL))
    )
    detector = vivavoce.models.vad.SpeechDetector()
    spoken = {
        name: [net_speech(clip.read(), codec, detector) for clip in group]
        for name, group in groups.items()
    }
    calls: list[Call] = []
    windows: list[Floats] = []
    began = said = time.monotonic()
    for call, speech in _calls(codec, spoken):
        calls.append(call)
        windows.append(encode(speech, encoder))
        if (now := time.monotonic()) - said > 30:
            said = now
            print(f"{codec}: {len(calls)} calls, {now - began:.0f} s", file=sys.stderr, flush=True)
    part = folder / f"{codec}.part.npz"
    np.savez(
        part,
        calls=json.dumps([asdict(call) for call in calls]),
        counts=np.array([len(each) for each in windows]),
        windows=np.concatenate(windows),
    )
    part.replace(folder / f"{codec}.npz")


def _load(path: Path) -> Iterator[tuple[Call, Floats]]:
    with np.load(path) as kept:
        ends = np.cumsum(kept["counts"])[:-1]
        parts = np.split(kept["windows"], ends)
        calls = [Call(**members) for members in json.loads(str(kept["calls"]))]
    return zip(calls, parts, strict=True)


def _calls(codec: str, spoken: dict[str, list[Samples]]) -> Iterator[tuple[Call, Samples]]:
    # The same calls through every codec.
    rng = np.random.default_rng(0)
    for name, clips in spoken.items():
        speech = np.concatenate(clips)
        yield from _alone(codec, name, clips)
        others = [other for other in spoken if _may_meet(name, other)]
        wanted = [(seconds, s, "", 0) for seconds in CALL_S for s in SECOND_S[seconds]]
        wanted += [(seconds, s, "overlaps", level_db) for seconds, s, level_db in OVERLAPS]
        for seconds, second_s, style, level_db in wanted:
            other = others[rng.integers(len(others))]
            call = Call(
                codec=codec,
                seconds=seconds,
                first=name,
                second=other,
                second_s=second_s,
                style=style or STYLES[rng.integers(len(STYLES))],
                level_db=level_db,
            )
            yield call, _mixed(call, speech, np.concatenate(spoken[other]), rng)


def _may_meet(one: str, other: str) -> bool:
    same_corpus = one.partition("/")[0] == other.partition("/")[0]
    return one != other and same_corpus and half_of(one) == half_of(other)


def _alone(codec: str, name: str, clips: list[Samples]) -> Iterator[tuple[Call, Samples]]:
    """A speaker's own calls: of 10 s without common speech, of 20 and 30 s in both orders."""
    forwards, backwards = np.concatenate(clips), np.concatenate(clips[::-1])
    length = CALL_S[0] * CALL_RATE_HZ
    for start in range(0, min(len(forwards), 4 * length) - length + 1, length):
        call = Call(codec=codec, seconds=CALL_S[0], first=name)
        yield call, forwards[start : start + length]
    for seconds in CALL_S[1:]:
        for speech in (forwards, backwards):
            yield (
                Call(codec=codec, seconds=seconds, first=name),
                speech[: seconds * CALL_RATE_HZ],
            )


def _mixed(call: Call, first: Samples, second: Samples, rng: np.random.Generator) -> Samples:
    second = second[: call.second_s * CALL_RATE_HZ]
    if call.style == "overlaps":
        return _overlapping(first[: call.seconds * CALL_RATE_HZ], second, call.level_db, rng)
    first = first[: call.seconds * CALL_RATE_HZ - len(second)]
    if call.style == "takes over":
        return np.concatenate([first, second])
    turns = 1 if call.style == "breaks in" else max(1, round(call.second_s / _TURN_S))
    places = np.sort(rng.integers(0, len(first) + 1, turns))
    parts = [np.split(first, places), np.array_split(second, turns)]
    joined = [part for pair in zip(parts[0], parts[1], strict=False) for part in pair]
    return np.concatenate([*joined, parts[0][-1]])


def _overlapping(
    first: Samples, second: Samples, level_db: int, rng: np.random.Generator
) -> Samples:
    start = int(rng.integers(0, len(first) - len(second) + 1))
    mixed = to_float(first)
    stretch = mixed[start : start + len(second)]
    other = to_float(second)
    gain = np.sqrt(np.mean(stretch**2) / np.mean(other**2)) * 10 ** (level_db / 20)
    stretch += np.float32(gain) * other
    return to_int16(mixed)
