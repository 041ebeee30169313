"""Voiceprints of the development speakers through telephone codecs, and the trials between them.

Every speaker with several clips is enrolled twice: once the first clips are the test and the rest
is the enrolment, once the last clips are the test. Speakers with one clip are tested only, as
impostors. Clips go through the codec one by one, as calls do, and are cut to net speech by the
product's own rule.

Detecting speech takes most of the time, so results are kept in a temporary folder, under a key of
everything that they depend on.
"""

import hashlib
import inspect
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

import vivavoce.audio.features
import vivavoce.audio.resample
import vivavoce.call.speech
import vivavoce.models.speaker
import vivavoce.models.vad
from bench import speech_data
from training import telephone
from vivavoce.audio.arrays import CALL_RATE_HZ, Floats, Samples, to_float, to_int16
from vivavoce.models.card import load_model
from vivavoce.models.registry import DEFAULT_SPEAKER_MODEL, find, models_folder
from vivavoce.scoring.metrics import Groups, Labels, Scores, Trials

SOURCES = ("librispeech_resemblyzer", "speechocean762")
"""The corpora whose clips name their speakers."""

CODECS = ("pcm", "mulaw", "gsm", "opus-10k", "amr-12.2")
TEST_SECONDS = (10, 5, 3)
ENROLMENT_S = 30
LEAST_ENROLMENT_S = 12
"""A speaker with less net speech left for enrolment is tested only. Not documented; chosen so that
most speakers of the small corpora can be enrolled at all."""

