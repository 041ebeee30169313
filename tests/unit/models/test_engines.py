"""What the engines remember of a call, with an encoder and a detector that count."""

import numpy as np
import pytest

from vivavoce.models.engines import Engines
from vivavoce.models.memory import key_of

pytestmark = pytest.mark.anyio

WINDOW = 100


class CountingEncoder:
    """Windows of 100 samples, the last one padded; a window's vector is its sum and its length."""

    def __init__(self):
        self.encoded = []

    def prepare(self, audio, rate_hz):
        padded = np.pad(audio, (0, -len(audio) % WINDOW))
        return padded.reshape(-1, WINDOW, 1).astype(np.float32)

    def encode(self, batch):
        self.encoded += [key_of(window) for window in batch]
        return np.stack([[window.sum(), len(window)] for window in batch]).astype(np.float32)

    def pool(self, vectors):
        return vectors.mean(axis=0)


class CountingModels:
    voices = None  # without a calibration nothing is said of two voices

    def __init__(self):
        self.encoder = CountingEncoder()
        self.memories = []

    def spoof_evidence(self, speech, memory):
        self.memories.append(memory)
        return len(speech)


@pytest.fixture
def models():
    return CountingModels()


@pytest.fixture
async def engines(models):
    engines = Engines(models, max_batch=4, max_wait_ms=0, threads=2)
    yield engines
    await engines.aclose()


def speech(samples):
    return np.random.default_rng(1).integers(-9999, 9999, 2000).astype(np.int16)[:samples]


async def test_a_window_is_encoded_once_in_a_call(engines, models):
    memory = {}
    for samples in (150, 150, 420, 1000):
        remembered = await engines.judge(speech(samples), memory)
        fresh = await Engines.judge(engines, speech(samples), {})
        np.testing.assert_array_equal(remembered[0], fresh[0])
        assert remembered[1] == fresh[1] == samples
    # Two windows, then none, then three more and a shorter one, then that one whole and five more.
    assert len(memory) == 2 + 4 + 6
    assert sum(memory is given for given in models.memories) == 4


async def test_without_a_memory_nothing_is_kept(engines, models):
    await engines.embed(speech(300))
    await engines.embed(speech(300))
    assert len(models.encoder.encoded) == 6


async def test_what_is_remembered_does_not_hold_on_to_the_windows_of_others(engines):
    memory = {}
    await engines.judge(speech(400), memory)
    assert all(vector.base is None for vector in memory.values())


def test_a_key_tells_windows_apart():
    window = speech(WINDOW).astype(np.float32)
    other = window.copy()
    other[50] = np.nextafter(other[50], np.float32(9))
    assert key_of(window) == key_of(window.copy())
    assert key_of(window) != key_of(other)
