"""Neural vocoders that others trained, as they come: FARGAN of Opus, and the Lyra v2 codec.

Both work at 16 kHz. Like the vocoders of `vocoders.py`, every function takes and returns float32,
shape (n,), 8 kHz, and draws its settings by chance.

FARGAN (Valin, Mustafa, Büthe, 2024) is built from Debian's source package of Opus 1.6 by
`fetch_opus.sh`; its licence is BSD. Lyra v2's weights are three LiteRT files, Apache-2.0, read from
VIVAVOCE_LYRA_MODELS, else from `../shared/models/lyra_v2` beside the repository.
"""

import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from ai_edge_litert.interpreter import Interpreter
from scipy.ndimage import gaussian_filter1d

from vivavoce.audio.arrays import CALL_RATE_HZ, Floats

_RATE_HZ = 16000

_FARGAN_FEATURES = 20  # 18 cepstral coefficients, log2 of the pitch, its correlation
_FARGAN_PITCH = 18

_LYRA_FRAME_SAMPLES = 320
_LYRA_QUANTIZERS = (16, 30, 46)  # 3.2, 6 and 9.2 kbit/s


def opus_folder() -> Path:
    """Where Opus was built: VIVAVOCE_OPUS_BUILD, or `build/opus` here."""
    return Path(os.environ.get("VIVAVOCE_OPUS_BUILD", "build/opus"))


def lyra_folder() -> Path:
    """Where Lyra's weights lie."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "models" / "lyra_v2"
    return Path(os.environ.get("VIVAVOCE_LYRA_MODELS", beside))


def fargan(audio: Floats, rng: np.random.Generator) -> Floats:
    """FARGAN from its own features: as they are, smeared as a speech model would, or repitched."""
    program = opus_folder() / "fargan_demo"
    with tempfile.TemporaryDirectory() as name:
        heard, features, made = (Path(name) / part for part in ("in.pcm", "features", "out.pcm"))
        wide = soxr.resample(audio, CALL_RATE_HZ, _RATE_HZ)
        np.round(np.clip(wide, -1, 1) * 32767).astype(np.int16).tofile(heard)
        subprocess.run([program, "-features", heard, features], check=True, capture_output=True)
        frames = np.fromfile(features, np.float32).reshape(-1, _FARGAN_FEATURES)
        if rng.random() < 0.5:
            cepstrum = frames[:, :_FARGAN_PITCH]
            frames[:, :_FARGAN_PITCH] = gaussian_filter1d(cepstrum, rng.uniform(0.5, 2.5), axis=0)
        kind = rng.random()
        pitch = frames[:, _FARGAN_PITCH]
        if kind < 0.3:
            pitch += rng.uniform(-0.35, 0.35)
        elif kind < 0.5:
            pitch[:] = gaussian_filter1d(pitch, rng.uniform(1, 4))
        frames.tofile(features)
        subprocess.run(
            [program, "-fargan-synthesis", features, made], check=True, capture_output=True
        )
        wide = np.fromfile(made, np.int16) / np.float32(32768)
    return _fit(soxr.resample(wide, _RATE_HZ, CALL_RATE_HZ), len(audio))


def lyra(audio: Floats, rng: np.random.Generator) -> Floats:
    """Through the Lyra v2 codec (SoundStream: Zeghidour et al., 2021) at one of its rates."""
    encoder, quantizer, decoder = _lyra()
    for interpreter in (encoder, quantizer, decoder):
        interpreter.reset_all_variables()
    encode = encoder.get_signature_runner()
    to_indices = quantizer.get_signature_runner("encode")
    to_features = quantizer.get_signature_runner("decode")
    decode = decoder.get_signature_runner()
    quantizers = np.array(rng.choice(_LYRA_QUANTIZERS), np.int32)
    wide = soxr.resample(audio, CALL_RATE_HZ, _RATE_HZ).astype(np.float32)
    frames = np.pad(wide, (0, -len(wide) % _LYRA_FRAME_SAMPLES)).reshape(-1, _LYRA_FRAME_SAMPLES)
    made: list[np.ndarray] = []
    for frame in frames:
        features = encode(input_audio=frame[None])["output_0"]
        found = to_indices(input_frames=features, num_quantizers=quantizers)
        indices = next(value for value in found.values() if value.dtype == np.int32)
        features = to_features(encoding_indices=indices)["output_0"]
        made.append(decode(input_audio=features)["output_0"][0])
    return _fit(soxr.resample(np.concatenate(made), _RATE_HZ, CALL_RATE_HZ), len(audio))


@cache
def _lyra() -> tuple[Any, Any, Any]:
    names = ("soundstream_encoder", "quantizer", "lyragan")
    encoder, quantizer, decoder = (
        Interpreter(str(lyra_folder() / f"{name}.tflite"), num_threads=1) for name in names
    )
    return encoder, quantizer, decoder


def _fit(audio: np.ndarray, length: int) -> Floats:
    return np.pad(audio[:length], (0, max(0, length - len(audio)))).astype(np.float32)
