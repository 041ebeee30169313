"""Neural voice conversion of our own: what somebody says, in the voice of another.

    python -m training.spoof.conversion --work DIR

An autoencoder of mel bands with a narrow waist (AutoVC: Qian et al., 2019; with the pitch beside
it: Qian et al., 2020). The waist lets through what is said, not who says it, and the decoder is
told a voice by its GE2E vector and its pitch: with another's, it is a voice cloned from a few
seconds; with one's own, a copy that lost what a speech model loses. A vocoder of `neural.py` makes
speech of that. Like these it is small, and undertrained beside its models.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyworld
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.spoof import neural, sources
from training.spoof.neural import HOP_SAMPLES, MEL_BANDS, MelBands
from vivavoce.audio.arrays import CALL_RATE_HZ, Floats
from vivavoce.models.card import load_model
from vivavoce.models.registry import DEFAULT_SPEAKER_MODEL, find, models_folder
from vivavoce.models.speaker import SpeakerEncoder

_WAIST = 32
_NARROWEST = 4
_WAIST_FRAMES = 4
"""Frames to one step of the waist: 64 ms."""

_SEGMENT_FRAMES = 96
_BATCH = 24
_MIDDLE_LEVEL, _LEVEL_SCALE = -5.0, 3.0
"""Brings log mel bands near to zero mean and unit deviation."""


@dataclass(frozen=True, slots=True)
class Voice:
    """Whom the decoder is to sound like.

    Attributes:
        vector: of GE2E, shape (256,).
        pitch: mean and deviation of the logarithm of the pitch in Hz.
    """

    vector: np.ndarray
    pitch: tuple[float, float]


@dataclass(frozen=True, slots=True)
class _Utterance:
    mel: Tensor
    pitch: np.ndarray
    voice: Voice


class Converter(nn.Module):
    """Encoder, waist and decoder."""

    def __init__(self, channels: int = 192) -> None:
        super().__init__()
        self.encode = nn.Sequential(
            *_convolutions(MEL_BANDS + 256, channels, layers=3),
            nn.Conv1d(channels, _WAIST, 5, stride=_WAIST_FRAMES, padding=2),
        )
        self.decode = nn.Sequential(
            *_convolutions(_WAIST + 256 + 2, channels, layers=5),
            nn.Conv1d(channels, MEL_BANDS, 1),
        )

    def forward(
        self, mel: Tensor, vectors: tuple[Tensor, Tensor], pitch: Tensor, width: Tensor
    ) -> Tensor:
        """Convert.

        Args:
            mel: shape (batch, bands, frames), log; frames a multiple of four.
            vectors: of the voice that speaks and of that to sound like, each (batch, 256).
            pitch: of the latter, as `told_pitch` gives it: (batch, 2, frames).
            width: how many numbers of the waist pass, shape (batch,): few carry little but words.
        """
        told = [vector[:, :, None].expand(-1, -1, mel.shape[2]) for vector in vectors]
        waist = self.encode(torch.cat([(mel - _MIDDLE_LEVEL) / _LEVEL_SCALE, told[0]], 1))
        passes = torch.arange(_WAIST) < width[:, None]
        waist = (torch.tanh(waist) * passes[:, :, None]).repeat_interleave(_WAIST_FRAMES, 2)
        made = self.decode(torch.cat([waist[:, :, : mel.shape[2]], told[1], pitch], 1))
        return made * _LEVEL_SCALE + _MIDDLE_LEVEL


def _convolutions(entry: int, channels: int, *, layers: int) -> list[nn.Module]:
    found: list[nn.Module] = []
    for layer in range(layers):
        found += [
            nn.Conv1d(channels if layer else entry, channels, 5, padding=2),
            nn.GroupNorm(1, channels),
            nn.GELU(),
        ]
    return found


class _Listener:
    """Takes speech apart into what the converter is given."""

    def __init__(self) -> None:
        self._encoder = SpeakerEncoder(load_model(find(models_folder(None), DEFAULT_SPEAKER_MODEL)))
        self._mel_of = MelBands()

    def hear(self, audio: Floats) -> _Utterance | None:
        """None if there is hardly a voice in it."""
        padded = np.pad(audio, (0, -len(audio) % (_WAIST_FRAMES * HOP_SAMPLES)))
        pitch_hz, _ = pyworld.dio(
            padded.astype(np.float64),
            CALL_RATE_HZ,
            frame_period=1000 * HOP_SAMPLES / CALL_RATE_HZ,
        )
        mel = self._mel_of(torch.from_numpy(padded)[None])[0]
        pitch_hz = pitch_hz[: mel.shape[1]]
        logs = np.log(pitch_hz[pitch_hz > 0])
        if len(logs) < 25:
            return None
        middle, spread = float(logs.mean()), max(float(logs.std()), 0.05)
        relative = np.where(pitch_hz > 0, (np.log(np.maximum(pitch_hz, 1)) - middle) / spread, 0)
        pitch = np.stack([relative, pitch_hz > 0]).astype(np.float32)
        return _Utterance(
            mel, pitch, Voice(self._encoder.embed(audio, CALL_RATE_HZ), (middle, spread))
        )


def told_pitch(pitch: np.ndarray, voice: Voice) -> np.ndarray:
    """The pitch as the decoder is told it: octaves above 150 Hz, and whether there is any.

    Args:
        pitch: in deviations from the mean, and whether there is any; shape (2, frames).
        voice: whose mean and deviation it is to have.
    """
    logs = pitch[0] * voice.pitch[1] + voice.pitch[0] - np.log(150)
    return np.stack([np.where(pitch[1] > 0, logs / np.log(2), 0), pitch[1]]).astype(np.float32)


def train(voices: Sequence[Floats], *, seed: int, minutes: float) -> Converter:
    """Train a converter on clips of genuine speech, until the time is up."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    listener = _Listener()
    heard = [u for u in map(listener.hear, voices) if u and u.mel.shape[1] >= _SEGMENT_FRAMES]
    print(f"{len(heard)} clips", flush=True)
    converter = Converter().train()
    optimizer = torch.optim.AdamW(converter.parameters(), 1e-3)
    began, step, total = time.monotonic(), 0, 0.0
    while time.monotonic() - began < 60 * minutes:
        step += 1
        mels, vectors, pitches = [], [], []
        for index in rng.integers(len(heard), size=_BATCH):
            utterance = heard[index]
            start = rng.integers(utterance.mel.shape[1] - _SEGMENT_FRAMES + 1)
            segment = slice(start, start + _SEGMENT_FRAMES)
            mels.append(utterance.mel[:, segment])
            vectors.append(utterance.voice.vector)
            pitches.append(told_pitch(utterance.pitch[:, segment], utterance.voice))
        mel, vector = torch.stack(mels), torch.from_numpy(np.stack(vectors))
        width = torch.from_numpy(rng.integers(_NARROWEST, _WAIST + 1, size=_BATCH))
        made = converter(mel, (vector, vector), torch.from_numpy(np.stack(pitches)), width)
        loss = functional.l1_loss(made, mel)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
        if step % 100 == 0:
            print(
                f"step {step}: mel {total / 100:.3f}, {time.monotonic() - began:.0f} s", flush=True
            )
            total = 0.0
    return converter.eval()


