"""Twilio's Media Streams against a real server, by a client that speaks as Twilio does."""

import contextlib
import random
import uuid

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.platforms import Twilio, add_connector, tone
from tests.server import new_domain, wait_for


@pytest.fixture
def token():
    return uuid.uuid4().hex


@pytest.fixture
def connector(server, domain_id, token):
    names = ("--domain", domain_id, "--name", uuid.uuid4().hex)
    return add_connector(server, "twilio", *names, "--secret-file", "-", stdin=token)


@pytest.fixture
def twilio(server, connector, token):
    return Twilio(server, token)


@pytest.fixture
def session(client, domain_id, twilio):
    def now():
        with contextlib.suppress(client.exceptions.ResourceNotFoundException):
            return client.describe_session(DomainId=domain_id, SessionNameOrId=twilio.call_sid)[
                "Session"
            ]
        return None

    return now


def ended(session):
    return wait_for(lambda: (now := session()) and now["StreamingStatus"] == "ENDED" and now)


def test_a_call_is_heard_and_decided_on(twilio, session, client, domain_id, voices):
    said = voices.customer(seconds=15)
    with twilio:
        twilio.start(["inbound"], SpeakerId="june", DomainId=domain_id)
        twilio.send("dtmf", dtmf={"track": "inbound_track", "digit": "1"})
        twilio.send("mark", mark={"name": "welcome"})
        twilio.speak(said)
        twilio.stop()
        assert twilio.close_code() == 1000
    now = ended(session)
    assert now["CustomerSpeakerId"] == "june"
    assert now["AudioProgress"]["LostSeconds"] == 0
    assert now["AudioProgress"]["ReceivedSeconds"] == pytest.approx(len(said) / 8000, abs=0.001)
    evaluation = client.evaluate_session(DomainId=domain_id, SessionNameOrId=twilio.call_sid)
    assert evaluation["AuthenticationResult"]["Decision"] == "SPEAKER_NOT_ENROLLED"
    assert evaluation["FraudDetectionResult"]["Decision"] == "LOW_RISK"


def test_only_the_inbound_track_is_the_caller(twilio, session):
    with twilio:
        twilio.start(["inbound", "outbound"])
        for packet in np.split(tone(2), 100):
            twilio.speak(packet)
            twilio.speak(packet, "outbound")
        twilio.stop()
        assert twilio.close_code() == 1000
    assert ended(session)["AudioProgress"]["ReceivedSeconds"] == pytest.approx(2)


def test_messages_out_of_order_are_put_in_order(twilio, session):
    with twilio:
        twilio.start()
        messages = twilio.media(tone(4))
        shuffled = random.Random(1)
        for start in range(0, len(messages), 8):
            block = messages[start : start + 8]
            shuffled.shuffle(block)
            for message in block:
                twilio.socket.send(message)
        twilio.stop()
        assert twilio.close_code() == 1000
    progress = ended(session)["AudioProgress"]
    assert progress["ReceivedSeconds"] == pytest.approx(4)
    assert progress["LostSeconds"] == 0


def test_what_is_missing_is_lost_and_what_comes_twice_counts_once(twilio, session):
    with twilio:
        twilio.start()
        messages = twilio.media(tone(6))
        for message in messages[:100] + messages[50:100] + messages[200:]:
            twilio.socket.send(message)
        twilio.stop()
        assert twilio.close_code() == 1000
    progress = ended(session)["AudioProgress"]
    assert progress["ReceivedSeconds"] == pytest.approx(4)
    assert progress["LostSeconds"] == pytest.approx(2)


@pytest.mark.parametrize("scheme", ["wss", "https", "ws", "http"])
@pytest.mark.parametrize("port", ["", ":{port}"])
def test_the_url_may_be_signed_with_and_without_its_port(server, twilio, session, scheme, port):
    twilio._changes["signed"] = f"{scheme}://127.0.0.1{port.format(port=server.port)}/v1/twilio"
    with twilio:
        twilio.start()
        twilio.stop()
        assert twilio.close_code() == 1000
    ended(session)


@pytest.mark.parametrize("wrong", ["token", "url"])
def test_who_is_not_twilio_is_refused_at_the_handshake(server, twilio, wrong):
    if wrong == "token":
        twilio.token = "another"
    else:
        twilio._changes["signed"] = "wss://elsewhere.example/v1/twilio"
    with pytest.raises(InvalidStatus) as refused, twilio:
        pass
    assert refused.value.response.status_code == 403
    assert b"X-Twilio-Signature" in (refused.value.response.body or b"")
    assert "a connection was refused" in server.log


def test_a_call_for_another_connectors_domain_is_refused(twilio, session, client):
    with twilio:
        twilio.start(DomainId=new_domain(client, "other"))
        assert twilio.close_code() == 1008
    assert session() is None


def test_of_two_connectors_with_one_token_the_call_says_which(
    server, twilio, session, client, domain_id, token, connector
):
    other = new_domain(client, "other")
    names = ("--domain", other, "--name", uuid.uuid4().hex)
    add_connector(server, "twilio", *names, "--secret-file", "-", stdin=token)
    with Twilio(server, token) as unclear:
        unclear.start()
        assert unclear.close_code() == 1008
    assert "2 connectors have this secret" in server.log
    with twilio:
        twilio.start(DomainId=domain_id)
        twilio.stop()
        assert twilio.close_code() == 1000
    ended(session)


