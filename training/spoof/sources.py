"""Where recorded speech comes from: development clips, and voices in Debian's packages.

A `Source` is one clip before any processing. Which of them train, and which only measure, is
decided here, by licence and by what must stay unheard.
"""

import csv
import hashlib
import io
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile
import soxr

from training.spoof.texts import PACKAGES
from vivavoce.audio.arrays import CALL_RATE_HZ, Floats

GENUINE, SPOOF = "genuine", "spoof"

DEFAULT_WORK_DIR = Path("build/spoof")

MEASURE_ONLY_SETS = ("hifigan_demo", "glowtts_demo", "fastdiff_demo", "vits_demo")
"""No licence is stated for them: what ships is not trained on them."""

MEASURE_ONLY_PROMPTS = {
    "asterisk-core-sounds-fr-wav": "prompts-fr",
    "asterisk-core-sounds-it-wav": "prompts-it",
    "asterisk-core-sounds-ru-wav": "prompts-ru",
    "asterisk-prompt-fr-armelle": "prompts-armelle",
}
"""The voices of `vivavoce demo`: a check on speakers and recordings never heard."""

TRAINING_PROMPTS = {
    "asterisk-core-sounds-en-wav": "prompts-en",
    "asterisk-core-sounds-es-wav": "prompts-es",
    "asterisk-prompt-it-menardi-wav": "prompts-menardi",
    "asterisk-prompt-es-co": "prompts-es-co",
}

# Half of all genuine clips, of 67 speakers.
_MANY_CLIPS_SET = "speechocean762"

