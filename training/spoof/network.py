"""The network: a small residual net over time and frequency, with attention to channels.

After He et al. (2016) and Hu et al. (2018, "squeeze and excitation"); about 0.2 M parameters.
Mean and standard deviation over time keep the answer independent of the length of the input.
"""

import torch
from torch import Tensor, nn


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
        """Shape (batch, channels_in, bands, frames) to (batch, channels, ...)."""
        made = self.body(x)
        weights = self.weigh(made.mean(dim=(2, 3)))[:, :, None, None]
        return torch.relu(made * weights + self.shortcut(x))


class SpoofNet(nn.Module):
    """Features of one window to one logit; positive speaks for synthetic speech."""

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, 16, 5, 2, 2, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)
        )
        self.blocks = nn.Sequential(
            Block(16, 24, 2), Block(24, 24, 1), Block(24, 48, 2), Block(48, 48, 1), Block(48, 64, 1)
        )
        reduced = -(-bands // 8)
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(2 * 64 * reduced // 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, frames, bands) to (batch, 1)."""
        x = x.transpose(1, 2).unsqueeze(1) * 0.5  # to about unit variance
        x = self.blocks(self.stem(x))
        batch, channels, bands, frames = x.shape
        x = x.reshape(batch, channels, bands // 2, 2, frames).mean(dim=3)
        x = x.reshape(batch, channels * (bands // 2), frames)
        mean = x.mean(dim=2)
        spread = torch.sqrt(((x - mean[:, :, None]) ** 2).mean(dim=2) + 1e-4)
        return self.head(torch.cat([mean, spread], dim=1))
