"""The telephone lines of a batch: drawn anew for each example, put on all classes alike.

Everything is done to a whole batch at once, in PyTorch: making lines one by one took ten times as
long as training on them. What a real codec does is not made here: `prepare` has done that.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training.spoof.playback import rooms
from vivavoce.audio.arrays import CALL_RATE_HZ

_TAIL_SAMPLES = CALL_RATE_HZ // 4
_PACKET_SAMPLES = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """How often a line does what.

    Attributes:
        responses: of rooms, shape (rooms, samples), direct sound first.
        room: chance of a room.
        noise: chance of noise.
        noise_db: how far it is below the speech, from and to.
        band: chance of a narrowed band.
        loss: chance of lost packets.
        suppression: chance of noise suppression, as telephones and call platforms do it.
        gain: chance of automatic gain control.
        companding: chance of G.711.
    """

    responses: Tensor
    room: float = 0.3
    noise: float = 0.7
    noise_db: tuple[float, float] = (8.0, 45.0)
    band: float = 0.8
    loss: float = 0.15
    suppression: float = 0.3
    gain: float = 0.3
    companding: float = 0.6

    def __call__(self, audio: Tensor, chance: torch.Generator, *, together: int = 1) -> Tensor:
        """Shape (batch, samples) to the same; each `together` neighbours get the same line."""
        draw = _Draw(len(audio) // together, together, chance)
        audio = self._linear(audio, draw)
        chosen = draw.happens(self.suppression)[:, 0]
        if chosen.any():
            audio = audio.masked_scatter(chosen[:, None], _suppressed(audio, draw, chosen))
        audio = torch.where(draw.happens(self.gain), _levelled(audio, draw), audio)
        audio = audio * 10 ** (draw.between(-20, 6) / 20)
        audio = self._lossy(audio, draw)
        return torch.where(draw.happens(self.companding), _companded(audio, draw), audio)

    def _linear(self, audio: Tensor, draw: "_Draw") -> Tensor:
        """Room, noise, band edges and a tilt: all in the frequency domain, by one transform."""
        samples = audio.shape[1]
        size = samples + _TAIL_SAMPLES
        hz = torch.fft.rfftfreq(size, 1 / CALL_RATE_HZ)
        spectrum = torch.fft.rfft(audio, size)
        picked = self.responses[draw.index(len(self.responses))[:, 0]]
        through_room = spectrum * torch.fft.rfft(picked[:, :_TAIL_SAMPLES], size)
        spectrum = torch.where(draw.happens(self.room), through_room, spectrum)
        # Noise of some colour.
        octaves = torch.log2(hz.clamp_min(50.0) / 1000)
        colour = 10 ** (draw.between(-6, 1) * octaves / 20)
        noise = colour * draw.complex_noise(len(hz))
        ratio = 10 ** (-draw.between(*self.noise_db) / 20)
        level = spectrum.abs().square().mean(1, keepdim=True).sqrt()
        noise_level = noise.abs().square().mean(1, keepdim=True).sqrt()
        noisy = spectrum + noise * (ratio * level / noise_level)
        spectrum = torch.where(draw.happens(self.noise), noisy, spectrum)
        low, high = draw.between(0, 350), draw.between(2900, 4000)
        slope_hz = draw.between(40, 250)
        kept = torch.sigmoid((hz - low) / slope_hz * 4) * torch.sigmoid((high - hz) / slope_hz * 4)
        tilt = 10 ** (draw.between(-4, 4) * octaves / 20)
        spectrum = torch.where(draw.happens(self.band), spectrum * kept * tilt, spectrum)
        made = torch.fft.irfft(spectrum, size)[:, :samples]
        # At the level of before: what comes next counts on it.
        before = audio.square().mean(1, keepdim=True).sqrt()
        return made * before / made.square().mean(1, keepdim=True).sqrt().clamp_min(1e-6)

    def _lossy(self, audio: Tensor, draw: "_Draw") -> Tensor:
        """Lost packets are silent or repeat the one before, at half its level."""
        batch, samples = audio.shape
        packets = audio[:, : samples - samples % _PACKET_SAMPLES].reshape(
            batch, -1, _PACKET_SAMPLES
        )
        rate = draw.between(0.005, 0.05) * draw.happens(self.loss)
        lost = draw.each(packets.shape[1]) < rate
        before = torch.roll(packets, 1, 1) * 0.5 * draw.happens(0.5)[:, :, None]
        heard = torch.where(lost[:, :, None], before, packets).reshape(batch, -1)
        return torch.cat([heard, audio[:, heard.shape[1] :]], dim=1)


def room_responses() -> Tensor:
    """What a caller may speak in; shape (rooms, samples)."""
    quarter = CALL_RATE_HZ // 4
    responses = [
        np.pad(response[:quarter], (0, max(0, quarter - len(response))))
        for room in rooms(unheard=False)
        for response in (*room.near, *room.far)
    ]
    return torch.from_numpy(np.stack(responses))


class _Draw:
    """Chance for a batch: shape (batch, 1), equal for neighbours that belong together."""

    def __init__(self, count: int, together: int, chance: torch.Generator) -> None:
        self._count, self._together, self._chance = count, together, chance

    def each(self, width: int) -> Tensor:
        """Shape (batch, width), 0..1."""
        return self._repeated(torch.rand(self._count, width, generator=self._chance))

    def between(self, low: float, high: float) -> Tensor:
        """Evenly between two bounds."""
        return low + (high - low) * self.each(1)

    def happens(self, chance: float) -> Tensor:
        """True with this chance."""
        return self.each(1) < chance

    def index(self, count: int) -> Tensor:
        """A whole number from 0 to below `count`."""
        return (self.each(1) * count).long().clamp_max(count - 1)

    def complex_noise(self, width: int) -> Tensor:
        """White, of unit power."""
        parts = torch.randn(self._count, width, 2, generator=self._chance)
        return self._repeated(torch.view_as_complex(parts))

    def _repeated(self, drawn: Tensor) -> Tensor:
        return drawn.repeat_interleave(self._together, 0)


def _suppressed(audio: Tensor, draw: _Draw, chosen: Tensor) -> Tensor:
    """The chosen of a batch after spectral subtraction (Berouti et al., 1979).

    What is near each bin's floor is held down.
    """
    window = torch.hann_window(256)
    over, least = draw.between(1.2, 3.0)[chosen], 10 ** (-draw.between(8, 30)[chosen] / 20)
    audio = audio[chosen]
    spectrum = torch.stft(audio, 256, 128, window=window, return_complex=True)
    size = spectrum.abs()
    # The floor is where some 100 ms were at their quietest (after Martin, 2001).
    smooth = functional.avg_pool1d(size, 7, 3)
    floor = 1.5 * smooth.amin(2, keepdim=True)
    gain = (1 - (over[:, :, None] * floor / size.clamp_min(1e-8)).square()).clamp_min(0).sqrt()
    # Smoothed over time, or it would ring like a synthesiser of its own.
    gain = functional.avg_pool1d(gain.flatten(0, 1)[:, None], 3, 1, 1)[:, 0]
    gain = gain.reshape(size.shape).maximum(least[:, :, None])
    return torch.istft(spectrum * gain, 256, 128, window=window, length=audio.shape[1])


def _levelled(audio: Tensor, draw: _Draw) -> Tensor:
    """Automatic gain control: loud and quiet brought nearer to each other, over half a second."""
    block = CALL_RATE_HZ // 50
    power = functional.avg_pool1d(audio.square()[:, None], block, ceil_mode=True)
    level = functional.avg_pool1d(power, 25, 1, 12, count_include_pad=False).sqrt()
    middle = level.mean(2, keepdim=True).clamp_min(1e-6)
    strength = draw.between(0.2, 0.8)[:, :, None]
    # At most 20 dB up, or pauses would become as loud as speech.
    change = ((level / middle).clamp(0.1, 10.0)) ** -strength
    smooth = functional.interpolate(change, audio.shape[1], mode="linear")[:, 0]
    return audio * smooth


def _companded(audio: Tensor, draw: _Draw) -> Tensor:
    """G.711 as a curve of 256 steps: µ-law, or A-law half the time."""
    audio = audio.clamp(-1, 1)
    size, sign = audio.abs(), audio.sign()
    mu = 255.0
    coded = torch.round(torch.log1p(mu * size) / torch.log(torch.tensor(1 + mu)) * 127) / 127
    by_mu = sign * torch.expm1(coded * torch.log(torch.tensor(1 + mu))) / mu
    a = 87.6
    scale = 1 + torch.log(torch.tensor(a))
    small = size < 1 / a
    coded = torch.where(small, a * size, 1 + torch.log((a * size).clamp_min(1e-9))) / scale
    coded = torch.round(coded * 127) / 127
    by_a = sign * torch.where(
        coded < 1 / scale, coded * scale / a, torch.exp(coded * scale - 1) / a
    )
    return torch.where(draw.happens(0.5), by_mu, by_a)
