"""Speaker encoders: from speech to one vector of unit length that stands for a voice.

One class serves every speaker model; the front end is the one that the model's card names.
"""

from typing import Protocol

import numpy as np

from vivavoce.audio.arrays import Floats
from vivavoce.audio.features import GE2E_HOP_SAMPLES, kaldi_log_mel, mel_power
from vivavoce.audio.resample import resample
from vivavoce.errors import ModelInvalid, NotEnoughSpeech
from vivavoce.models.card import ModelCard

GE2E_FRONT_END = "ge2e-mel40"
KALDI_FRONT_END = "kaldi-fbank80"

_GE2E_LEAST_DBFS = -30.0
"""Quieter audio is raised to this level. Source: Resemblyzer 0.1.4, audio_norm_target_dBFS."""

_GE2E_LEAST_COVERAGE = 0.75
"""A last window that reaches beyond the audio counts if this share of it is audio.
Source: Resemblyzer 0.1.4, VoiceEncoder.embed_utterance, min_coverage."""

_KALDI_LEAST_S = 0.5
"""Shorter audio is lengthened with zeros. Not documented; chosen because convolutional encoders
need some frames to pool over."""

_ENCODE_BATCH = 16
"""Windows run at once by `embed`: more were no faster a window when tried."""


class Network(Protocol):
    """What an encoder needs of a model; `vivavoce.models.card.Model` is one."""

    @property
    def card(self) -> ModelCard:
        """What the model is."""
        ...

    def run(self, batch: Floats) -> Floats:
        """Features, shape (n, frames, bands), to vectors, shape (n, dimension)."""
        ...


class SpeakerEncoder:
    """A speaker model with its front end: no state, so all calls share one.

    Three steps, so that the middle one can be batched over calls: `prepare`, `encode`, `pool`.

    Attributes:
        name: the model's name.
        version: first 12 digits of the SHA-256 of its ONNX file. Vectors of different versions
            must not be compared.
        dimension: length of a vector.
    """

    def __init__(self, model: Network) -> None:
        """Wrap a loaded model.

        Raises:
            ModelInvalid: not a speaker model, or of a front end that is not served.
        """
        card = model.card
        if card.kind != "speaker":
            raise ModelInvalid(f"{card.name} is a {card.kind} model, not a speaker model")
        _check_front_end(card)
        self.name = card.name
        self.version = card.sha256[:12]
        self.dimension = card.dimension
        self.model = model

    def prepare(self, audio: Floats, rate_hz: int) -> Floats:
        """Features of some speech, as inputs for `encode`.

        Args:
            audio: shape (n,), full scale -1..1; speech with its long silences taken out.
            rate_hz: sampling rate of `audio`.

        Returns:
            Shape (windows, frames, bands), at least one window.

        Raises:
            NotEnoughSpeech: `audio` is empty.
            BadAudioParameters: `rate_hz` is out of range.
        """
        if audio.size == 0:
            raise NotEnoughSpeech(needed_s=_KALDI_LEAST_S, got_s=0.0)
        card = self.model.card
        audio = resample(audio, rate_hz, card.rate_hz)
        if card.front_end == GE2E_FRONT_END:
            return _ge2e_windows(audio, card)
        return _kaldi_window(audio, card)

    def encode(self, batch: Floats) -> Floats:
        """One vector for each window: (n, frames, bands) to (n, dimension).

        The row of a window depends on the other rows of its batch in the last bits at most.
        """
        return self.model.run(batch)

    def pool(self, vectors: Floats) -> Floats:
        """The mean of some vectors, (n, dimension), made unit length: shape (dimension,)."""
        mean = vectors.astype(np.float64).mean(axis=0)
        # A mean of zero (silence through an encoder that ends in ReLU) stays zero: its cosine with
        # everything is 0, which says "unlike" instead of raising.
        return (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)

    def embed(self, audio: Floats, rate_hz: int) -> Floats:
        """The vector of some speech, shape (dimension,), unit length: all three steps.

        Raises:
            NotEnoughSpeech: `audio` is empty.
            BadAudioParameters: `rate_hz` is out of range.
        """
        windows = self.prepare(audio, rate_hz)
        parts = [
            self.encode(windows[start : start + _ENCODE_BATCH])
            for start in range(0, len(windows), _ENCODE_BATCH)
        ]
        return self.pool(np.concatenate(parts))


def _check_front_end(card: ModelCard) -> None:
    if card.front_end == GE2E_FRONT_END:
        served = (card.rate_hz, card.bands) == (16_000, 40) and card.window_frames > 0
    elif card.front_end == KALDI_FRONT_END:
        served = card.bands == 80 and card.window_frames == 0
    else:
        raise ModelInvalid(
            f"{card.name} needs the front end {card.front_end!r}; served are"
            f" {GE2E_FRONT_END!r} and {KALDI_FRONT_END!r}"
        )
    if not served:
        raise ModelInvalid(f"{card.name}: rate, bands or window do not fit {card.front_end!r}")


def _ge2e_windows(audio: Floats, card: ModelCard) -> Floats:
    starts = _ge2e_starts(audio.size, card)
    needed = (starts[-1] + card.window_frames) * GE2E_HOP_SAMPLES
    padded = np.pad(_raised(audio), (0, max(0, needed - audio.size)))
    frames = mel_power(padded)
    return np.stack([frames[start : start + card.window_frames] for start in starts])


def _ge2e_starts(samples: int, card: ModelCard) -> list[int]:
    """First frames of the windows; the first window counts however little of it is audio."""
    frames = samples // GE2E_HOP_SAMPLES + 1
    last = max(0, frames - card.window_frames + card.hop_frames)
    starts = list(range(0, last + 1, card.hop_frames))
    covered = samples / GE2E_HOP_SAMPLES - starts[-1]
    if len(starts) > 1 and covered < _GE2E_LEAST_COVERAGE * card.window_frames:
        starts.pop()
    return starts


def _raised(audio: Floats) -> Floats:
    power = float(np.mean(np.square(audio, dtype=np.float64)))
    target = 10 ** (_GE2E_LEAST_DBFS / 10)
    if power >= target or power == 0:
        return audio
    return audio * np.float32((target / power) ** 0.5)


def _kaldi_window(audio: Floats, card: ModelCard) -> Floats:
    short = round(_KALDI_LEAST_S * card.rate_hz) - audio.size
    features = kaldi_log_mel(
        np.pad(audio, (0, max(0, short))),
        rate_hz=card.rate_hz,
        bands=card.bands,
        scale=card.scale,
        subtract_mean=card.subtract_mean,
    )
    return features[np.newaxis]
