import json
import uuid

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.audio.g711 import decode_mu_law
from vivavoce.errors import InvalidRequest
from vivavoce.protocols.audiohook import NO_CALL, AudioHookStream
from vivavoce.protocols.events import Announced, Audio, Closed, Gap, Malformed

SESSION, ORGANIZATION, CONVERSATION = (str(uuid.UUID(int=number)) for number in (1, 2, 3))
BOTH = {"type": "audio", "format": "PCMU", "channels": ["external", "internal"], "rate": 8000}
CALLER = {**BOTH, "channels": ["external"]}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
KINDS = ("open", "close", "ping", "paused", "resumed", "discarded", "update", "error", "dance")


class Client:
    """Numbers its messages as it must."""

    def __init__(self):
        self.stream = AudioHookStream(session_id=SESSION, organization_id=ORGANIZATION)
        self.seq = 0

    def say(self, kind, parameters=None, **changes):
        self.seq += 1
        message = {
            "version": "2",
            "id": SESSION,
            "type": kind,
            "seq": self.seq,
            "serverseq": 0,
            "position": "PT0S",
            "parameters": parameters or {},
            **changes,
        }
        return self.stream.receive_text(json.dumps(message))

    def open(self, media=(BOTH,), **changes):
        parameters = {"organizationId": ORGANIZATION, "conversationId": CONVERSATION}
        return self.say("open", {**parameters, "media": list(media), **changes})

    def answers(self):
        return [json.loads(answer) for answer in self.stream.take_answers()]


@pytest.fixture
def client():
    return Client()


@pytest.fixture
def opened(client):
    client.open()
    client.stream.opened()
    client.answers()
    return client


def test_an_open_announces_the_call_with_all_that_is_said_of_it(client):
    [announced] = client.open(customConfig={"DomainId": "d", "SpeakerId": "june"})
    assert isinstance(announced, Announced)
    assert (announced.name, announced.domain_id) == (CONVERSATION, "d")
    assert announced.facts["customConfig"] == {"DomainId": "d", "SpeakerId": "june"}
    client.stream.opened()
    [answer] = client.answers()
    assert answer == {
        "version": "2",
        "type": "opened",
        "id": SESSION,
        "seq": 1,
        "clientseq": 1,
        "parameters": {"media": [BOTH]},
    }


def test_our_messages_count_up_and_name_the_clients_last(opened):
    opened.say("ping")
    opened.say("ping", {"rtt": "PT0.25S"})
    assert [(a["type"], a["seq"], a["clientseq"]) for a in opened.answers()] == [
        ("pong", 2, 2),
        ("pong", 3, 3),
    ]
    assert opened.stream.round_trip_s == 0.25


def test_a_probe_announces_nothing(client):
    assert client.open(conversationId=NO_CALL) == []
    assert client.stream.is_probe
    client.stream.opened()
    assert client.answers()[0]["parameters"] == {"media": []}


def test_caller_and_agent_are_told_apart(opened):
    [audio] = opened.stream.receive_bytes(bytes([1, 2, 3, 4]))
    assert audio.samples.tolist() == decode_mu_law(bytes([1, 3])).tolist()
    assert audio.agent.tolist() == decode_mu_law(bytes([2, 4])).tolist()


@given(st.lists(st.binary(max_size=40).map(lambda data: data * 2), max_size=20))
def test_the_samples_are_the_same_however_frames_are_cut(frames):
    client = Client()
    client.open()
    client.stream.opened()
    heard = [event for frame in frames for event in client.stream.receive_bytes(frame)]
    whole = decode_mu_law(b"".join(frames))
    nothing = np.zeros(0, np.int16)
    for index, name in enumerate(("samples", "agent")):
        parts = [getattr(event, name) for event in heard]
        assert np.concatenate([nothing, *parts]).tolist() == whole[index::2].tolist()


def test_what_came_before_half_a_frame_counts(opened):
    audio, malformed = opened.stream.receive_bytes(bytes([1, 2, 3]))
    assert audio.samples.tolist() == decode_mu_law(bytes([1])).tolist()
    assert isinstance(malformed, Malformed)


