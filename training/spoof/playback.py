"""Playback by simulation: a voice recorded, played through a loudspeaker, and heard by a telephone.

The chain: the victim's room and the recorder's microphone, the recording's codec, a loudspeaker
(band, resonances, non-linearity), the room where it plays, the telephone's microphone, noise and
hum. Rooms are shoeboxes by the image method (Allen and Berkley, 1979) from pyroomacoustics.

Loudspeakers and rooms come in two disjoint families, one to train on and one to measure on: what
plays a recording to a bank has never been heard by its detector.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyroomacoustics
from scipy.signal import butter, fftconvolve, sosfilt

from training.spoof.vocoders import like
from training.telephone import add_noise, amr, gsm, opus
from vivavoce.audio.arrays import CALL_RATE_HZ, Floats

_ROOMS = 48
_ROOM_SEED = 91


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Impulse responses between points of one room, 8 kHz, direct sound first.

    Attributes:
        near: from 5 to 30 cm: a loudspeaker held to a telephone, or a mouth to its own.
        far: from 0.4 to 2 m: a telephone on a table, a hidden recorder.
    """

    near: tuple[Floats, ...]
    far: tuple[Floats, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loudspeaker:
    """A kind of loudspeaker.

    Attributes:
        low_hz: lower edges of its band, from and to.
        high_hz: upper edges.
        order: steepness of both edges.
        resonances: how many.
        drive: how hard it is driven into its curve, from and to; 0 is straight.
        even: share of even harmonics, from and to.
    """

    low_hz: tuple[float, float]
    high_hz: tuple[float, float]
    order: int
    resonances: int
    drive: tuple[float, float]
    even: tuple[float, float]


# A telephone's own loudspeaker, a small and a large portable one, a laptop, headphones.
# Not documented anywhere: ranges chosen around data sheets of 10 to 57 mm drivers.
TRAINING_LOUDSPEAKERS = (
    Loudspeaker(low_hz=(450, 900), high_hz=(3300, 3900), order=2, resonances=4,
                drive=(0.3, 2.0), even=(0.0, 0.3)),
    Loudspeaker(low_hz=(120, 300), high_hz=(3600, 3950), order=2, resonances=3,
                drive=(0.05, 0.8), even=(0.0, 0.15)),
    Loudspeaker(low_hz=(250, 500), high_hz=(3600, 3950), order=3, resonances=5,
                drive=(0.1, 1.0), even=(0.0, 0.2)),
)  # fmt: skip
UNHEARD_LOUDSPEAKERS = (
    Loudspeaker(low_hz=(330, 700), high_hz=(3000, 3600), order=4, resonances=6,
                drive=(0.2, 1.5), even=(0.05, 0.25)),
    Loudspeaker(low_hz=(60, 150), high_hz=(3800, 3950), order=1, resonances=2,
                drive=(0.0, 0.4), even=(0.0, 0.1)),
)  # fmt: skip


@cache
def rooms(*, unheard: bool) -> tuple[Room, ...]:
    """The rooms of a family; small and dry to large and live."""
    rng = np.random.default_rng([_ROOM_SEED, int(unheard)])
    return tuple(_room(rng) for _ in range(_ROOMS // 3 if unheard else _ROOMS))


def heard_in(room: Room, audio: Floats, rng: np.random.Generator, *, near: float) -> Floats:
    """A voice in a room; with chance `near` from close by."""
    responses = room.near if rng.random() < near else room.far
    response = responses[rng.integers(len(responses))]
    return fftconvolve(audio, response)[: len(audio)].astype(np.float32)


def play_back(audio: Floats, rng: np.random.Generator, *, unheard: bool) -> Floats:
    """A voice as a telephone hears a recording of it; of the same length."""
    family = rooms(unheard=unheard)
    speakers = UNHEARD_LOUDSPEAKERS if unheard else TRAINING_LOUDSPEAKERS
    recorded = audio
    if rng.random() < 0.7:  # else taken from a call or a file
        recorded = heard_in(family[rng.integers(len(family))], recorded, rng, near=0.5)
        recorded = add_noise(recorded, rng.uniform(20, 45), rng, tilt_db_per_octave=-4)
    recorded = _recording_codec(rng)(recorded)
    played = _through(speakers[rng.integers(len(speakers))], recorded, rng)
    heard = heard_in(family[rng.integers(len(family))], played, rng, near=0.6)
    if rng.random() < 0.3:
        heard = heard + _hum(len(heard), rng) * float(np.std(heard))
    heard = add_noise(heard, rng.uniform(15, 45), rng, tilt_db_per_octave=rng.uniform(-6, 0))
    return like(heard, audio)


def _recording_codec(rng: np.random.Generator) -> Callable[[Floats], Floats]:
    kind = rng.random()
    if kind < 0.5:
        return lambda audio: audio
    if kind < 0.7:
        return lambda audio: opus(audio, 24_000)
    if kind < 0.9:
        return lambda audio: amr(audio, int(rng.choice([7950, 12200])))
    return gsm


def _through(speaker: Loudspeaker, audio: Floats, rng: np.random.Generator) -> Floats:
    """Compression as players do, then band, curve and resonances (a Hammerstein model)."""
    compressed = _compressed(audio) if rng.random() < 0.4 else audio
    level = np.float32(max(np.quantile(np.abs(compressed), 0.995), 1e-4))
    shaped = _in_band(speaker, compressed / level, rng)
    drive, even = rng.uniform(*speaker.drive), rng.uniform(*speaker.even)
    if drive > 0:
        shaped = np.tanh(drive * (shaped + even * shaped**2)) / drive
    return _resonating(shaped - shaped.mean(), speaker.resonances, rng).astype(np.float32)


def _in_band(speaker: Loudspeaker, audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    edges = [rng.uniform(*speaker.low_hz), rng.uniform(*speaker.high_hz)]
    bands = butter(speaker.order, edges, "bandpass", fs=CALL_RATE_HZ, output="sos")
    return sosfilt(bands, audio)


def _resonating(audio: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Peaks and dips of up to 9 dB, a quarter of an octave to an octave wide."""
    spectrum = np.fft.rfft(audio, len(audio) + 1024)
    octave = np.log2(np.maximum(np.fft.rfftfreq(len(audio) + 1024, 1 / CALL_RATE_HZ), 20.0))
    gain_db = np.zeros_like(octave)
    for _ in range(count):
        middle, width = rng.uniform(np.log2(250), np.log2(3800)), rng.uniform(0.12, 0.5)
        gain_db += rng.uniform(-9, 9) * np.exp(-0.5 * ((octave - middle) / width) ** 2)
    return np.fft.irfft(spectrum * 10 ** (gain_db / 20), len(audio) + 1024)[: len(audio)]


def _compressed(audio: Floats) -> np.ndarray:
    """Loud parts made quieter: the square root of the level over 30 ms."""
    smoothing = np.ones(240) / 240
    level = np.sqrt(np.convolve(audio.astype(np.float64) ** 2, smoothing, mode="same"))
    return audio / np.sqrt(np.maximum(level, 0.02))


def _hum(count: int, rng: np.random.Generator) -> Floats:
    """Mains hum with its harmonics, of unit power times 1 % to 10 %."""
    seconds = np.arange(count) / CALL_RATE_HZ
    base_hz = float(rng.choice([50.0, 60.0]))
    hum = sum(
        rng.uniform(0, 1) / k * np.sin(2 * np.pi * (base_hz * k * seconds + rng.random()))
        for k in range(1, 8)
    )
    return (hum * 10 ** rng.uniform(-2, -1) / max(float(np.std(hum)), 1e-6)).astype(np.float32)


def _room(rng: np.random.Generator) -> Room:
    size = [rng.uniform(2, 8), rng.uniform(2, 6), rng.uniform(2.3, 3.5)]
    material = pyroomacoustics.Material(rng.uniform(0.15, 0.7))
    near, far = (
        tuple(_response(size, material, rng.uniform(low, high), rng) for _ in range(3))
        for low, high in ((0.05, 0.3), (0.4, 2.0))
    )
    return Room(near=near, far=far)


def _response(
    size: list[float],
    material: "pyroomacoustics.Material",
    distance_m: float,
    rng: np.random.Generator,
) -> Floats:
    room = pyroomacoustics.ShoeBox(size, fs=CALL_RATE_HZ, materials=material, max_order=14)
    middle = np.array([rng.uniform(0.3, 0.7) * side for side in size])
    direction = rng.standard_normal(3)
    other = middle + distance_m * direction / np.linalg.norm(direction)
    room.add_source(middle)
    room.add_microphone(np.clip(other, 0.1, np.array(size) - 0.1))
    room.compute_rir()
    response = np.asarray(room.rir[0][0], np.float32)
    response = response[int(np.argmax(np.abs(response))) :][: CALL_RATE_HZ // 2]
    return response / np.abs(response[0])
