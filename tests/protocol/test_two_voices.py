"""Real people, and who else is on the line: a second person, or the agent's echo."""

import numpy as np
import pytest

from tests.server import as_bytes, last, make_call
from vivavoce.audio.arrays import CALL_RATE_HZ

S = CALL_RATE_HZ


@pytest.fixture
def call(client, domain_id):
    """Enrols a speaker from a call of its own; gives the session and the server's messages."""

    def make(audio, *, query="", **wanted):
        answer = client.start_session(DomainId=domain_id, **wanted)
        named = {"DomainId": domain_id, "SessionNameOrId": answer["Session"]["SessionId"]}
        if "SpeakerId" in wanted:
            client.enroll_by_session(**named)
        messages = make_call(answer["StreamUrl"] + query, audio)
        return client.describe_session(**named)["Session"], messages

    return make


def both(caller, agent):
    """Two channels, the caller's first, as bytes."""
    length = max(len(caller), len(agent))
    channels = [np.pad(each, (0, length - len(each))) for each in (caller, agent)]
    return as_bytes(np.stack(channels, axis=1).ravel())


def echo(agent, *, delay_ms=140, gain_db=-14):
    late = np.concatenate([np.zeros(delay_ms * S // 1000), agent])[: len(agent)]
    return np.rint(late * 10 ** (gain_db / 20)).astype(np.int16)


def test_a_second_person_keeps_an_enrolment_from_being_made(server, call, voices):
    first = voices.customer(seconds=20, use="enrolment")
    second = voices.stranger(seconds=20, use="enrolment")
    session, messages = call(as_bytes(np.concatenate([first, second])), SpeakerId="two")
    assert session["EnrollmentRequestDetails"] == {
        "Status": "FAILED",
        "Message": "More than one voice was heard in the speech for the enrollment.",
    }
    assert session["AudioProgress"]["Quality"] == "TWO_VOICES"
    assert last(messages, "progress")["Quality"] == "TWO_VOICES"
    assert last(messages, "enrollment")["status"] == "FAILED"


def test_one_person_is_enrolled(server, call, voices):
    session, _ = call(as_bytes(voices.customer(seconds=45, use="enrolment")), SpeakerId="one")
    assert session["EnrollmentRequestDetails"] == {"Status": "COMPLETED"}
    assert session["AudioProgress"]["Quality"] != "TWO_VOICES"


@pytest.mark.parametrize("channel", [0, 1])
def test_the_agents_echo_is_not_the_callers_speech(server, call, voices, channel):
    agent = voices.stranger(seconds=20, use="call")
    channels = (echo(agent), agent) if channel == 0 else (agent, echo(agent))
    session, _ = call(both(*channels), query=f"&channels=2&channel={channel}")
    alone, _ = call(as_bytes(echo(agent)))
    assert alone["AudioProgress"]["NetSpeechSeconds"] > 10
    assert session["AudioProgress"]["NetSpeechSeconds"] < 1
    assert session["AudioProgress"]["Quality"] == "TWO_VOICES"


def test_a_caller_beside_an_echo_is_enrolled_from_what_the_caller_says(server, call, voices):
    agent = voices.stranger(seconds=15, use="call")
    caller = voices.customer(seconds=45, use="enrolment")
    said = np.concatenate([agent, np.zeros(len(caller) + S, np.int16)])
    heard = np.concatenate([echo(agent), np.zeros(S, np.int16), caller])
    session, _ = call(both(heard, said), query="&channels=2", SpeakerId="beside")
    assert session["EnrollmentRequestDetails"]["Status"] == "COMPLETED"
    # The same sound without the agent's channel is two people's.
    session, _ = call(as_bytes(heard), SpeakerId="unknown")
    assert session["EnrollmentRequestDetails"]["Status"] == "FAILED"