# The English and the Spanish set of Asterisk are the same woman.
_PROMPT_SPEAKERS = {"prompts-es": "prompts-en"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """Short recordings of volunteers in one of Debian's packages.

    Attributes:
        package: its name.
        files: matches the path of a recording; its group is the language, or who speaks.
        corpus: name of the corpus; `{}` stands for the group.
        speaker: name of the voice; nothing more is known of who speaks.
    """

    package: str
    files: re.Pattern[str]
    corpus: str
    speaker: str


COLLECTIONS = (
    # Letters and syllables: one volunteer at home a language.
    Collection(
        package="klettres-data",
        files=re.compile(r"/klettres/([^/]+)/.*\.ogg$"),
        corpus="letters-{}",
        speaker="letters-{}",
    ),
    # Names of things, a volunteer or a family a language.
    Collection(
        package="ktuberling-data",
        files=re.compile(r"/ktuberling/sounds/([^/]+)/.*\.(?:ogg|wav)$"),
        corpus="potato-{}",
        speaker="potato-{}",
    ),
    # Descriptions of pictures, words to sentences, read by pupils.
    Collection(
        package="tuxpaint-stamps-default",
        files=re.compile(r"_desc_(\w+)\.ogg$"),
        corpus="stamps-{}",
        speaker="stamps-{}",
    ),
    # Dialogues of two actors, free in tone and tempo: m and v are the fish they play.
    *(
        Collection(
            package=f"fillets-ng-data-{language}",
            files=re.compile(r"/sound/.*-([mv])-[^/]*\.ogg$"),
            corpus=f"fillets-{language}",
            speaker=f"fillets-{language}-{{}}",
        )
        for language in ("cs", "nl")
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One clip as it was found or made.

    Attributes:
        label: `GENUINE` or `SPOOF`.
        corpus: recording campaign, page or program it comes from.
        system: synthesiser; empty for genuine speech.
        speaker: who speaks; clips of one speaker (or one synthetic voice) may be joined.
        trains: whether it may be trained and calibrated on.
        audio: float32, shape (n,), 8 kHz.
    """

    label: str
    corpus: str
    system: str
    speaker: str
    trains: bool
    audio: Floats


def default_speech_dir() -> Path:
    """The development speech: VIVAVOCE_SPEECH_DATA, or beside the repository."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data" / "speech"
    return Path(os.environ.get("VIVAVOCE_SPEECH_DATA", beside))


def development_clips(folder: Path, *, per_speaker: int) -> Iterator[Source]:
    """The clips of `clips.csv` in a speech folder; of the largest set, so many a speaker."""
    seen: dict[str, int] = {}
    with (folder / "clips.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            genuine = row["label"] == "bonafide"
            speaker = "" if row["speaker"] == "unknown" else row["speaker"]
            if row["set"] == _MANY_CLIPS_SET:
                seen[speaker] = seen.get(speaker, 0) + 1
                if seen[speaker] > per_speaker:
                    continue
            audio, _ = soundfile.read(folder / row["file"], dtype="float32")
            yield Source(
                label=GENUINE if genuine else SPOOF,
                corpus=row["set"],
                system="" if genuine else row["system"],
                # Synthetic voices are alike enough within a system to be joined.
                speaker=speaker or (row["file"] if genuine else row["system"]),
                trains=row["set"] not in MEASURE_ONLY_SETS,
                audio=audio,
            )


def living_voices(folder: Path, *, per_speaker: int, longer_than: int) -> list[Floats]:
    """Genuine development clips that train, of more than so many samples: for our own vocoders."""
    return [
        source.audio
        for source in development_clips(folder, per_speaker=per_speaker)
        if source.label == GENUINE and source.trains and len(source.audio) > longer_than
    ]


def fetch_packages(folder: Path) -> None:
    """Fetch and unpack Debian's packages into a folder, one sub-folder a package.

    Raises:
        CalledProcessError: apt cannot fetch them.
    """
    recorded = (collection.package for collection in COLLECTIONS)
    for package in (*TRAINING_PROMPTS, *MEASURE_ONLY_PROMPTS, *recorded, *PACKAGES.values()):
        if (folder / package).is_dir():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", package], cwd=folder, check=True)
        archive = next(iter(sorted(folder.glob(f"{package}_*.deb"))))
        subprocess.run(["dpkg", "-x", archive, folder / package], check=True)


def prompts(folder: Path, *, clip_s: float) -> Iterator[Source]:
    """Debian's prompt voices, short prompts joined to clips of some length."""
    for package, corpus in (TRAINING_PROMPTS | MEASURE_ONLY_PROMPTS).items():
        files = sorted(
            path
            for kind in ("wav", "gsm")
            for path in (folder / package).rglob(f"*.{kind}")
            if "silence" not in path.parts
        )
        joined: list[Floats] = []
        for path in files:
            joined.append(_read_prompt(path))
            if sum(map(len, joined)) < clip_s * CALL_RATE_HZ and path != files[-1]:
                continue
            yield Source(
                label=GENUINE,
                corpus=corpus,
                system="",
                speaker=_PROMPT_SPEAKERS.get(corpus, corpus),
                trains=package in TRAINING_PROMPTS,
                audio=np.concatenate(joined),
            )
            joined = []


def volunteers(
    folder: Path, rng: np.random.Generator, *, clip_s: float, most: int
) -> Iterator[Source]:
    """Recordings of `COLLECTIONS`, joined to clips of some length; so many clips a voice."""
    for collection in COLLECTIONS:
        by_voice: dict[str, dict[str, Path]] = {}
        for path in sorted((folder / collection.package).rglob("*.*")):
            if (found := collection.files.search(str(path))) and path.is_file():
                # Some recordings stand for several pictures.
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                by_voice.setdefault(found[1], {}).setdefault(content, path)
        for voice, paths in sorted(by_voice.items()):
            clips = _joined(list(paths.values()), rng, clip_s=clip_s)
            for audio in islice(clips, most):
                yield Source(
                    label=GENUINE,
                    corpus=collection.corpus.format(voice),
                    system="",
                    speaker=collection.speaker.format(voice),
                    trains=True,
                    audio=audio,
                )


def _joined(paths: list[Path], rng: np.random.Generator, *, clip_s: float) -> Iterator[Floats]:
    """Short recordings in an order of chance, joined."""
    joined: list[Floats] = []
    for index in rng.permutation(len(paths)):
        try:
            joined.append(at_call_rate(paths[index]))
        except soundfile.LibsndfileError:
            continue  # a few are broken
        if sum(map(len, joined)) >= clip_s * CALL_RATE_HZ:
            yield np.concatenate(joined)
            joined = []


def at_call_rate(wav: Path | io.BytesIO) -> Floats:
    """A recording in any format of libsndfile as float32, shape (n,), 8 kHz."""
    audio, rate_hz = soundfile.read(wav, dtype="float32", always_2d=True)
    audio = audio.mean(axis=1)
    return soxr.resample(audio, rate_hz, CALL_RATE_HZ).astype(np.float32)


def _read_prompt(path: Path) -> Floats:
    if path.suffix == ".gsm":  # headerless GSM 06.10
        audio, _ = soundfile.read(
            path, dtype="float32", channels=1, samplerate=8000, format="RAW", subtype="GSM610"
        )
    else:
        audio, _ = soundfile.read(path, dtype="float32")
    return audio