@pytest.mark.parametrize(
    "spoiled",
    [
        "not JSON",
        "[]",
        b"\0" * 160,
        '{"event": "media", "media": {}}',
        '{"event": "start", "sequenceNumber": "1"}',
        '{"event": "start", "sequenceNumber": "x", "start": {}}',
        '{"event": "start", "sequenceNumber": "1", "start": {"callSid": "C", "mediaFormat": {}}}',
    ],
    ids=range(7),
)
def test_what_is_no_stream_is_closed(twilio, session, spoiled):
    with twilio:
        twilio.socket.send(spoiled)
        assert twilio.close_code() == 1008
    assert session() is None


@pytest.mark.parametrize(
    "media",
    [
        {"track": "inbound", "timestamp": "5", "payload": "???"},
        {"track": "inbound", "timestamp": "-5", "payload": "AAAA"},
        {"track": "sideways", "timestamp": "5", "payload": "AAAA"},
        {"track": "inbound", "timestamp": "5", "payload": 7},
    ],
    ids=range(4),
)
def test_a_call_that_goes_wrong_keeps_what_was_heard(server, twilio, session, media):
    with twilio:
        twilio.start()
        twilio.speak(tone(2))
        twilio.send("media", media=media)
        assert twilio.close_code() == 1007
    assert ended(session)["AudioProgress"]["ReceivedSeconds"] == pytest.approx(2)


def test_a_connection_that_is_lost_ends_its_call_after_the_grace_period(serve, token):
    server = serve(grace_s=1)
    client = server.client()
    domain_id = new_domain(client)
    add_connector(server, "twilio", "--domain", domain_id, "--secret-file", "-", stdin=token)
    with Twilio(server, token) as twilio:
        twilio.start()
        twilio.speak(tone(2))
        wait_for(
            lambda: (
                [
                    each["StreamingStatus"]
                    for each in client.list_sessions(DomainId=domain_id)["SessionSummaries"]
                ]
                == ["ONGOING"]
            )
        )
        twilio.socket.socket.shutdown(2)
    wait_for(
        lambda: (
            client.describe_session(DomainId=domain_id, SessionNameOrId=twilio.call_sid)["Session"][
                "StreamingStatus"
            ]
            == "ENDED"
        )
    )


def test_over_the_limit_of_calls_the_handshake_is_refused(serve, token):
    server = serve(max_calls=1)
    domain_id = new_domain(server.client())
    add_connector(server, "twilio", "--domain", domain_id, "--secret-file", "-", stdin=token)
    with Twilio(server, token) as twilio:
        twilio.start()
        twilio.speak(tone(1))
        client = server.client()
        wait_for(lambda: client.list_sessions(DomainId=domain_id)["SessionSummaries"])
        with pytest.raises(InvalidStatus) as refused, Twilio(server, token):
            pass
        assert refused.value.response.status_code == 503
        assert b"places for live calls" in (refused.value.response.body or b"")
        twilio.stop()
        assert twilio.close_code() == 1000


def test_a_session_that_is_ended_closes_the_connection(twilio, session, client, domain_id):
    with twilio:
        twilio.start()
        twilio.speak(np.zeros(160, np.int16))
        wait_for(lambda: (now := session()) and now["StreamingStatus"] == "ONGOING")
        client.end_session(DomainId=domain_id, SessionNameOrId=twilio.call_sid)
        with pytest.raises(ConnectionClosed) as closed:
            twilio.socket.recv(timeout=30)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1000


def test_a_peer_that_falls_silent_is_let_go(serve, token):
    server = serve(idle_s=1)
    client = server.client()
    domain_id = new_domain(client)
    add_connector(server, "twilio", "--domain", domain_id, "--secret-file", "-", stdin=token)
    with Twilio(server, token) as twilio:
        twilio.start()
        twilio.speak(tone(2))
        assert twilio.close_code() == 4408
    session = client.describe_session(DomainId=domain_id, SessionNameOrId=twilio.call_sid)
    assert session["Session"]["StreamingStatus"] == "ENDED"
    assert session["Session"]["AudioProgress"]["ReceivedSeconds"] == pytest.approx(2)


def test_a_flood_is_made_to_wait_and_nothing_of_it_is_lost(serve, token):
    server = serve(inbox_s=5)
    client = server.client()
    domain_id = new_domain(client)
    add_connector(server, "twilio", "--domain", domain_id, "--secret-file", "-", stdin=token)
    with Twilio(server, token) as twilio:
        twilio.start()
        twilio.speak(tone(120))
        twilio.stop()
        assert twilio.close_code() == 1000
    progress = client.describe_session(DomainId=domain_id, SessionNameOrId=twilio.call_sid)[
        "Session"
    ]["AudioProgress"]
    assert progress["ReceivedSeconds"] == pytest.approx(120)
    assert progress["LostSeconds"] == 0
