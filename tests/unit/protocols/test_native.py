import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vivavoce.audio.g711 import decode_a_law, decode_mu_law
from vivavoce.errors import BadAudioParameters, InvalidRequest
from vivavoce.protocols.events import Audio, Closed
from vivavoce.protocols.native import Encoding, NativeStream, Parameters, read_parameters


def audio_of(events) -> list[Audio]:
    """Events that are all audio."""
    assert all(isinstance(event, Audio) for event in events)
    return events


def samples_of(events):
    return np.concatenate([event.samples for event in events] or [np.zeros(0, np.int16)])


def received(parameters, messages):
    stream = NativeStream(parameters)
    events = [event for message in messages for event in stream.receive_bytes(message)]
    return samples_of([*events, *stream.finish()])


@settings(max_examples=60, deadline=None)
@example(
    data=bytes(range(200)),
    cuts=[1, 5, 6, 7, 66, 133],
    encoding=Encoding.L16,
    rate_hz=8000,
    channels=(2, 1),
)
@given(
    data=st.binary(max_size=3000),
    cuts=st.lists(st.integers(0, 3000), max_size=12),
    encoding=st.sampled_from(Encoding),
    rate_hz=st.sampled_from([8000, 11025, 16000, 44100, 48000]),
    channels=st.sampled_from([(1, 0), (2, 0), (2, 1)]),
)
def test_however_the_bytes_are_cut_the_samples_are_the_same(
    data, cuts, encoding, rate_hz, channels
):
    parameters = Parameters(
        encoding=encoding, rate_hz=rate_hz, channels=channels[0], channel=channels[1]
    )
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(edges)]
    np.testing.assert_array_equal(received(parameters, pieces), received(parameters, [data]))


@given(data=st.binary(max_size=400))
def test_telephone_encodings_are_decoded(data):
    for encoding, decode in ((Encoding.MULAW, decode_mu_law), (Encoding.ALAW, decode_a_law)):
        got = received(Parameters(encoding=encoding), [data])
        np.testing.assert_array_equal(got, decode(data))


@pytest.mark.parametrize("channel", [0, 1])
def test_of_two_channels_one_is_the_callers_and_the_other_the_agents(channel):
    both = np.array([[1, -1], [2, -2], [3, -3]], "<i2")
    stream = NativeStream(Parameters(channels=2, channel=channel))
    (audio,) = audio_of(stream.receive_bytes(both.tobytes()))
    assert audio.samples.tolist() == both[:, channel].tolist()
    assert audio.agent is not None
    assert audio.agent.tolist() == both[:, 1 - channel].tolist()


def test_one_channel_has_no_agent():
    (audio,) = audio_of(NativeStream(Parameters()).receive_bytes(bytes(8)))
    assert audio.agent is None


@pytest.mark.parametrize("rate_hz", [8000, 44100])
@pytest.mark.parametrize("channel", [0, 1])
def test_both_channels_stay_aligned_however_the_bytes_are_cut(rate_hz, channel):
    both = np.random.default_rng(0).integers(-9000, 9001, (rate_hz // 4, 2)).astype("<i2")
    stream = NativeStream(Parameters(rate_hz=rate_hz, channels=2, channel=channel))
    data = both.tobytes()
    pieces = [data[start : start + 333] for start in range(0, len(data), 333)]
    events = [event for piece in pieces for event in stream.receive_bytes(piece)]
    heard, said = np.zeros(0, np.int16), np.zeros(0, np.int16)
    for audio in audio_of([*events, *stream.finish()]):
        assert audio.agent is not None
        heard, said = np.append(heard, audio.samples), np.append(said, audio.agent)
        assert len(heard) == len(said)
    mono = Parameters(rate_hz=rate_hz)
    np.testing.assert_array_equal(heard, received(mono, [both[:, channel].tobytes()]))
    np.testing.assert_array_equal(said, received(mono, [both[:, 1 - channel].tobytes()]))


def test_what_is_left_of_a_split_sample_is_dropped():
    assert received(Parameters(), [b"\x01\x00\x02"]).tolist() == [1]
    assert received(Parameters(), [b"", b"\x01"]).size == 0


@pytest.mark.parametrize("rate_hz", [16000, 44100])
def test_other_rates_become_the_call_rate(rate_hz):
    tone = (8000 * np.sin(2 * np.pi * 440 * np.arange(rate_hz) / rate_hz)).astype("<i2")
    got = received(Parameters(rate_hz=rate_hz), [tone.tobytes()])
    expected = 8000 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)
    assert abs(len(got) - 8000) <= 1
    np.testing.assert_allclose(got[800:7200], expected[800:7200], atol=20)


def test_the_text_end_gives_the_rest_and_the_end():
    stream = NativeStream(Parameters(rate_hz=16000))
    events = stream.receive_bytes(bytes(3200)) + stream.receive_text('{"type": "end"}')
    assert isinstance(events[-1], Closed)
    assert all(isinstance(event, Audio) for event in events[:-1])
    assert len(samples_of(events[:-1])) == 800


@pytest.mark.parametrize("text", ['{"type": "ping"}', '{"type": null}', '{"type": ["end"]}'])
def test_other_types_are_passed_over(text):
    assert NativeStream(Parameters()).receive_text(text) == []


@pytest.mark.parametrize(
    "text", ["", "end", "null", "[]", '"type"', "{}", '{"Type": "end"}', "[" * 100_000, "9" * 5000]
)
def test_other_texts_are_refused(text):
    with pytest.raises(InvalidRequest):
        NativeStream(Parameters()).receive_text(text)


@given(text=st.text())
def test_any_text_is_read_or_refused(text):
    for content in (text, json.dumps({"type": text})):
        try:
            NativeStream(Parameters()).receive_text(content)
        except InvalidRequest:
            assert content == text


def test_what_the_query_leaves_out_has_its_default():
    assert read_parameters({"token": "x"}) == Parameters()
    assert Parameters() == Parameters(encoding=Encoding.L16, rate_hz=8000, channels=1, channel=0)


def test_the_query_is_read():
    query = {"encoding": "MuLaw", "rate": "48000", "channels": "2", "channel": "1"}
    assert read_parameters(query) == Parameters(
        encoding=Encoding.MULAW, rate_hz=48000, channels=2, channel=1
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("encoding", value) for value in ("", "opus", "l16 ", "mp3")),
        *(
            ("rate", value)
            for value in ("", "0", "7999", "48001", "8k", "-8000", "8000.0", "9" * 99)
        ),
        *(("channels", value) for value in ("0", "3", "x", "²")),
        *(("channel", value) for value in ("1", "-1", "")),  # of one channel
    ],
)
def test_a_value_that_is_not_served_is_refused_by_name(name, value):
    with pytest.raises(BadAudioParameters, match=name):
        read_parameters({name: value})