# What voiceprints depend on besides the clips and the model.
_CODE = (
    telephone,
    vivavoce.audio.features,
    vivavoce.audio.resample,
    vivavoce.call.speech,
    vivavoce.models.speaker,
    vivavoce.models.vad,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Voiceprints:
    """Voiceprints of all speakers through one codec; rows belong together.

    Attributes:
        enrolled: shape (e,): speaker of each enrolment.
        turn: shape (e,): 0 or 1, which of the speaker's two enrolments.
        enrolment_s: shape (e,): net speech in it, in seconds.
        enrolments: shape (e, dimension).
        tested: by seconds of net speech, shape (t,): speaker of each test.
        test_turn: by seconds, shape (t,): which enrolment it is disjoint from; -1 for all.
        tests: by seconds, shape (t, dimension).
    """

    enrolled: Groups
    turn: Groups
    enrolment_s: Scores
    enrolments: Floats
    tested: dict[int, Groups]
    test_turn: dict[int, Groups]
    tests: dict[int, Floats]


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Everybody's voiceprints.

    Attributes:
        speakers: names, "source/speaker"; their indices number the speakers elsewhere.
        by_codec: voiceprints by codec.
        data_sha256: version of the clips.
        model: name of the speaker model.
        model_sha256: hash of its file.
    """

    speakers: tuple[str, ...]
    by_codec: dict[str, Voiceprints]
    data_sha256: str
    model: str
    model_sha256: str

    def is_in(self, half: int) -> Labels:
        """Which speakers belong to one half, 0 or 1: fixed by a hash of their name."""
        return np.array(
            [hashlib.sha256(name.encode()).digest()[0] % 2 == half for name in self.speakers]
        )


def trials(
    corpus: Corpus, *, seconds: int, pairs: Iterable[tuple[str, str]], who: Labels | None = None
) -> Trials:
    """Every enrolment against every test that it is fair to compare it with.

    Not fair are tests that share clips with the enrolment, and impostors from another corpus: there
    the recording and the accent give them away, and error rates come out too low.

    Args:
        corpus: voiceprints.
        seconds: net speech of the tests.
        pairs: codecs of enrolment and of test.
        who: which speakers take part; all if not given.
    """
    scores: list[Scores] = []
    targets: list[Labels] = []
    enrolled: list[Groups] = []
    tested: list[Groups] = []
    source = np.array([name.partition("/")[0] for name in corpus.speakers])
    for of_enrolment, of_test in pairs:
        left, right = corpus.by_codec[of_enrolment], corpus.by_codec[of_test]
        speakers = right.tested[seconds]
        same = left.enrolled[:, None] == speakers[None, :]
        disjoint = left.turn[:, None] == right.test_turn[seconds][None, :]
        fair = (~same | disjoint) & (source[left.enrolled][:, None] == source[speakers][None, :])
        if who is not None:
            fair &= who[left.enrolled][:, None] & who[speakers][None, :]
        rows, columns = np.nonzero(fair)
        cosine = (left.enrolments @ right.tests[seconds].T).astype(np.float64)
        scores.append(cosine[fair])
        targets.append(same[fair])
        enrolled.append(left.enrolled[rows])
        tested.append(speakers[columns])
    return Trials(
        scores=np.concatenate(scores),
        is_target=np.concatenate(targets),
        enrolled=np.concatenate(enrolled),
        tested=np.concatenate(tested),
    )


def all_pairs(codecs: Iterable[str]) -> list[tuple[str, str]]:
    """Every codec of enrolment with every codec of test."""
    codecs = list(codecs)
    return list(product(codecs, codecs))


def build_corpus(*, codecs: Sequence[str] = CODECS, quick: bool = False, jobs: int = 1) -> Corpus:
    """Voiceprints through some codecs, from the cache where they are there.

    Args:
        codecs: names in `telephone.CODECS`.
        quick: every third speaker only.
        jobs: processes.

    Raises:
        SpeechDataAbsent: there is no development speech.
        ModelMissing: the speaker model is not installed.
    """
    clips = [
        clip
        for clip in speech_data.read_clips(speech_data.find_speech())
        if clip.source in SOURCES and clip.label == "bonafide" and clip.speaker
    ]
    groups: dict[str, list[speech_data.Clip]] = defaultdict(list)
    for clip in clips:
        groups[f"{clip.source}/{clip.speaker}"].append(clip)
    names = sorted(groups)[:: 3 if quick else 1]
    used = [groups[name] for name in names]
    model = load_model(find(models_folder(None), DEFAULT_SPEAKER_MODEL))
    data_sha256 = speech_data.hash_of([clip for group in used for clip in group])
    folder = _cache_folder(data_sha256, model.card.sha256)
    folder.mkdir(parents=True, exist_ok=True)
    missing = [codec for codec in codecs if not (folder / f"{codec}.npz").exists()]
    with ProcessPoolExecutor(max_workers=jobs) as pool:
        list(pool.map(_make, missing, [used] * len(missing), [folder] * len(missing)))
    return Corpus(
        speakers=tuple(names),
        by_codec={codec: _load(folder / f"{codec}.npz") for codec in codecs},
        data_sha256=data_sha256,
        model=model.card.name,
        model_sha256=model.card.sha256,
    )


def _cache_folder(data_sha256: str, model_sha256: str) -> Path:
    key = hashlib.sha256(f"{data_sha256} {model_sha256}".encode())
    for module in _CODE:
        key.update(Path(str(module.__file__)).read_bytes())
    for function in (_make, _splits):
        key.update(inspect.getsource(function).encode())
    key.update(repr((TEST_SECONDS, ENROLMENT_S, LEAST_ENROLMENT_S)).encode())
    return Path(tempfile.gettempdir()) / "vivavoce-bench" / key.hexdigest()[:16]


def _make(codec: str, groups: list[list[speech_data.Clip]], folder: Path) -> None:
    """Compute and keep the voiceprints through one codec."""
    encoder = vivavoce.models.speaker.SpeakerEncoder(
        load_model(find(models_folder(None), DEFAULT_SPEAKER_MODEL))
    )
    detector = vivavoce.models.vad.SpeechDetector()
    enrolments: list[tuple[int, int, float, Floats]] = []
    tests: list[tuple[int, int, int, Floats]] = []
    began = said = time.monotonic()
    for speaker, group in enumerate(groups):
        spoken: list[Samples] = []
        for clip in group:
            heard = to_int16(telephone.CODECS[codec](to_float(clip.read())))
            detector.reset()
            spoken.append(vivavoce.call.speech.collect_net_speech(heard, detector))
        for turn, enrolment, test in _splits(spoken):
            if enrolment is not None:
                vector = encoder.embed(to_float(enrolment), CALL_RATE_HZ)
                enrolments.append((speaker, turn, len(enrolment) / CALL_RATE_HZ, vector))
            for seconds in TEST_SECONDS:
                length = seconds * CALL_RATE_HZ
                for start in range(0, min(len(test), TEST_SECONDS[0] * CALL_RATE_HZ), length):
                    if start + length <= len(test):
                        part = to_float(test[start : start + length])
                        vector = encoder.embed(part, CALL_RATE_HZ)
                        tests.append((speaker, turn, seconds, vector))
        if (now := time.monotonic()) - said > 20:
            said = now
            share = (speaker + 1) / len(groups)
            print(f"{codec}: {share:.0%} after {now - began:.0f} s", file=sys.stderr, flush=True)
    part = folder / f"{codec}.part.npz"
    np.savez(
        part,
        enrolled=np.array([entry[0] for entry in enrolments]),
        turn=np.array([entry[1] for entry in enrolments]),
        enrolment_s=np.array([entry[2] for entry in enrolments]),
        enrolments=np.stack([entry[3] for entry in enrolments]),
        tested=np.array([entry[0] for entry in tests]),
        test_turn=np.array([entry[1] for entry in tests]),
        test_seconds=np.array([entry[2] for entry in tests]),
        tests=np.stack([entry[3] for entry in tests]),
    )
    part.replace(folder / f"{codec}.npz")


def _splits(spoken: list[Samples]) -> list[tuple[int, Samples | None, Samples]]:
    """Turn, enrolment and test of one speaker; a speaker with one clip has no enrolment."""
    if len(spoken) == 1:
        return [(-1, None, spoken[0])]
    splits: list[tuple[int, Samples | None, Samples]] = []
    for turn, clips in enumerate((spoken, spoken[::-1])):
        count = length = 0
        while count < len(clips) and length < TEST_SECONDS[0] * CALL_RATE_HZ:
            length += len(clips[count])
            count += 1
        rest = np.concatenate([np.zeros(0, np.int16), *clips[count:]])
        enough = len(rest) >= LEAST_ENROLMENT_S * CALL_RATE_HZ
        enrolment = rest[: ENROLMENT_S * CALL_RATE_HZ] if enough else None
        splits.append((turn, enrolment, np.concatenate(clips[:count])))
    return splits


def _load(path: Path) -> Voiceprints:
    with np.load(path) as kept:
        seconds = kept["test_seconds"]
        return Voiceprints(
            enrolled=kept["enrolled"],
            turn=kept["turn"],
            enrolment_s=kept["enrolment_s"],
            enrolments=kept["enrolments"],
            tested={s: kept["tested"][seconds == s] for s in TEST_SECONDS},
            test_turn={s: kept["test_turn"][seconds == s] for s in TEST_SECONDS},
            tests={s: kept["tests"][seconds == s] for s in TEST_SECONDS},
        )