@pytest.mark.parametrize(
    ("offers", "chosen"),
    [
        ([CALLER, BOTH], BOTH),
        ([{**BOTH, "format": "L16"}, CALLER], CALLER),
        ([{**BOTH, "rate": 16000}, CALLER], CALLER),
    ],
)
def test_the_best_of_what_is_offered_is_chosen(client, offers, chosen):
    client.open(offers)
    client.stream.opened()
    assert client.answers()[0]["parameters"]["media"] == [chosen]


@pytest.mark.parametrize(
    "offers", [[], None, "PCMU", [None], [{**BOTH, "channels": ["internal"]}]], ids=range(5)
)
def test_without_the_caller_a_call_cannot_be_opened(client, offers):
    with pytest.raises(InvalidRequest, match="offered media"):
        client.say(
            "open",
            {"organizationId": ORGANIZATION, "conversationId": CONVERSATION, "media": offers},
        )


def test_audio_is_withheld_in_a_pause_and_lost_where_discarded(opened):
    assert opened.say("paused") == [Gap(samples=0, is_loss=False)]
    with pytest.raises(InvalidRequest):
        opened.stream.receive_bytes(bytes(2))
    assert opened.say("resumed", {"start": "PT1S", "discarded": "PT2.5S"}) == [
        Gap(samples=20000, is_loss=False)
    ]
    assert opened.stream.receive_bytes(bytes(2))
    assert opened.say("discarded", {"start": "PT4S", "discarded": "PT0.1S"}) == [Gap(samples=800)]


@pytest.mark.parametrize("duration", [None, 3, "", "PT", "1S", "PT-1S", "PT1e3S", "PT99999999S"])
def test_a_duration_is_seconds_of_a_sane_number(opened, duration):
    with pytest.raises(InvalidRequest, match=r"PT1\.2S"):
        opened.say("discarded", {"start": "PT0S", "discarded": duration})


def test_a_close_ends_the_call_and_may_announce_another_connection(opened):
    assert opened.say("close", {"reason": "reconnect"}) == [Closed(returns=True)]
    opened.stream.closed()
    assert opened.answers()[0]["type"] == "closed"
    assert opened.say("close", {"reason": "end"}) == []


def test_after_a_disconnect_only_a_close_is_listened_to(opened):
    opened.stream.disconnect("completed", "enough")
    opened.stream.disconnect("error", "twice")
    assert opened.say("ping") == []
    assert opened.stream.receive_bytes(bytes(2)) == []
    assert [answer["parameters"] for answer in opened.answers()] == [
        {"reason": "completed", "info": "enough"}
    ]
    assert opened.say("close", {"reason": "disconnect"}) == [Closed()]


def test_a_handing_back_is_said_only_of_an_open_call(client):
    client.stream.reconnect("shutting down")
    assert client.answers() == []
    client.open()
    client.stream.opened()
    client.stream.reconnect("shutting down")
    assert client.answers()[-1]["type"] == "reconnect"


@given(st.text() | JSON.map(json.dumps))
def test_any_text_is_a_message_or_refused(text):
    stream = AudioHookStream(session_id=SESSION, organization_id=ORGANIZATION)
    with pytest.raises(InvalidRequest):
        stream.receive_text(text)


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.dictionaries(st.text(), JSON)), max_size=6))
def test_any_parameters_are_understood_or_refused(messages):
    client = Client()
    client.open()
    client.stream.opened()
    for kind, parameters in messages:
        try:
            events = client.say(kind, parameters)
        except InvalidRequest:
            return
        assert all(isinstance(event, Audio | Gap | Closed) for event in events)
    numbers = [answer["seq"] for answer in client.answers()]
    assert numbers == list(range(1, len(numbers) + 1))


@given(st.data())
def test_a_message_that_was_cut_off_is_refused(data):
    message = json.dumps(
        {"version": "2", "id": SESSION, "type": "ping", "seq": 2, "serverseq": 1, "parameters": {}}
    )
    client = Client()
    client.open()
    client.stream.opened()
    with pytest.raises(InvalidRequest):
        client.stream.receive_text(message[: data.draw(st.integers(0, len(message) - 1))])
