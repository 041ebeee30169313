"""What the engines remember of a call, with models that count, in processes of their own."""

import os
from typing import Any, cast

import numpy as np
import pytest

from vivavoce.models.engines import Engines, Models
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


class CountingModels(Models):
    def __init__(self):
        self.encoder = cast("Any", CountingEncoder())
        self.voices = None  # without a calibration nothing is said of two voices

    def spoof_evidence(self, speech, memory=None):
        if memory is not None:
            memory[b"judged %d" % len(speech)] = np.zeros(1, np.float32)
        return cast("Any", os.getpid())

    def look_ahead(self, speech, memory):
        memory[b"ahead %d" % len(speech)] = np.zeros(1, np.float32)


@pytest.fixture
def models():
    return CountingModels()


@pytest.fixture
async def engines(models):
    engines = Engines(models, load=CountingModels, processes=1)
    yield engines
    await engines.aclose()


def speech(samples):
    return np.random.default_rng(1).integers(-9999, 9999, 2000).astype(np.int16)[:samples]


def test_a_window_is_encoded_once_in_a_call(models):
    memory = {}
    for samples in (150, 150, 420, 1000):
        remembered = models.hear(speech(samples), memory)
        fresh = CountingModels().hear(speech(samples), {})
        np.testing.assert_array_equal(remembered[0], fresh[0])
    # Two windows, then none, then three more and a shorter one, then that one whole and five more.
    assert len(models.encoder.encoded) == len(memory) == 2 + 4 + 6


def test_without_a_memory_nothing_is_kept(models):
    models.hear(speech(300), {})
    models.hear(speech(300), {})
    assert len(models.encoder.encoded) == 6


def test_what_is_remembered_does_not_hold_on_to_the_windows_of_others(models):
    memory = {}
    models.hear(speech(400), memory)
    assert all(vector.base is None for vector in memory.values())


async def test_what_is_found_in_another_process_is_remembered_in_this_one(engines, models):
    memory = {}
    vector, process, voices = await engines.judge(speech(150), memory)
    expected, _ = models.hear(speech(150), {})
    np.testing.assert_array_equal(vector, expected)
    assert process != os.getpid()
    assert voices is None
    assert len(memory) == 2 + 1
    before = dict(memory)
    await engines.judge(speech(150), memory)
    assert memory.keys() == before.keys()
    np.testing.assert_array_equal(await engines.embed(speech(150)), expected)


async def test_what_is_found_ahead_is_remembered(engines):
    memory = {b"known": np.zeros(1, np.float32)}
    await engines.look_ahead(speech(150), memory)
    assert list(memory) == [b"known", b"ahead 150"]


def test_a_key_tells_windows_apart():
    window = speech(WINDOW).astype(np.float32)
    other = window.copy()
    other[50] = np.nextafter(other[50], np.float32(9))
    assert key_of(window) == key_of(window.copy())
    assert key_of(window) != key_of(other)
