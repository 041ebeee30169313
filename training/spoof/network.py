"""The network, with its front end in front: from speech to two logits and a distance.

The lower layers of a speech recogniser, which are not trained here, tell what there is in each
moment; statistics over time make one long vector of it, whatever the length; a small head that is
trained here makes logits of that.
"""

from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from training.spoof import whisper
from vivavoce.audio.arrays import CALL_RATE_HZ
from vivavoce.audio.features import (
    WHISPER_BANDS,
    WHISPER_FLOOR,
    WHISPER_HOP_SAMPLES,
    WHISPER_LOUDEST,
    WHISPER_SILENCE,
    WHISPER_WINDOW_SAMPLES,
    slaney_weights,
)

LAYERS = 2

_DIRECTIONS = 64


class FrontEnd(nn.Module):
    """`vivavoce.audio.features.whisper_log_mel` for batches; the tests hold one to the other."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(WHISPER_WINDOW_SAMPLES))
        bins_hz = np.fft.rfftfreq(WHISPER_WINDOW_SAMPLES, 1 / CALL_RATE_HZ)
        bank = slaney_weights(WHISPER_BANDS, bins_hz)
        self.register_buffer("bank", torch.from_numpy(bank).float())

    def forward(self, audio: Tensor) -> Tensor:
        """Shape (batch, samples) to (batch, frames, bands)."""
        frames = audio.unfold(1, WHISPER_WINDOW_SAMPLES, WHISPER_HOP_SAMPLES)
        spectrum = torch.fft.rfft(frames * self.window)
        # Faster than abs().square(), which takes a root for nothing.
        power = spectrum.real.square() + spectrum.imag.square()
        energies = (power @ self.bank).clamp_min(WHISPER_SILENCE)
        relative = torch.log10(energies / energies.amax((1, 2), keepdim=True)) / 4
        return (WHISPER_LOUDEST + relative).clamp_min(WHISPER_FLOOR)


class Ear(nn.Module):
    """The encoder, and statistics of its states: means, deviations, and how fast they change."""

    dimension = 3 * whisper.WIDTH * (1 + LAYERS)

    def __init__(self, encoder: whisper.Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    @classmethod
    def pretrained(cls) -> Self:
        """With the encoder that its makers trained."""
        return cls(whisper.pretrained(LAYERS)).requires_grad_(requires_grad=False)

    def forward(self, features: Tensor) -> Tensor:
        """Shape (batch, frames, bands) to (batch, dimension)."""
        found: list[Tensor] = []
        for state in self.encoder(features):
            mean = state.mean(1)
            spread = (state - mean[:, None]).square().mean(1).sqrt()
            change = (state[:, 1:] - state[:, :-1]).abs().mean(1)
            found += [mean, spread, change]
        return torch.cat(found, dim=1)


class Head(nn.Module):
    """Statistics to two logits, linearly: synthetic, and played back.

    A hidden layer finds more of what it has heard, and less of what it has not (decision 19).
    """

    def __init__(self, embeddings: Tensor, *, dropout: float) -> None:
        """Untrained.

        Args:
            embeddings: of training speech, shape (n, dimension); makes them of one scale.
            dropout: share of the inputs that a step does not see.
        """
        super().__init__()
        self.register_buffer("middle", embeddings.float().mean(0))
        self.register_buffer("scale", 1 / (embeddings.float().std(0) + 1e-3))
        self.body = nn.Sequential(nn.Dropout(dropout), nn.Linear(embeddings.shape[1], 2))

    @torch.no_grad()
    def set_scale(self, genuine: Tensor) -> None:
        """Give genuine speech logits of mean 0 and deviation 1, so that models are comparable.

        Args:
            genuine: embeddings of living voices, shape (n, dimension).
        """
        logits = self(genuine.float())
        linear = self.body[-1]
        linear.bias.copy_((linear.bias - logits.mean(0)) / logits.std(0))
        linear.weight.div_(logits.std(0)[:, None])

    def forward(self, embedding: Tensor) -> Tensor:
        """Shape (batch, dimension) to (batch, 2)."""
        return self.body((embedding - self.middle) * self.scale)


class SpoofNet(nn.Module):
    """Ear and head."""

    def __init__(self, ear: Ear, head: Head) -> None:
        super().__init__()
        self.ear, self.head = ear, head

    def forward(self, features: Tensor) -> Tensor:
        """Shape (batch, frames, bands) to (batch, 2)."""
        return self.head(self.ear(features))


class Judge(nn.Module):
    """A trained network that also says how far its input is from what it was trained on.

    The distance is the square of Mahalanobis' (as Lee et al., 2018, "A simple unified framework for
    detecting out-of-distribution samples", have it), of the statistics that the head gets, along
    the directions in which training speech differs most: in the others is hardly more than chance.
    """

    def __init__(self, network: SpoofNet, embeddings: Tensor, *, edge: float) -> None:
        """Fit the Gaussian.

        Args:
            network: trained.
            embeddings: of training speech, shape (n, dimension).
            edge: a distance of 1 is so many times that which 99 % of these embeddings stay below.
        """
        super().__init__()
        self.network = network
        head = network.head
        known = (embeddings.float() - head.middle) * head.scale
        variances, directions = torch.linalg.eigh(torch.cov(known.T))
        whiten = directions[:, -_DIRECTIONS:] / variances[-_DIRECTIONS:].sqrt()
        distances = (known @ whiten).square().mean(1)
        self.register_buffer("whiten", whiten / (edge * distances.quantile(0.99)).sqrt())

    def forward(self, features: Tensor) -> Tensor:
        """Shape (batch, frames, bands) to (batch, 3): two logits, and distance."""
        embedding = self.network.ear(features)
        known = (embedding - self.network.head.middle) * self.network.head.scale
        distance = (known @ self.whiten).square().mean(1, keepdim=True)
        return torch.cat([self.network.head(embedding), distance], dim=1)