def converting(
    work: Path, voices: Sequence[Floats]
) -> Callable[[Floats, np.random.Generator], Floats]:
    """A trained converter as copy-synthesis: float32, shape (n,), 8 kHz, to the same.

    Args:
        work: where it was trained.
        voices: some seconds of each of those whose voices are taken.
    """
    converter = Converter()
    converter.load_state_dict(torch.load(file_of(work)))
    converter.eval()
    listener = _Listener()
    targets = [heard.voice for heard in map(listener.hear, voices) if heard]
    vocoders = {name: neural.vocoders(name, work) for name in neural.VOCODERS}
    copiers = {name: neural.resynthesise(name, work) for name in neural.VOCODERS}

    def converted(audio: Floats, rng: np.random.Generator) -> Floats:
        spoken = listener.hear(audio)
        name = str(rng.choice(list(vocoders)))
        vocoder = vocoders[name][rng.integers(len(vocoders[name]))]
        if spoken is None:
            return copiers[name](audio, rng)
        target = targets[rng.integers(len(targets))] if rng.random() < 0.7 else spoken.voice
        with torch.inference_mode():
            vectors = (
                torch.from_numpy(spoken.voice.vector)[None],
                torch.from_numpy(target.vector)[None],
            )
            pitch = torch.from_numpy(told_pitch(spoken.pitch, target))[None]
            width = torch.tensor([int(rng.integers(_NARROWEST * 2, _WAIST + 1))])
            mel = converter(spoken.mel[None], vectors, pitch, width)
            return vocoder(mel)[0].numpy()[: len(audio)]

    return converted


def file_of(work: Path) -> Path:
    """Where the converter's weights are kept."""
    return work / "vocoders" / "converter.pt"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speech", type=Path, default=sources.default_speech_dir())
    parser.add_argument("--work", type=Path, default=sources.DEFAULT_WORK_DIR)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=7.0)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    voices = sources.living_voices(arguments.speech, per_speaker=3, longer_than=2 * CALL_RATE_HZ)
    file_of(arguments.work).parent.mkdir(parents=True, exist_ok=True)
    converter = train(voices, seed=arguments.seed, minutes=arguments.minutes)
    torch.save(converter.state_dict(), file_of(arguments.work))


if __name__ == "__main__":
    main()
