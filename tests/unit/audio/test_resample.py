import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vivavoce.audio.resample import StreamDoubler, StreamResampler, resample
from vivavoce.errors import BadAudioParameters


def tone(hz, rate_hz, seconds=1.0, level=0.5):
    instants = np.arange(round(rate_hz * seconds)) / rate_hz
    return (level * np.sin(2 * np.pi * hz * instants)).astype(np.float32)


def noise(samples, seed=0):
    return np.random.default_rng(seed).integers(-20000, 20000, samples).astype(np.int16)


def whole(samples, from_hz, to_hz):
    resampler = StreamResampler(from_hz, to_hz)
    return np.concatenate([resampler.push(samples), resampler.finish()])


@pytest.mark.parametrize(("from_hz", "to_hz"), [(8000, 16000), (44100, 8000), (48000, 16000)])
def test_a_tone_is_the_same_tone_at_another_rate(from_hz, to_hz):
    got = resample(tone(1000, from_hz), from_hz, to_hz)
    expected = tone(1000, to_hz)
    assert got.dtype == np.float32
    assert abs(got.size - expected.size) <= 1
    inner = slice(to_hz // 10, -to_hz // 10)  # The filter rings at the ends.
    np.testing.assert_allclose(got[: expected.size][inner], expected[inner], atol=1e-3)


def test_what_the_lower_rate_cannot_hold_is_removed():
    got = resample(tone(5000, 16000), 16000, 8000)
    assert np.abs(got[800:-800]).max() < 1e-4


def test_equal_rates_change_nothing():
    audio = tone(300, 8000)
    assert resample(audio, 8000, 8000) is audio
    samples = noise(1000)
    np.testing.assert_array_equal(whole(samples, 8000, 8000), samples)


def test_nothing_gives_nothing():
    assert resample(np.empty(0, np.float32), 8000, 16000).size == 0
    assert whole(np.empty(0, np.int16), 8000, 16000).size == 0


@settings(max_examples=40, deadline=None)
@given(
    rates=st.sampled_from([(8000, 16000), (16000, 8000), (44100, 8000), (11025, 8000)]),
    samples=st.integers(0, 3000),
    cuts=st.lists(st.integers(0, 3000), max_size=12),
    seed=st.integers(0, 1000),
)
def test_a_stream_gives_the_same_bits_however_it_is_cut(rates, samples, cuts, seed):
    audio = noise(samples, seed)
    resampler = StreamResampler(*rates)
    parts = [
        resampler.push(part) for part in np.split(audio, sorted(min(c, samples) for c in cuts))
    ]
    got = np.concatenate([*parts, resampler.finish()])
    np.testing.assert_array_equal(got, whole(audio, *rates))


def test_a_stream_fed_single_samples_gives_the_same_bits():
    audio = noise(700)
    resampler = StreamResampler(8000, 16000)
    parts = [resampler.push(audio[i : i + 1]) for i in range(audio.size)]
    np.testing.assert_array_equal(
        np.concatenate([*parts, resampler.finish()]), whole(audio, 8000, 16000)
    )


@pytest.mark.parametrize("samples", [1, 79, 80, 8000, 12345])
def test_a_stream_keeps_its_length(samples):
    assert whole(noise(samples), 8000, 16000).size == 2 * samples


def test_a_stream_agrees_with_the_whole_recording():
    samples = noise(16000) // 4
    got = whole(samples, 8000, 16000).astype(np.float32) / 32768
    np.testing.assert_allclose(got, resample(samples / np.float32(32768), 8000, 16000), atol=2e-4)


@pytest.mark.parametrize(("from_hz", "to_hz"), [(8000, 16000), (48000, 8000), (44100, 16000)])
def test_output_follows_input_by_less_than_a_fifth_of_a_second(from_hz, to_hz):
    resampler = StreamResampler(from_hz, to_hz)
    given_s = got_s = worst_s = 0.0
    for _ in range(150):
        given_s += 0.01
        got_s += resampler.push(noise(from_hz // 100)).size / to_hz
        worst_s = max(worst_s, given_s - got_s)
    assert worst_s < 0.2


def test_a_finished_stream_takes_no_more():
    resampler = StreamResampler(8000, 16000)
    resampler.push(noise(100))
    assert resampler.finish().size == 200
    assert resampler.finish().size == 0
    with pytest.raises(RuntimeError, match="finished"):
        resampler.push(noise(1))


@pytest.mark.parametrize("rate_hz", [0, -8000, 3999, 1_000_000])
def test_an_absurd_rate_is_refused(rate_hz):
    with pytest.raises(BadAudioParameters, match=str(rate_hz)):
        resample(np.zeros(10, np.float32), rate_hz, 8000)
    with pytest.raises(BadAudioParameters):
        StreamResampler(rate_hz, 8000)


# --- doubling


def doubled(samples, sizes=()):
    doubler, start, parts = StreamDoubler(), 0, []
    for size in (*sizes, len(samples)):
        parts.append(doubler.push(samples[start : start + size]))
        start += size
    return np.concatenate([*parts, doubler.finish()])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 500), st.lists(st.integers(0, 90), max_size=12))
def test_doubling_is_the_same_however_the_samples_arrive(count, sizes):
    samples = noise(count)
    got = doubled(samples, sizes)
    np.testing.assert_array_equal(got, doubled(samples))
    np.testing.assert_array_equal(got[::2], samples)


@pytest.mark.parametrize("hz", [100, 1000, 3000, 3600])
def test_a_tone_is_doubled_to_the_same_tone(hz):
    samples = np.rint(32767 * tone(hz, 8000)).astype(np.int16)
    expected = 32767 * tone(hz, 16000)
    error = doubled(samples)[500:-500] - expected[500:-500]
    assert 10 * np.log10(np.mean(error**2) / np.mean(expected**2)) < -75


def test_doubling_is_4_ms_behind():
    assert len(StreamDoubler().push(noise(800))) == 2 * (800 - 32)


def test_the_loudest_samples_are_clipped_not_wrapped():
    square = np.where(np.arange(400) // 20 % 2, 32767, -32768).astype(np.int16)
    got = doubled(square).astype(int)
    assert got.max() == 32767
    assert got.min() == -32768
    # Inside a plateau it rings; it never jumps to the other side.
    assert (abs(got.reshape(-1, 40).mean(axis=1)) > 20000).all()


def test_after_its_end_a_doubler_begins_anew():
    doubler = StreamDoubler()
    doubler.push(noise(300))
    doubler.finish()
    samples = noise(300, seed=1)
    np.testing.assert_array_equal(
        np.concatenate([doubler.push(samples), doubler.finish()]), doubled(samples)
    )
