"""The network, with its front end in front: from a batch of speech to two logits.

A small residual net over time and frequency with attention to channels, after He et al. (2016) and
Hu et al. (2018, "squeeze and excitation"). Mean and standard deviation over time keep the answer
independent of the length of the input.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from vivavoce.audio.spoof_features import (
    BANDS_OF_WINDOW,
    FLOOR,
    FRONT_ENDS,
    filter_bank,
)

_SHRINKAGE = 0.01

FRONT_END = "log-linear-64x2"
LOOK = FRONT_ENDS[FRONT_END]


class FrontEnd(nn.Module):
    """`vivavoce.audio.spoof_features` for batches; the tests hold one against the other."""

    def __init__(self) -> None:
        super().__init__()
        for window_samples, fft_samples in LOOK.windows:
            window = torch.hann_window(window_samples, periodic=False)
            self.register_buffer(f"window_{window_samples}", window)
            bank = torch.from_numpy(filter_bank(fft_samples))
            self.register_buffer(f"bank_{window_samples}", bank)

    def forward(self, audio: Tensor) -> Tensor:
        """Shape (batch, samples) to (batch, frames, bands of all windows)."""
        views: list[Tensor] = []
        longest = LOOK.windows[0][0]
        for window_samples, fft_samples in LOOK.windows:
            # Frames of all windows have the same middles.
            edge = (longest - window_samples) // 2
            inner = audio[:, edge : audio.shape[1] - edge]
            energy = self._energy(inner, window_samples, fft_samples)
            log_energy = torch.log(energy + FLOOR)
            views.append(log_energy - log_energy.mean(1, keepdim=True))
        return torch.cat(views, dim=2)

    def _energy(self, audio: Tensor, window_samples: int, fft_samples: int) -> Tensor:
        """Energy of each band relative to the mean; shape (batch, frames, bands)."""
        frames = audio.unfold(1, window_samples, LOOK.hop_samples)
        spectrum = torch.fft.rfft(frames * getattr(self, f"window_{window_samples}"), fft_samples)
        # Faster than abs().square(), which takes a root for nothing.
        power = spectrum.real.square() + spectrum.imag.square()
        energy = power @ getattr(self, f"bank_{window_samples}")
        return energy / energy.mean((1, 2), keepdim=True).clamp_min(1e-20)


class Block(nn.Module):
    """Two convolutions around a shortcut; channels weighted by their mean."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.weigh = nn.Sequential(
            nn.Linear(channels, channels // 4),
            nn.ReLU(inplace=True),
            nn.Linear(channels // 4, channels),
            nn.Sigmoid(),
        )
        self.shortcut = (
            nn.Identity()
            if channels_in == channels and stride == 1
            else nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, channels_in, frames, bands) to (batch, channels, ...)."""
        made = self.body(x)
        weights = self.weigh(made.mean(dim=(2, 3)))[:, :, None, None]
        return torch.relu(made * weights + self.shortcut(x))


class SpoofNet(nn.Module):
    """Features of one window to two logits: synthetic, and played back."""

    def __init__(self, widths: tuple[int, ...] = (24, 32, 48, 64)) -> None:
        super().__init__()
        first, second, third, fourth = widths
        self.stem = nn.Sequential(
            nn.Conv2d(len(LOOK.windows), first, 5, 2, 2, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(inplace=True),
        )
        self.blocks = nn.Sequential(
            Block(first, second, 2),
            Block(second, second, 1),
            Block(second, third, 2),
            Block(third, third, 1),
            Block(third, fourth, 1),
        )
        reduced = BANDS_OF_WINDOW // 16
        self.dimension = 2 * fourth * reduced
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(self.dimension, 2))

    def forward(self, features: Tensor) -> Tensor:
        """Shape (batch, frames, bands of all windows) to (batch, 2)."""
        return self.head(self.embed(features))

    def embed(self, features: Tensor) -> Tensor:
        """What the logits are made from: shape (batch, frames, bands) to (batch, dimension)."""
        by_window = features.unflatten(2, (len(LOOK.windows), BANDS_OF_WINDOW)).transpose(1, 2)
        x = self.blocks(self.stem(by_window * 0.5))  # to about unit variance
        x = functional.avg_pool2d(x, (1, 2))
        mean = x.mean(dim=2)
        spread = torch.sqrt((x - mean[:, :, None]).square().mean(dim=2) + 1e-4)
        return torch.cat([mean.flatten(1), spread.flatten(1)], dim=1)


class Judge(nn.Module):
    """A trained network that also says how far its input is from what it was trained on.

    The distance is Mahalanobis' in the space that the logits are made from (Lee et al., 2018, "A
    simple unified framework for detecting out-of-distribution samples"), with one Gaussian for all
    of the training.
    """

    def __init__(self, network: SpoofNet, embeddings: Tensor, *, edge: float) -> None:
        """Fit the Gaussian.

        Args:
            network: trained.
            embeddings: of training speech, shape (n, dimension), n well above the dimension.
            edge: a distance of 1 is so many times that which 99 % of these embeddings stay below.
        """
        super().__init__()
        self.network = network
        middle = embeddings.double().mean(0)
        covariance = torch.cov(embeddings.double().T)
        # Shrunk towards a sphere: directions of hardly any variance are chance.
        covariance += _SHRINKAGE * covariance.diagonal().mean() * torch.eye(len(middle))
        whiten = torch.linalg.cholesky(torch.linalg.inv(covariance))
        distances = ((embeddings.double() - middle) @ whiten).square().mean(1).sqrt()
        whiten /= edge * distances.quantile(0.99)
        self.register_buffer("middle", middle.float())
        self.register_buffer("whiten", whiten.float())

    def forward(self, features: Tensor) -> Tensor:
        """Shape (batch, frames, bands of all windows) to (batch, 3): two logits, and distance."""
        embedding = self.network.embed(features)
        distance = ((embedding - self.middle) @ self.whiten).square().mean(1, keepdim=True).sqrt()
        return torch.cat([self.network.head(embedding), distance], dim=1)
