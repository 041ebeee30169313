"""A call of Amazon Connect as GetMedia gives it out, and what may go wrong with it."""

import io
import re
from itertools import pairwise

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import matroska as written
from tests.matroska import (
    AGENT,
    BEGAN_MS,
    BLOCK_BYTES,
    CALLER,
    CONTACT,
    FIRST_NUMBER,
    NEXT_CONTACT,
    block,
    call,
    cluster,
    document,
    element,
    fragment,
    tags,
    track,
)
from vivavoce.protocols.events import Audio, Closed, Gap, Malformed
from vivavoce.protocols.kinesis import KinesisStream

SECOND = 16 * BLOCK_BYTES
"""Of a fragment: 16 blocks, 1.024 s."""

SAID = np.arange(3 * SECOND // 2, dtype="<i2").tobytes()
ANSWERED = np.arange(30_000, 30_000 - 3 * SECOND // 2, -1).astype("<i2").tobytes()
FRAGMENTS = call(SAID, ANSWERED)


def events_of(data, edges=(), *, finish=True):
    stream = KinesisStream()
    places = [0, *sorted(min(edge, len(data)) for edge in edges), len(data)]
    events = [
        event for start, end in pairwise(places) for event in stream.receive_bytes(data[start:end])
    ]
    return events + (stream.finish() if finish else [])


def essence(events):
    """Events with the arrays as bytes, and audio that follows on audio as one."""
    found = []
    for event in events:
        if not isinstance(event, Audio):
            found.append(event)
            continue
        heard = [event.samples.tobytes(), None if event.agent is None else event.agent.tobytes()]
        before = found[-1] if found else None
        if isinstance(before, list) and (before[1] is None) == (heard[1] is None):
            found[-1] = [before[0] + heard[0], before[1] and before[1] + heard[1]]
        else:
            found.append(heard)
    return found


def said(events):
    return b"".join(event.samples.tobytes() for event in events if isinstance(event, Audio))


def lost(events):
    return sum(event.samples for event in events if isinstance(event, Gap))


def piece(index):
    return SAID[index * SECOND : (index + 1) * SECOND]


def test_a_call_is_heard_with_what_the_agent_said_at_the_same_moments():
    assert essence(events_of(b"".join(FRAGMENTS))) == [[SAID, ANSWERED], Closed()]


def test_a_fragment_is_heard_as_soon_as_it_is_complete():
    stream = KinesisStream()
    assert said(stream.receive_bytes(FRAGMENTS[0])) == piece(0)
    assert stream.latest_fragment == str(FIRST_NUMBER)


@settings(max_examples=60, deadline=None)
@given(edges=st.lists(st.integers(0, 110_000), max_size=20))
def test_however_the_bytes_are_cut_the_events_are_the_same(edges):
    data = b"".join(FRAGMENTS)
    assert essence(events_of(data, edges)) == essence(events_of(data))


@settings(max_examples=60, deadline=None)
@given(end=st.integers(0, sum(map(len, FRAGMENTS))))
def test_every_prefix_of_a_call_is_the_beginning_of_it(end):
    events = events_of(b"".join(FRAGMENTS)[:end], finish=False)
    assert not any(isinstance(event, Malformed) for event in events)
    assert SAID.startswith(said(events))


@settings(max_examples=200, deadline=None)
@given(
    data=st.binary(max_size=300),
    before=st.sampled_from([b"", FRAGMENTS[0], FRAGMENTS[0][:-300]]),
    edges=st.lists(st.integers(0, 40_000), max_size=8),
)
def test_any_bytes_are_incomplete_or_an_error_never_a_crash(data, before, edges):
    events = events_of(before + data, edges)
    assert essence(events) == essence(events_of(before + data))


@settings(max_examples=200, deadline=None)
@given(place=st.integers(0, len(FRAGMENTS[0]) - 1), value=st.integers(0, 255))
def test_no_changed_byte_is_a_crash(place, value):
    first = FRAGMENTS[0]
    events_of(first[:place] + bytes([value]) + first[place + 1 :] + FRAGMENTS[1])


# --- tracks


@pytest.mark.parametrize("names", [(CALLER, AGENT), (AGENT, CALLER)], ids=["1 and 2", "2 and 1"])
def test_tracks_are_told_apart_by_their_names(names):
    tracks = (SAID, ANSWERED) if names[0] == CALLER else (ANSWERED, SAID)
    data = b"".join(call(*tracks, names=names))
    assert essence(events_of(data)) == [[SAID, ANSWERED], Closed()]


@pytest.mark.parametrize("name", ["Track_audio/L16", "", None], ids=["legacy", "empty", "none"])
def test_older_streams_have_the_caller_alone(name):
    data = b"".join(call(SAID, names=(name, AGENT)))
    assert essence(events_of(data)) == [[SAID, None], Closed()]


def test_a_track_with_the_callers_name_goes_before_one_without_a_name():
    assert said(events_of(fragment(0, ANSWERED[:SECOND], piece(0), names=("", CALLER)))) == piece(0)


def test_a_stream_without_the_caller_says_nothing():
    assert events_of(b"".join(call(ANSWERED, names=(AGENT, "")))) == [Closed()]
    assert events_of(fragment(0, piece(0), names=("other", ""))) == [Closed()]


def test_what_the_agent_said_while_the_caller_was_not_heard_is_silence_and_never_shifts():
    data = fragment(0, piece(0), ANSWERED[:BLOCK_BYTES])
    data += fragment(1, piece(1), ANSWERED[SECOND : 2 * SECOND])
    silence = bytes(SECOND - BLOCK_BYTES)
    heard = ANSWERED[:BLOCK_BYTES] + silence + ANSWERED[SECOND : 2 * SECOND]
    assert essence(events_of(data)) == [[SAID[: 2 * SECOND], heard], Closed()]


def test_an_agents_block_that_comes_a_fragment_early_waits_for_the_callers():
    def plain(index, agent):
        return document(
            element(written.TRACKS, track(1, CALLER), track(2, AGENT)),
            cluster(
                BEGAN_MS + 1024 * index,
                block(1, 0, piece(index)),
                *(block(2, offset, sound) for offset, sound in agent),
            ),
            tags(AWS_KINESISVIDEO_CONTINUATION_TOKEN="1"),
        )

    early = plain(0, [(0, ANSWERED[:SECOND]), (1024, ANSWERED[SECOND : SECOND + BLOCK_BYTES])])
    late = plain(1, [(64, ANSWERED[SECOND + BLOCK_BYTES : 2 * SECOND])])
    heard = [SAID[: 2 * SECOND], ANSWERED[: 2 * SECOND]]
    assert essence(events_of(early + late)) == [heard, Closed()]


# --- time


def test_what_is_missing_between_fragments_is_a_gap():
    events = events_of(FRAGMENTS[0] + FRAGMENTS[2])
    assert essence(events) == [
        [piece(0), ANSWERED[:SECOND]],
        Gap(samples=SECOND // 2),
        [piece(2), ANSWERED[2 * SECOND :]],
        Closed(),
    ]


def test_a_block_that_is_missing_is_a_gap_of_one_block():
    blocks = [(0, b"ab" * 512), (64, b"cd" * 512), (192, b"ef" * 512)]
    data = document(
        element(written.TRACKS, track(1, CALLER, "A_PCM/INT/LIT")),
        cluster(BEGAN_MS, *(block(1, offset, sound) for offset, sound in blocks)),
    )
    assert essence(events_of(data)) == [
        [b"ab" * 512 + b"cd" * 512, None],
        Gap(samples=512),
        [b"ef" * 512, None],
        Closed(),
    ]


@settings(max_examples=60, deadline=None)
@given(
    kept=st.lists(st.booleans(), min_size=12, max_size=12),
    jitter_ms=st.lists(st.integers(-9, 9), min_size=12, max_size=12),
)
def test_audio_and_gaps_are_as_long_as_the_call_whatever_is_missing(kept, jitter_ms):
    data = b"".join(
        fragment(index, bytes(SECOND), at_ms=BEGAN_MS + 1024 * index + jitter_ms[index])
        for index in range(12)
        if kept[index]
    )
    events = events_of(data)
    whole = kept.index(True) if any(kept) else 12
    last = max((index for index in range(12) if kept[index]), default=whole - 1)
    length = (last + 1 - whole) * SECOND // 2
    assert len(said(events)) == sum(kept) * SECOND
    assert abs(len(said(events)) // 2 + lost(events) - length) <= 0.04 * 8000


def test_small_jitter_is_no_gap_and_loses_nothing():
    times = [BEGAN_MS, BEGAN_MS + 1024 + 20, BEGAN_MS + 2048 - 20]
    data = b"".join(fragment(i, piece(i), at_ms=times[i]) for i in range(3))
    assert essence(events_of(data)) == [[SAID, None], Closed()]


@settings(max_examples=60, deadline=None)
@given(order=st.lists(st.integers(0, 2), max_size=8))
def test_a_fragment_that_came_before_is_dropped_and_an_older_one_too(order):
    events = events_of(b"".join(FRAGMENTS[index] for index in order))
    seen = [index for place, index in enumerate(order) if index > max(order[:place], default=-1)]
    assert said(events) == b"".join(piece(index) for index in seen)


def test_a_fragment_without_a_number_that_came_before_is_dropped_by_its_time():
    def plain(index):
        return document(
            element(written.TRACKS, track(1, CALLER)),
            cluster(BEGAN_MS + 1024 * index, block(1, 0, piece(index))),
        )

    events = events_of(plain(0) + plain(0) + plain(1) + plain(0) + plain(1) + plain(2))
    assert essence(events) == [[SAID, None], Closed()]


def test_a_section_that_comes_again_under_a_new_number_is_dropped_by_its_time():
    again = fragment(3, piece(1), at_ms=BEGAN_MS + 1024)
    tail = fragment(4, piece(2), at_ms=BEGAN_MS + 2048)
    events = events_of(fragment(0, piece(0)) + fragment(1, piece(1)) + again + tail)
    assert essence(events) == [[SAID, None], Closed()]


def test_a_block_that_overlaps_the_one_before_is_heard_from_there_on():
    early = SECOND - 54 * 16  # 54 ms before the end of what was heard
    late = document(
        element(written.TRACKS, track(1, CALLER)),
        cluster(BEGAN_MS + 970, block(1, 0, SAID[early : 2 * SECOND])),
        tags(ContactId=CONTACT),
    )
    assert said(events_of(fragment(0, piece(0)) + late)) == SAID[: 2 * SECOND]


def test_a_producer_that_starts_its_clock_anew_is_heard():
    events = events_of(fragment(0, piece(0)) + fragment(1, piece(1), at_ms=0))
    assert essence(events) == [[SAID[: 2 * SECOND], None], Closed()]
    events = events_of(fragment(0, piece(0), at_ms=0) + fragment(1, piece(1)))
    assert essence(events) == [[SAID[: 2 * SECOND], None], Closed()]


# --- the end


def test_another_contact_ends_the_call_and_nothing_of_it_is_heard():
    following = fragment(1, b"\x11\x11" * 8192, contact=NEXT_CONTACT)
    events = events_of(FRAGMENTS[0] + following + FRAGMENTS[2])
    assert essence(events) == [[piece(0), ANSWERED[:SECOND]], Closed()]


def test_of_a_fragment_that_was_cut_off_nothing_is_heard_as_it_may_be_anothers():
    following = fragment(1, b"\x11\x11" * 8192, contact=NEXT_CONTACT)
    contact_at = following.index(b"ContactId")
    for end in (100, 5000, contact_at):
        events = events_of(FRAGMENTS[0] + following[:end])
        assert essence(events) == [[piece(0), ANSWERED[:SECOND]], Closed()]


def test_a_contact_that_is_named_before_the_audio_ends_the_call_as_well():
    early = document(
        element(written.TRACKS, track(1, CALLER)),
        tags(ContactId=NEXT_CONTACT),
        cluster(BEGAN_MS + 1024, block(1, 0, piece(1))),
    )
    assert essence(events_of(FRAGMENTS[0] + early)) == [[piece(0), ANSWERED[:SECOND]], Closed()]


def test_tags_of_another_spelling_or_none_change_nothing():
    data = FRAGMENTS[0] + fragment(1, piece(1), contact=None, CONTACTID=NEXT_CONTACT)
    assert said(events_of(data)) == SAID[: 2 * SECOND]


def test_a_fragment_is_complete_with_the_next_one_where_nothing_says_so():
    def plain(index):
        return document(
            element(written.TRACKS, track(1, CALLER)),
            cluster(BEGAN_MS + 1024 * index, block(1, 0, piece(index))),
            tags(ContactId=CONTACT),
        )

    stream = KinesisStream()
    assert stream.receive_bytes(plain(0)) == []
    assert said(stream.receive_bytes(plain(1))) == piece(0)
    assert said(stream.finish()) == piece(1)
    assert stream.finish() == []


def test_an_error_of_kinesis_video_ends_the_stream_with_its_reason():
    error = document(
        tags(AWS_KINESISVIDEO_ERROR_ID="4500", AWS_KINESISVIDEO_ERROR_CODE="Access denied")
    )
    events = events_of(FRAGMENTS[0] + error + FRAGMENTS[1])
    assert said(events) == piece(0)
    assert events[-1] == Malformed(reason="Kinesis Video ended the stream: Access denied (4500)")


# --- connections


@settings(max_examples=60, deadline=None)
@given(cuts=st.lists(st.integers(0, len(FRAGMENTS[0]) * 3), max_size=4))
def test_a_call_that_is_taken_up_again_after_lost_connections_is_heard_whole(cuts):
    stream, events = KinesisStream(), []
    for cut in [*cuts, None]:
        stream.reconnect()
        latest = stream.latest_fragment
        after = 0 if latest is None else int(latest) - FIRST_NUMBER + 1
        events += stream.receive_bytes(b"".join(FRAGMENTS[after:])[:cut])
    assert essence(events + stream.finish()) == [[SAID, ANSWERED], Closed()]


def test_fragments_that_a_new_connection_repeats_are_dropped():
    stream = KinesisStream()
    events = stream.receive_bytes(FRAGMENTS[0] + FRAGMENTS[1][:20_000])
    stream.reconnect()
    events += stream.receive_bytes(b"".join(FRAGMENTS))
    assert essence(events) == [[SAID, ANSWERED]]


# --- formats


def test_what_the_mime_type_says_goes_before_what_the_track_says():
    data = fragment(0, piece(0), MimeType="audio/L16; rate=16000; channels=1")
    assert abs(len(said(events_of(data))) - SECOND // 2) <= 4


def test_other_rates_become_that_of_a_call_and_gaps_with_them():
    tone = np.round(8000 * np.sin(2 * np.pi * 440 * np.arange(48000) / 16000)).astype("<i2")
    data = b"".join(
        document(
            element(
                written.TRACKS,
                track(1, CALLER, "A_PCM/INT/LIT", rate_hz=16000, bits=16),
                track(2, AGENT, "A_PCM/INT/LIT", rate_hz=16000, bits=16),
            ),
            cluster(
                1000 * index,
                block(1, 0, tone[16000 * index : 16000 * (index + 1)].tobytes()),
                block(2, 0, tone[16000 * index : 16000 * (index + 1)].tobytes()),
            ),
        )
        for index in (0, 2)
    )
    events = events_of(data)
    assert lost(events) == 8000
    assert abs(len(said(events)) // 2 - 16000) <= 4
    assert all(e.agent is not None for e in events if isinstance(e, Audio))
    assert all(heard[0] == heard[1] for heard in essence(events) if isinstance(heard, list))
    spectrum = np.abs(np.fft.rfft(np.frombuffer(said(events), "<i2")[1000:5000]))
    assert np.argmax(spectrum) * 2 == 440


def test_a_call_that_pyav_wrote_is_heard():
    """FFmpeg's muxer, document after document, as the fixture of a whole GetMedia."""
    samples = np.arange(16000, dtype=np.int16)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska", options={"live": "1"}) as container:
        streams = {}
        for name in (AGENT, CALLER):
            streams[name] = container.add_stream("pcm_s16le", rate=8000, layout="mono")
            streams[name].metadata["title"] = name
        for start in range(0, 16000, 512):
            for name, sound in ((AGENT, -samples), (CALLER, samples)):
                cut = np.ascontiguousarray(sound[None, start : start + 512])
                frame = av.AudioFrame.from_ndarray(cut, format="s16", layout="mono")
                frame.sample_rate, frame.pts = 8000, start
                container.mux(streams[name].encode(frame))
    heard = [samples.tobytes(), (-samples).tobytes()]
    assert essence(events_of(buffer.getvalue())) == [heard, Closed()]


def plain(data=b"abcd", **kind):
    return document(
        element(written.TRACKS, track(1, CALLER, **kind)), cluster(0, block(1, 0, data))
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (plain(codec="A_OPUS"), "'AUDIO_FROM_CUSTOMER' holds A_OPUS, not L16"),
        (plain(codec="A_PCM/INT/LIT", bits=24), "not L16"),
        (plain(rate_hz=4000.0), "4000 samples a second"),
        (plain(rate_hz=float("nan")), "nan samples a second"),
        (plain(data=b"abc"), "3 bytes are no whole number"),
        (fragment(0, bytes(4), MimeType="audio/PCMU;rate=8000"), "holds audio/PCMU"),
        (fragment(0, bytes(4), MimeType="audio/L16;rate=8000;channels=2"), "one channel"),
        (
            document(*(cluster(0, block(1, 0, bytes(900_000))) for _ in range(5))),
            "longer than Kinesis Video has them",
        ),
        (
            document(cluster(0, *(block(1, 0, b"ab") for _ in range(20_000)))),
            "longer than Kinesis Video has them",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "bytes",
)
def test_what_is_no_call_of_amazon_connect_is_refused_with_the_reason(data, message):
    last = events_of(data + FRAGMENTS[0])[-1]
    assert isinstance(last, Malformed)
    assert re.search(message, last.reason)
