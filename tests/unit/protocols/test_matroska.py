"""Matroska that is still being written: as Kinesis Video, PyAV and nobody should write it."""

import io
import re
import struct
from itertools import pairwise

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import matroska as written
from tests.matroska import CLUSTER, block, cluster, document, element, head, tags, track
from vivavoce.protocols.events import Malformed
from vivavoce.protocols.matroska import Block, Document, MatroskaReader, Tags, Track

FRAGMENT = written.fragment(0, bytes(range(256)) * 8, bytes(2048))
VOID = element(written.VOID, bytes(300))
CHECKSUM = element(written.CRC32, b"\x01\x02\x03\x04")
CALL = document(element(written.TRACKS, track(1, "caller")), cluster(1000, block(1, 5, b"abcd")))


def events_of(data, edges=()):
    reader = MatroskaReader()
    places = [0, *sorted(min(edge, len(data)) for edge in edges), len(data)]
    return [
        event for start, end in pairwise(places) for event in reader.receive_bytes(data[start:end])
    ]


def blocks_of(data):
    return [event for event in events_of(data) if isinstance(event, Block)]


def test_a_fragment_of_kinesis_video_is_understood():
    events = events_of(FRAGMENT)
    assert events[:3] == [
        Document(),
        Track(number=1, name="AUDIO_FROM_CUSTOMER", codec="A_AAC"),
        Track(number=2, name="AUDIO_TO_CUSTOMER", codec="A_AAC"),
    ]
    assert isinstance(events[3], Tags)
    assert events[3].values["AWS_KINESISVIDEO_FRAGMENT_NUMBER"] == str(written.FIRST_NUMBER)
    assert [(b.track, b.time_ns // 1_000_000 - written.BEGAN_MS) for b in blocks_of(FRAGMENT)] == [
        (1, 0),
        (2, 0),
        (1, 64),
        (2, 64),
    ]
    assert b"".join(b.data for b in blocks_of(FRAGMENT) if b.track == 1) == bytes(range(256)) * 8
    assert Tags(values={"ContactId": written.CONTACT}) in events


def test_what_pyav_writes_is_understood():
    """FFmpeg's own muxer: clusters of known or unknown size, CRC-32, Void, lower-level tracks."""
    tones = [np.arange(16000, dtype=np.int16), -np.arange(16000, dtype=np.int16)]
    for options in ({}, {"live": "1", "cluster_time_limit": "500"}):
        buffer = io.BytesIO()
        with av.open(buffer, "w", format="matroska", options=options) as container:
            streams = []
            for name in ("AUDIO_FROM_CUSTOMER", "AUDIO_TO_CUSTOMER"):
                stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
                stream.metadata["title"] = name
                streams.append(stream)
            for start in range(0, 16000, 512):
                for stream, tone in zip(streams, tones, strict=True):
                    piece = np.ascontiguousarray(tone[None, start : start + 512])
                    frame = av.AudioFrame.from_ndarray(piece, format="s16", layout="mono")
                    frame.sample_rate, frame.pts = 8000, start
                    container.mux(stream.encode(frame))
        events = events_of(buffer.getvalue())
        tracks = [event for event in events if isinstance(event, Track)]
        assert [(t.name, t.codec, t.rate_hz, t.channels, t.bits) for t in tracks] == [
            ("AUDIO_FROM_CUSTOMER", "A_PCM/INT/LIT", 8000.0, 1, 16),
            ("AUDIO_TO_CUSTOMER", "A_PCM/INT/LIT", 8000.0, 1, 16),
        ]
        for number, tone in zip([t.number for t in tracks], tones, strict=True):
            found = [e for e in events if isinstance(e, Block) and e.track == number]
            assert b"".join(b.data for b in found) == tone.astype("<i2").tobytes()
            assert [b.time_ns // 64_000_000 for b in found] == list(range(len(found)))


@settings(max_examples=80, deadline=None)
@given(edges=st.lists(st.integers(0, len(FRAGMENT) + len(CALL)), max_size=20))
def test_however_the_bytes_are_cut_the_events_are_the_same(edges):
    data = FRAGMENT + CALL
    assert events_of(data, edges) == events_of(data)


def test_even_byte_by_byte_the_events_are_the_same():
    data = CALL + VOID + CHECKSUM + CALL
    assert events_of(data, range(len(data))) == events_of(data)


def test_every_prefix_is_a_stream_that_goes_on():
    whole = events_of(FRAGMENT)
    for end in range(0, len(FRAGMENT), 7):
        found = events_of(FRAGMENT[:end])
        assert found == whole[: len(found)]


@settings(max_examples=300, deadline=None)
@given(
    data=st.binary(max_size=300),
    before=st.sampled_from([b"", CALL, CALL + head(CLUSTER)]),
    edges=st.lists(st.integers(0, 500), max_size=8),
)
def test_any_bytes_are_incomplete_or_an_error_never_a_crash(data, before, edges):
    found = events_of(before + data, edges)
    assert found == events_of(before + data)
    assert not any(isinstance(event, Malformed) for event in found[:-1])


@settings(max_examples=300, deadline=None)
@given(place=st.integers(0, len(FRAGMENT) - 1), value=st.integers(0, 255))
def test_no_changed_byte_is_a_crash(place, value):
    events_of(FRAGMENT[:place] + bytes([value]) + FRAGMENT[place + 1 :])


@pytest.mark.parametrize("between", [VOID, CHECKSUM, element(0x4DBB, b"\x00" * 200_000), b""])
def test_what_nothing_is_wanted_of_is_passed_over_anywhere(between):
    plain = document(tags(a="1")) + cluster(7, block(1, 0, b"ab")) + tags(b="2")
    padded = (
        document(between, tags(a="1"), between)
        + element(CLUSTER, between, element(0xE7, 7), between, block(1, 0, b"ab"), between)
        + between
        + tags(b="2")
    )
    assert events_of(padded, [500, 1000]) == events_of(plain)


def test_an_element_that_is_passed_over_is_not_held():
    reader = MatroskaReader()
    reader.receive_bytes(document(head(written.VOID, 1 << 40)))
    for _ in range(100):
        assert reader.receive_bytes(bytes(65536)) == []
    assert len(reader._waiting) == 0


@pytest.mark.parametrize("size", ["known", "unknown"])
def test_segments_and_clusters_may_have_any_size(size):
    content = element(0xE7, 100) + block(1, -4, b"ab")
    begun = element(CLUSTER, content) if size == "known" else head(CLUSTER) + content
    data = document(begun, begun, tags(a="1"), begun)
    assert [b.time_ns for b in blocks_of(data)] == [96_000_000] * 3


def test_a_block_in_a_group_is_a_block():
    inside = element(written.BLOCK, b"\x81\x00\x02\x00", b"data")
    group = element(written.BLOCK_GROUP, inside, element(0x9B, 20))
    assert blocks_of(document(cluster(1, group))) == [
        Block(track=1, time_ns=3_000_000, data=b"data")
    ]


def test_the_clock_is_as_fast_as_the_document_says_and_the_next_one_has_its_own():
    slow = document(element(written.INFO, element(0x2AD7B1, 1000)), cluster(5, block(1, 0, b"")))
    fast = document(cluster(5, block(1, 0, b"")))
    assert [b.time_ns for b in blocks_of(slow + fast)] == [5000, 5_000_000]


def test_a_track_number_may_have_several_bytes():
    data = document(cluster(0, element(written.SIMPLE_BLOCK, b"\x41\x00", b"\0\0\x80", b"x")))
    assert blocks_of(data) == [Block(track=256, time_ns=0, data=b"x")]


def test_tags_are_told_apart_by_case_and_padding_is_no_part_of_them():
    data = document(tags(ContactId="one\0\0", CONTACTID="two"))
    assert events_of(data)[-1] == Tags(values={"ContactId": "one", "CONTACTID": "two"})


def test_rates_may_be_short_or_long_or_absent():
    audio = [element(0xB5, struct.pack(">f", 16000.0)), element(0xB5, b""), b""]
    entries = [element(0xAE, element(0xD7, 1), element(0xE1, one)) for one in audio]
    events = events_of(document(element(written.TRACKS, *entries)))
    found = [event.rate_hz for event in events if isinstance(event, Track)]
    assert found == [16000.0, 0.0, 8000.0]


LACED = block(1, 0, b"\x01abcd", flags=0x82)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"RIFF....", "begins with 1a45dfa3"),
        (b"\x00", "No element begins with 00"),
        (element(written.EBML, element(0x4282, "avi")), "is 'avi', not Matroska"),
        (document(block(1, 0, b"ab")), "before its cluster's time"),
        (document(cluster(0, LACED)), "lacing"),
        (document(cluster(0, element(written.SIMPLE_BLOCK, b"\x81\x00"))), "too short"),
        (document(head(written.TAGS)), "does not say how long"),
        (document(head(written.VOID)), "does not say how long"),
        (document(head(written.TAGS, 1 << 21)), "has 2097152 bytes"),
        (document(element(written.TAGS, b"\x73\x73\x85ab")), "reaches beyond"),
        (document(element(written.TRACKS, element(0xAE, element(0x6D80, b"")))), "compressed"),
        (document(cluster(1 << 64)), "integer has 9 bytes"),
        (
            document(element(written.TRACKS, element(0xAE, element(0xE1, element(0xB5, b"abc"))))),
            "floating point number has 3 bytes",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "bytes",
)
def test_what_is_not_served_is_refused_with_the_reason(data, message):
    for edges in ((), range(len(data))):
        last = events_of(data + CALL, edges)[-1]
        assert isinstance(last, Malformed)
        assert re.search(message, last.reason)
