"""AudioSocket's frames, as Asterisk sends them, and as nobody should."""

import re
from itertools import pairwise
from uuid import UUID

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vivavoce.protocols.audiosocket import DIGIT, RATES_HZ, AudioSocketStream, frame
from vivavoce.protocols.events import Audio, Closed, Malformed, Named

CALL = UUID("40325ec2-5efd-4bd3-805f-53576e581d13")
NAME = frame(0x01, CALL.bytes)
TWENTY_MS = np.arange(160, dtype="<i2")

# The example of Asterisk's documentation, byte by byte, and its first audio.
ON_THE_WIRE = bytes.fromhex(
    "01001040325ec25efd4bd3805f53576e581d131000040100feff03000135000000"
)  # fmt: skip


def events_of(data, edges=()):
    """Events of some bytes, cut at some places."""
    stream = AudioSocketStream()
    places = [0, *sorted(min(edge, len(data)) for edge in edges), len(data)]
    return [
        event for start, end in pairwise(places) for event in stream.receive_bytes(data[start:end])
    ]


def essence(events):
    return [(event.samples.tobytes(),) if isinstance(event, Audio) else event for event in events]


def test_what_asterisk_sends_is_understood():
    assert essence(events_of(ON_THE_WIRE)) == [
        Named(name=str(CALL)),
        (np.array([1, -2], np.int16).tobytes(),),
        Closed(),
    ]


@settings(max_examples=80, deadline=None)
@example(frames=[(0x10, bytes(320)), (0x12, bytes(640)), (DIGIT, b"5"), (0x00, b"")], edges=[1, 2])
@given(
    frames=st.lists(
        st.tuples(st.sampled_from([*RATES_HZ, 0x00, 0x02, DIGIT, 0xFF]), st.binary(max_size=400)),
        max_size=8,
    ),
    edges=st.lists(st.integers(0, 4000), max_size=12),
)
def test_however_the_bytes_are_cut_the_events_are_the_same(frames, edges):
    frames = [(kind, data[: len(data) // 2 * 2]) for kind, data in frames]
    data = NAME + b"".join(frame(kind, payload) for kind, payload in frames)
    assert essence(events_of(data, edges)) == essence(events_of(data))


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300), named=st.booleans(), edges=st.lists(st.integers(0, 300)))
def test_any_bytes_are_incomplete_or_an_error_never_a_crash(data, named, edges):
    data = (NAME if named else b"") + data
    found = essence(events_of(data, edges))
    assert found == essence(events_of(data))
    assert not any(isinstance(event, Malformed) for event in found[:-1])


def test_every_prefix_of_a_call_is_a_call_that_goes_on():
    whole = events_of(ON_THE_WIRE)
    for end in range(len(ON_THE_WIRE)):
        found = events_of(ON_THE_WIRE[:end])
        assert essence(found) == essence(whole[: len(found)])


@pytest.mark.parametrize(("kind", "rate_hz"), RATES_HZ.items())
def test_all_rates_become_the_rate_of_a_call(kind, rate_hz):
    second = np.arange(rate_hz) / rate_hz
    tone = np.round(8000 * np.sin(2 * np.pi * 440 * second)).astype("<i2")
    step = rate_hz // 50
    data = NAME + b"".join(
        frame(kind, tone[at : at + step].tobytes()) for at in range(0, rate_hz, step)
    )
    heard = [e.samples for e in events_of(data + frame(0x00)) if isinstance(e, Audio)]
    samples = np.concatenate(heard)
    assert abs(len(samples) - 8000) <= 2
    spectrum = np.abs(np.fft.rfft(samples[1000:5000]))
    assert np.argmax(spectrum) * 2 == 440


def test_a_rate_that_changes_loses_nothing():
    data = NAME + frame(0x10, bytes(320)) * 50 + frame(0x12, bytes(640)) * 50 + frame(0x00)
    heard = [e.samples for e in events_of(data) if isinstance(e, Audio)]
    assert abs(sum(map(len, heard)) - 16000) <= 2


def test_as_much_silence_goes_back_as_was_heard():
    stream = AudioSocketStream()
    stream.receive_bytes(NAME + frame(0x10, TWENTY_MS.tobytes()) * 2 + frame(0x12, bytes(640)))
    assert stream.take_answer() == frame(0x10, bytes(320)) * 2 + frame(0x12, bytes(640))
    assert stream.take_answer() == b""


def test_nothing_is_looked_at_after_the_end():
    audio = frame(0x10, TWENTY_MS.tobytes())
    for last in (frame(0x00), frame(0xFF, b"\x04")):
        assert events_of(NAME + last + audio + b"\x77garbage")[-1] == Closed()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "begins with a UUID .* not 0x47"),
        (frame(0x10, bytes(320)), "begins with a UUID"),
        (frame(0x01, bytes(15)), "has 16 bytes, not 15"),
        (NAME + NAME, "has its UUID already"),
        (NAME + b"\x42\x00\x00", "no AudioSocket frame of kind 0x42"),
        (NAME + b"\x42\xff\xff", "no AudioSocket frame of kind 0x42"),  # before the rest has come
        (NAME + frame(0x10, bytes(3)), "3 bytes are no whole number"),
    ],
)
def test_what_is_no_audiosocket_is_refused_with_the_reason(data, message):
    for edges in ((), range(len(data))):
        last = events_of(data, edges)[-1]
        assert isinstance(last, Malformed)
        assert re.search(message, last.reason)
