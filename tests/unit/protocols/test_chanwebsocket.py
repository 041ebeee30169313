"""Asterisk's WebSocket channel, in both forms of its events."""

import contextlib
import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vivavoce.audio.g711 import decode_a_law, decode_mu_law
from vivavoce.errors import InvalidRequest
from vivavoce.protocols.chanwebsocket import FORMATS, ChanWebSocketStream
from vivavoce.protocols.freeswitch import FreeSwitchStream
from vivavoce.protocols.native import Parameters

# The example of Asterisk's documentation.
LINE = (
    "MEDIA_START connection_id:e226e283-c90a-4ea9-9e37-389000b9ef47 "
    "channel:WebSocket/connectionid format:ulaw optimal_frame_size:160"
)
TWENTY_MS = bytes(range(160))


def json_start(codec):
    return json.dumps(
        {
            "event": "MEDIA_START",
            "connection_id": "e226e283-c90a-4ea9-9e37-389000b9ef47",
            "channel": "WebSocket/connectionid",
            "format": codec,
            "optimal_frame_size": 160,
            "ptime": 20,
            "channel_variables": {"MEDIA_WEBSOCKET_CONNECTION_ID": "e226e283"},
        }
    )


def started(start=LINE):
    stream = ChanWebSocketStream()
    assert stream.receive_text(start) == []
    return stream


def samples_of(events):
    return np.concatenate([event.samples for event in events] or [np.zeros(0, np.int16)])


@pytest.mark.parametrize("start", [LINE, f"{LINE} ptime:20", json_start("ulaw")])
def test_both_forms_say_what_the_audio_is(start):
    heard = samples_of(started(start).receive_bytes(TWENTY_MS))
    np.testing.assert_array_equal(heard, decode_mu_law(TWENTY_MS))


def test_a_law_is_decoded():
    heard = samples_of(started(json_start("alaw")).receive_bytes(TWENTY_MS))
    np.testing.assert_array_equal(heard, decode_a_law(TWENTY_MS))


@pytest.mark.parametrize(("codec", "parameters"), FORMATS.items())
def test_a_second_of_any_format_is_a_second(codec, parameters):
    stream = started(json_start(codec))
    data = bytes(parameters.rate_hz * parameters.encoding.sample_bytes)
    heard = samples_of([*stream.receive_bytes(data), *stream.finish()])
    assert abs(len(heard) - 8000) <= 2


@settings(max_examples=50, deadline=None)
@given(cuts=st.lists(st.integers(0, 1280), max_size=10))
def test_however_the_audio_is_cut_the_samples_are_the_same(cuts):
    data = np.arange(640, dtype="<i2").tobytes()
    whole, pieces = started(json_start("slin16")), started(json_start("slin16"))
    edges = [0, *sorted(cuts), len(data)]
    found = [
        event for start, end in pairwise(edges) for event in pieces.receive_bytes(data[start:end])
    ]
    expected = samples_of([*whole.receive_bytes(data), *whole.finish()])
    np.testing.assert_array_equal(samples_of([*found, *pieces.finish()]), expected)


@given(text=st.text(max_size=80), json_like=st.booleans(), data=st.binary(max_size=40))
def test_any_messages_are_passed_over_or_an_error_never_a_crash(text, json_like, data):
    for stream in (ChanWebSocketStream(), started()):
        with contextlib.suppress(InvalidRequest):
            stream.receive_text(("{" if json_like else "") + text)
            stream.receive_bytes(data)
        stream.finish()


@pytest.mark.parametrize(
    "event", ["DTMF_END digit:5", "MEDIA_XOFF", "STATUS queue_length:43", '{"event": "MEDIA_XON"}']
)
def test_what_says_nothing_of_the_callers_audio_is_passed_over(event):
    assert started().receive_text(event) == []


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([json_start("opus")], r"'opus' is not served; dial with c\(ulaw\)"),
        (["MEDIA_START channel:x"], "Format '' is not served"),
        ([LINE, LINE], "came twice"),
        (["{"], "must hold an event"),
        (['{"event": 5}'], "must hold an event"),
    ],
)
def test_what_cannot_be_heard_is_refused_with_the_reason(texts, message):
    *before, wrong = texts
    stream = ChanWebSocketStream()
    for text in before:
        stream.receive_text(text)
    with pytest.raises(InvalidRequest, match=message):
        stream.receive_text(wrong)


def test_audio_before_its_format_is_refused():
    with pytest.raises(InvalidRequest, match="before MEDIA_START"):
        ChanWebSocketStream().receive_bytes(TWENTY_MS)


def test_freeswitch_may_say_anything_beside_its_audio():
    stream = FreeSwitchStream(Parameters())
    for metadata in ("", "customer-7", '{"type": "end"}', "{broken"):
        assert stream.receive_text(metadata) == []
    np.testing.assert_array_equal(samples_of(stream.receive_bytes(b"\x01\x00\xfe\xff")), [1, -2])
