"""Where the speech comes from: development clips, Debian's prompt voices, Debian's synthesisers.

A `Source` is one clip before any processing. Which of them train, and which only measure, is
decided here, by licence and by what must stay unheard.
"""

import csv
import io
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
import soxr

from training.spoof.texts import OTHER_LANGUAGES, english
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

_LETTERS_PACKAGE = "klettres-data"

_FLITE_VOICES = ("kal", "kal16", "awb", "rms", "slt")
_FESTIVAL_VOICES = {
    "kal_diphone": "en",
    "ked_diphone": "en",
    "cmu_us_slt_arctic_hts": "en",
    "lp_diphone": "it",
    "pc_diphone": "it",
    "czech_dita": "cs",
    "czech_machac": "cs",
    "suo_fi_lj_diphone": "fi",
    "hy_fi_mv_diphone": "fi",
    "upc_ca_ona_hts": "ca",
    "msu_ru_nsh_clunits": "ru",
}
_ESPEAK_VOICES = (
    *(("en-us", "en"), ("en-us+m3", "en"), ("en-us+f2", "en"), ("en-us+klatt2", "en")),
    *(("en-gb", "en"), ("en-gb+f4", "en"), ("en-us+croak", "en"), ("en-gb+m7", "en")),
    *(("fr", "fr"), ("it", "it"), ("it+f3", "it"), ("es", "es"), ("ru", "ru"), ("ru+f2", "ru")),
    *(("de", "de"), ("cs", "cs")),
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


def fetch_prompts(folder: Path) -> None:
    """Fetch and unpack Debian's prompt packages into a folder, one sub-folder a package.

    Raises:
        CalledProcessError: apt cannot fetch them.
    """
    for package in (*TRAINING_PROMPTS, *MEASURE_ONLY_PROMPTS, _LETTERS_PACKAGE):
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


def letters(folder: Path, *, clip_s: float) -> Iterator[Source]:
    """Letters and syllables of KLettres, joined: one volunteer at home a language, in Vorbis."""
    for language in sorted((folder / _LETTERS_PACKAGE / "usr/share/klettres").iterdir()):
        joined: list[Floats] = []
        for path in sorted(language.rglob("*.ogg")):
            try:
                joined.append(_at_call_rate(path))
            except soundfile.LibsndfileError:
                continue
            if sum(map(len, joined)) < clip_s * CALL_RATE_HZ:
                continue
            yield Source(
                label=GENUINE,
                corpus=f"letters-{language.name}",
                system="",
                speaker=f"letters-{language.name}",
                trains=True,
                audio=np.concatenate(joined),
            )
            joined = []


def flite(rng: np.random.Generator, *, clips: int) -> Iterator[Source]:
    """Debian's flite: so many clips of each of its voices, at changing speed and pitch."""
    base = Source(
        label=SPOOF,
        corpus="debian-flite",
        system="flite",
        speaker="",
        trains=True,
        audio=np.zeros(0, np.float32),
    )
    for voice in _FLITE_VOICES:
        for _ in range(clips):
            command = [
                "flite",
                "-voice",
                voice,
                "--setf",
                f"duration_stretch={rng.uniform(0.8, 1.2):.2f}",
            ]
            if rng.random() < 0.5:
                command += ["--setf", f"int_f0_target_mean={rng.uniform(85, 200):.0f}"]
            audio = _spoken([*command, "-t", english(rng), "-o", "/dev/stdout"])
            yield replace(base, speaker=f"flite-{voice}", audio=audio)


def festival(rng: np.random.Generator, *, clips: int) -> Iterator[Source]:
    """Debian's festival, as many of its voices as are installed."""
    for voice, language in _FESTIVAL_VOICES.items():
        # Festival reads one byte a letter; these voices know their language's code page.
        code_page = {"cs": "iso-8859-2", "ru": "utf-8"}.get(language, "iso-8859-15")
        for _ in range(clips if language == "en" else 2):
            text = english(rng) if language == "en" else OTHER_LANGUAGES[language]
            audio = _spoken_by_festival(voice, text.encode(code_page, "replace"))
            if audio is None:
                print(f"festival: voice {voice} is not installed or broken; left out")
                break
            yield Source(
                label=SPOOF,
                corpus="debian-festival",
                system="festival",
                speaker=f"festival-{voice}",
                trains=True,
                audio=audio,
            )


def espeak(rng: np.random.Generator, *, clips: int) -> Iterator[Source]:
    """Debian's espeak-ng, several of its voices and languages."""
    for voice, language in _ESPEAK_VOICES:
        for _ in range(clips):
            text = english(rng) if language == "en" else OTHER_LANGUAGES[language]
            command = ["espeak-ng", "-v", voice, "-s", str(rng.integers(135, 190)), "--stdout"]
            yield Source(
                label=SPOOF,
                corpus="debian-espeak-ng",
                system="espeak-ng",
                speaker=f"espeak-{voice}",
                trains=True,
                audio=_spoken([*command, text]),
            )


def _spoken(command: list[str]) -> Floats:
    """Run a synthesiser that writes a WAV to its output; 8 kHz."""
    done = subprocess.run(command, capture_output=True, check=True)
    return _at_call_rate(io.BytesIO(done.stdout))


def _spoken_by_festival(voice: str, text: bytes) -> Floats | None:
    """Festival writes its WAV backwards and forwards, so into a file; None if it cannot speak."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "said.wav"
        command = ["text2wave", "-eval", f"(voice_{voice})", "-o", made]
        done = subprocess.run(command, input=text, capture_output=True, check=False)
        return _at_call_rate(made) if done.returncode == 0 and made.exists() else None


def _at_call_rate(wav: Path | io.BytesIO) -> Floats:
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
