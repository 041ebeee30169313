"""Two small neural vocoders of our own: mel bands to a voice, trained on the genuine clips.

    python -m training.spoof.neural --work DIR --vocoder fourier
    python -m training.spoof.neural --work DIR --vocoder upsampling

Most synthetic voices come out of a neural vocoder, so the detector has to hear some at work on the
very clips that it knows as genuine. `fourier` predicts magnitudes and phases and inverts them
(after Vocos: Siuzdak, 2024); `upsampling` is a stack of transposed convolutions (after HiFi-GAN:
Kong et al., 2020). Both are trained against spectrogram discriminators (after UnivNet: Jang et al.,
2021). They are small and undertrained beside their models: what counts is that they leave traces of
their kind, at several stages of their training.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from training.spoof import sources
from vivavoce.audio.arrays import CALL_RATE_HZ, Floats

MEL_BANDS = 64
HOP_SAMPLES = 128
_FFT_SAMPLES = 512
_FLOOR = 1e-5
STAGES = (1500, 5000)
"""Steps after which a vocoder's weights are kept: the earlier ones leave coarser traces."""

_SEGMENT_SAMPLES = 64 * HOP_SAMPLES
_BATCH = 8
_RESOLUTIONS = ((128, 32), (256, 64), (512, 128))


class MelBands(nn.Module):
    """Log mel bands of a voice: shape (batch, samples) to (batch, bands, frames)."""

    def __init__(self) -> None:
        super().__init__()
        hz = torch.fft.rfftfreq(_FFT_SAMPLES, 1 / CALL_RATE_HZ)
        mel = 2595 * torch.log10(1 + hz / 700)
        edges = torch.linspace(0, float(mel[-1]), MEL_BANDS + 2)
        rising = (mel - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
        falling = (edges[2:, None] - mel) / (edges[2:] - edges[1:-1])[:, None]
        bank = torch.minimum(rising, falling).clamp_min(0)
        # The lowest bands are narrower than a bin: each has at least the nearest one.
        bank[torch.arange(MEL_BANDS), (mel - edges[1:-1, None]).abs().argmin(1)] += 1e-2
        self.register_buffer("bank", bank)
        self.register_buffer("window", torch.hann_window(_FFT_SAMPLES))

    def forward(self, audio: Tensor) -> Tensor:
        """The bands; as many frames as whole hops in the audio."""
        spectrum = torch.stft(
            audio, _FFT_SAMPLES, HOP_SAMPLES, window=self.window, return_complex=True
        ).abs()[..., :-1]
        return torch.log(self.bank @ spectrum + _FLOOR)


class Fourier(nn.Module):
    """Mel bands to magnitudes and phases, and those to a voice."""

    def __init__(self, channels: int = 192, depth: int = 6) -> None:
        super().__init__()
        self.enter = nn.Conv1d(MEL_BANDS, channels, 7, padding=3)
        self.blocks = nn.ModuleList(_Mixer(channels) for _ in range(depth))
        self.leave = nn.Conv1d(channels, 2 * (_FFT_SAMPLES // 2 + 1), 1)
        self.register_buffer("window", torch.hann_window(_FFT_SAMPLES))

    def forward(self, mel: Tensor) -> Tensor:
        """Shape (batch, bands, frames) to (batch, frames * hop)."""
        x = self.enter(mel)
        for block in self.blocks:
            x = block(x)
        log_magnitude, phase = self.leave(x).chunk(2, dim=1)
        magnitude = torch.exp(log_magnitude.clamp_max(6.0))
        spectrum = torch.complex(magnitude * torch.cos(phase), magnitude * torch.sin(phase))
        spectrum = functional.pad(spectrum, (0, 1))
        return torch.istft(
            spectrum,
            _FFT_SAMPLES,
            HOP_SAMPLES,
            window=self.window,
            length=mel.shape[-1] * HOP_SAMPLES,
        )


class _Mixer(nn.Module):
    """A ConvNeXt block in one dimension (Liu et al., 2022)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.widen = nn.Linear(channels, 3 * channels)
        self.narrow = nn.Linear(3 * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), 0.2))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).transpose(1, 2))
        y = self.scale * self.narrow(functional.gelu(self.widen(y)))
        return x + y.transpose(1, 2)


class Upsampling(nn.Module):
    """Mel bands to a voice by transposed convolutions, with dilated convolutions between."""

    def __init__(self, channels: int = 96) -> None:
        super().__init__()
        layers: list[nn.Module] = [weight_norm(nn.Conv1d(MEL_BANDS, channels, 7, padding=3))]
        for factor in (8, 4, 4):
            layers += [
                nn.LeakyReLU(0.1),
                weight_norm(
                    nn.ConvTranspose1d(
                        channels, channels // 2, 2 * factor, factor, padding=factor // 2
                    )
                ),
            ]
            channels //= 2
            layers += [_Dilated(channels, dilation) for dilation in (1, 3, 9)]
        layers += [nn.LeakyReLU(0.1), weight_norm(nn.Conv1d(channels, 1, 7, padding=3)), nn.Tanh()]
        self.layers = nn.Sequential(*layers)

    def forward(self, mel: Tensor) -> Tensor:
        """Shape (batch, bands, frames) to (batch, frames * hop)."""
        return self.layers(mel)[:, 0]


class _Dilated(nn.Module):
    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.LeakyReLU(0.1),
            weight_norm(nn.Conv1d(channels, channels, 5, padding=2 * dilation, dilation=dilation)),
            nn.LeakyReLU(0.1),
            weight_norm(nn.Conv1d(channels, channels, 3, padding=1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class _Critic(nn.Module):
    """Tells made spectrograms of one resolution from real ones; gives its layers."""

    def __init__(self, fft_samples: int, hop_samples: int) -> None:
        super().__init__()
        self.fft_samples, self.hop_samples = fft_samples, hop_samples
        self.register_buffer("window", torch.hann_window(fft_samples))
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(*channels, (3, 5), 2, (1, 2)))
            for channels in ((1, 12), (12, 24), (24, 32))
        )
        self.last = weight_norm(nn.Conv2d(32, 1, 3, padding=1))

    def forward(self, audio: Tensor) -> list[Tensor]:
        spectrum = torch.stft(
            audio, self.fft_samples, self.hop_samples, window=self.window, return_complex=True
        )
        x = torch.log(spectrum.abs() + _FLOOR).transpose(1, 2)[:, None]
        found: list[Tensor] = []
        for layer in self.layers:
            x = functional.leaky_relu(layer(x), 0.1)
            found.append(x)
        return [*found, self.last(x)]


VOCODERS: dict[str, Callable[[], nn.Module]] = {"fourier": Fourier, "upsampling": Upsampling}
"""By the name that files and systems carry."""


def train(
    name: str, voices: list[Floats], *, seed: int, minutes: float
) -> Iterator[tuple[int, nn.Module]]:
    """Trains a vocoder; gives it with its step at each of `STAGES`, or when the time is up."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    maker, mel_of = VOCODERS[name](), MelBands()
    critics = nn.ModuleList(_Critic(*resolution) for resolution in _RESOLUTIONS)
    making = torch.optim.AdamW(maker.parameters(), 3e-4, (0.8, 0.95))
    judging = torch.optim.AdamW(critics.parameters(), 2e-4, (0.8, 0.95))
    began = time.monotonic()
    for step in range(1, STAGES[-1] + 1):
        real = torch.from_numpy(np.stack([_segment(voices, rng) for _ in range(_BATCH)]))
        mel = mel_of(real)
        made = maker(mel)
        # The critics come in once the coarse shape is there.
        weight = 0.0 if step < 300 else 1.0
        if weight:
            loss = sum(
                (1 - of_real[-1]).pow(2).mean() + of_made[-1].pow(2).mean()
                for of_real, of_made in (
                    (critic(real), critic(made.detach())) for critic in critics
                )
            )
            judging.zero_grad()
            loss.backward()
            judging.step()
        loss = 40 * functional.l1_loss(mel_of(made), mel) + _spectral(made, real)
        if weight:
            for critic in critics:
                of_real, of_made = critic(real), critic(made)
                loss = loss + (1 - of_made[-1]).pow(2).mean()
                for seen, wanted in zip(of_made[:-1], of_real[:-1], strict=True):
                    loss = loss + functional.l1_loss(seen, wanted.detach())
        making.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(maker.parameters(), 10.0)
        making.step()
        if step % 100 == 0:
            off = functional.l1_loss(mel_of(made), mel).item()
            spent_s = time.monotonic() - began
            print(f"{name} step {step}: mel {off:.3f}, {spent_s:.0f} s", flush=True)
        is_late = time.monotonic() - began > 60 * minutes
        if step in STAGES or is_late:
            yield step, maker
        if is_late:
            return


def _spectral(made: Tensor, real: Tensor) -> Tensor:
    """Distance of magnitudes at several resolutions (Yamamoto et al., 2020)."""
    total = torch.zeros(())
    for fft_samples, hop_samples in _RESOLUTIONS:
        window = torch.hann_window(fft_samples)
        shape = {"n_fft": fft_samples, "hop_length": hop_samples, "window": window}
        a = torch.stft(made, return_complex=True, **shape).abs()
        b = torch.stft(real, return_complex=True, **shape).abs()
        total = total + functional.l1_loss(torch.log(a + _FLOOR), torch.log(b + _FLOOR))
    return total


def _segment(voices: list[Floats], rng: np.random.Generator) -> Floats:
    voice = voices[rng.integers(len(voices))]
    start = rng.integers(len(voice) - _SEGMENT_SAMPLES)
    cut = voice[start : start + _SEGMENT_SAMPLES]
    return cut * np.float32(rng.uniform(0.3, 0.95) / max(float(np.abs(cut).max()), 1e-3))


@cache
def vocoders(name: str, work: Path) -> list[nn.Module]:
    """A trained vocoder at its stages: mel bands, (batch, bands, frames), to speech."""
    makers: list[nn.Module] = []
    for stage in range(len(STAGES)):
        # Of one whose time was up before the first stage there is but one.
        if stage == 0 or file_of(work, name, stage).exists():
            maker = VOCODERS[name]()
            maker.load_state_dict(torch.load(file_of(work, name, stage)))
            makers.append(maker.eval())
    return makers


def resynthesise(name: str, work: Path) -> Callable[[Floats, np.random.Generator], Floats]:
    """A trained vocoder as copy-synthesis: float32, shape (n,), 8 kHz, to the same."""
    makers = vocoders(name, work)
    mel_of = MelBands()

    def made(audio: Floats, rng: np.random.Generator) -> Floats:
        with torch.inference_mode():
            padded = np.pad(audio, (0, -len(audio) % HOP_SAMPLES))
            mel = mel_of(torch.from_numpy(padded)[None]).numpy()
            if rng.random() < 0.5:  # as the speech model in front of a vocoder smears
                mel = gaussian_filter(mel, (0, rng.uniform(0, 1.2), rng.uniform(0.3, 1.5)))
            maker = makers[rng.integers(len(makers))]
            return maker(torch.from_numpy(mel))[0].numpy()[: len(audio)]

    return made


def file_of(work: Path, name: str, stage: int) -> Path:
    """Where a vocoder's weights are kept."""
    return work / "vocoders" / f"{name}-{stage}.pt"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speech", type=Path, default=sources.default_speech_dir())
    parser.add_argument("--work", type=Path, default=sources.DEFAULT_WORK_DIR)
    parser.add_argument("--vocoder", choices=list(VOCODERS), required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=25.0, help="at most")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    voices = sources.living_voices(
        arguments.speech, per_speaker=6, longer_than=2 * _SEGMENT_SAMPLES
    )
    (arguments.work / "vocoders").mkdir(parents=True, exist_ok=True)
    trained = train(arguments.vocoder, voices, seed=arguments.seed, minutes=arguments.minutes)
    for stage, (_, maker) in enumerate(trained):
        torch.save(maker.state_dict(), file_of(arguments.work, arguments.vocoder, stage))


if __name__ == "__main__":
    main()
