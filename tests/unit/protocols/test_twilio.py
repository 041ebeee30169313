import base64
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.audio.g711 import decode_mu_law
from vivavoce.errors import InvalidRequest
from vivavoce.protocols.events import Announced, Audio, Closed, Gap
from vivavoce.protocols.twilio import TwilioStream

FORMAT = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
PACKET_MS = 20
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def packet(number):
    """20 ms of mu-law in which every packet can be told from every other."""
    return bytes([number % 251]) * 160


def start(tracks=("inbound",), **members):
    told = {"callSid": "CA1", "tracks": list(tracks), "mediaFormat": FORMAT, **members}
    return {"event": "start", "sequenceNumber": "1", "start": told}


def media(number, *, sequence=None, track="inbound", timestamp_ms=None):
    timestamp_ms = number * PACKET_MS if timestamp_ms is None else timestamp_ms
    return {
        "event": "media",
        "sequenceNumber": str(number + 2 if sequence is None else sequence),
        "media": {
            "track": track,
            "timestamp": str(timestamp_ms),
            "payload": base64.b64encode(packet(number)).decode(),
        },
    }


def feed(stream, *messages):
    return [event for each in messages for event in stream.receive_text(json.dumps(each))]


def heard(events):
    """What was said, with lost samples as None."""
    told = []
    for event in events:
        if isinstance(event, Audio):
            told += event.samples.tolist()
        elif isinstance(event, Gap):
            told += [None] * event.samples
    return told


def said(numbers):
    return decode_mu_law(b"".join(packet(number) for number in numbers)).tolist()


@pytest.fixture
def stream():
    return TwilioStream()


def test_a_start_announces_the_call(stream):
    connected = {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    custom = {"DomainId": "d", "SpeakerId": "june"}
    [announced] = feed(stream, connected, start(customParameters=custom))
    assert isinstance(announced, Announced)
    assert (announced.name, announced.domain_id) == ("CA1", "d")
    assert announced.facts["customParameters"] == custom


def test_a_start_without_parameters_names_no_domain(stream):
    [announced] = feed(stream, start())
    assert announced.domain_id is None


@given(st.randoms(use_true_random=False), st.integers(1, 60))
def test_messages_in_any_near_order_give_the_same_samples(random, count):
    stream = TwilioStream()
    messages = [media(number) for number in range(count)]
    # Nobody is further from its place than the stream waits.
    for first in range(0, count, 12):
        block = messages[first : first + 12]
        random.shuffle(block)
        messages[first : first + 12] = block
    events = feed(stream, start(), *messages) + stream.finish()
    assert heard(events) == said(range(count))


@given(st.sets(st.integers(1, 60)))
def test_what_never_comes_is_a_gap_of_its_length(missing):
    stream = TwilioStream()
    count = 62
    numbers = [0, *(number for number in range(1, count) if number not in missing)]
    events = feed(stream, start(), *(media(number) for number in numbers)) + stream.finish()
    # A packet or two late is jitter; what was lost must be told from three on.
    told = heard(events)
    assert [sample for sample in told if sample is not None] == said(numbers)
    assert len(said(range(count))) - len(told) <= 3 * 160


def test_a_long_hole_is_told_in_full(stream):
    events = feed(stream, start(), *(media(number) for number in (0, 1, 2)))
    events += feed(stream, media(100, sequence=5))
    assert heard(events) == said([0, 1, 2]) + [None] * (97 * 160) + said([100])


def test_a_message_that_comes_twice_counts_once(stream):
    events = feed(stream, start(), media(0), media(1), media(0), media(1), media(2))
    assert heard(events) == said([0, 1, 2])


def test_only_the_inbound_track_is_the_caller_and_the_other_one_the_agent(stream):
    events = feed(
        stream,
        start(["inbound", "outbound"]),
        media(7, sequence=2, track="outbound", timestamp_ms=0),
        media(0, sequence=3),
        media(1, sequence=4),
    )
    audio = [event for event in events if isinstance(event, Audio)]
    assert heard(audio) == said([0, 1])
    assert audio[0].agent is not None
    assert audio[0].agent.tolist() == said([7])
    assert audio[1].agent is not None
    assert not audio[1].agent.any()


def test_an_agent_who_runs_ahead_is_not_piled_up(stream):
    outbound = [media(n, sequence=n + 2, track="outbound") for n in range(500)]
    feed(stream, start(["inbound", "outbound"]), *outbound)
    events = feed(stream, *(media(n, sequence=n + 502) for n in range(100)))
    agents = [event.agent for event in events if isinstance(event, Audio)]
    assert sum(np.count_nonzero(agent) for agent in agents if agent is not None) <= 8000


def test_without_the_outbound_track_there_is_no_agent(stream):
    [audio] = feed(stream, start(), media(0))[1:]
    assert audio.agent is None


def test_marks_and_digits_say_nothing_and_stop_ends_the_call(stream):
    feed(stream, start())
    events = feed(
        stream,
        {"event": "dtmf", "sequenceNumber": "2", "dtmf": {"digit": "1"}},
        {"event": "mark", "sequenceNumber": "3", "mark": {"name": "m"}},
        {"event": "stop", "sequenceNumber": "4", "stop": {}},
        media(0, sequence=5),
    )
    assert events == [Closed()]


def test_a_stop_waits_for_what_was_sent_before_it(stream):
    feed(stream, start())
    assert feed(stream, {"event": "stop", "sequenceNumber": "3"}) == []
    audio, closed = feed(stream, media(0))
    assert heard([audio]) == said([0])
    assert closed == Closed()


@pytest.mark.parametrize(
    "message",
    [
        start(["outbound"]),
        start(tracks=[]),
        start(mediaFormat={**FORMAT, "encoding": "audio/l16"}),
        start(mediaFormat=None),
        start(callSid=7),
        start(customParameters="june"),
        media(0, sequence=1),
        {**media(0), "sequenceNumber": "-1"},
        {**media(0), "sequenceNumber": True},
        {**media(0), "sequenceNumber": "9" * 30},
        {"event": "start", "sequenceNumber": "1"},
    ],
    ids=range(11),
)
def test_what_cannot_be_is_refused(stream, message):
    with pytest.raises(InvalidRequest):
        feed(stream, message)


def test_a_second_start_is_refused(stream):
    with pytest.raises(InvalidRequest, match="started already"):
        feed(stream, start(), {**start(), "sequenceNumber": "2"})


def test_binary_messages_are_refused(stream):
    with pytest.raises(InvalidRequest):
        stream.receive_bytes(bytes(160))


@given(st.lists(st.text() | JSON.map(json.dumps), max_size=5))
def test_any_text_is_understood_or_refused(texts):
    stream = TwilioStream()
    for text in texts:
        try:
            stream.receive_text(text)
        except InvalidRequest:
            return


@given(st.lists(st.dictionaries(st.sampled_from(["track", "timestamp", "payload"]), JSON)))
def test_any_media_is_understood_or_refused(medias):
    stream = TwilioStream()
    feed(stream, start())
    for number, each in enumerate(medias, 2):
        try:
            feed(stream, {"event": "media", "sequenceNumber": number, "media": each})
        except InvalidRequest:
            return


@given(st.data())
def test_a_message_that_was_cut_off_is_refused(data):
    text = json.dumps(start())
    with pytest.raises(InvalidRequest):
        TwilioStream().receive_text(text[: data.draw(st.integers(0, len(text) - 1))])
