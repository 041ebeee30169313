"""WebSockets as Asterisk and FreeSWITCH speak them, against a real server."""

import json
from urllib.parse import quote, urlsplit

import pytest
from websockets.exceptions import ConnectionClosed

from tests.server import as_bytes, hear_out, last, open_stream, send, wait_for
from vivavoce.protocols.freeswitch import SUBPROTOCOL

START = "MEDIA_START connection_id:1 channel:WebSocket/1 format:{} optimal_frame_size:320 ptime:20"


@pytest.fixture
def started(client, domain_id):
    class Started:
        def __init__(self):
            answer = client.start_session(DomainId=domain_id)
            self.id, self.url = answer["Session"]["SessionId"], answer["StreamUrl"]
            token = self.url.partition("token=")[2]
            self.asterisk_url = f"ws://{urlsplit(self.url).netloc}/v1/asterisk?session={quote(self.id)}&token={token}"

        @property
        def now(self):
            return client.describe_session(DomainId=domain_id, SessionNameOrId=self.id)["Session"]

        def evaluate(self):
            return client.evaluate_session(DomainId=domain_id, SessionNameOrId=self.id)

        def end(self):
            client.end_session(DomainId=domain_id, SessionNameOrId=self.id)

    return Started()


@pytest.mark.parametrize("start", [START.format("slin"), '{"event":"MEDIA_START","format":"slin"}'])
def test_a_call_of_asterisk_is_decided_on_and_asterisk_is_told_nothing(server, started, start):
    with open_stream(started.asterisk_url) as stream:
        stream.send(start)
        send(stream, bytes(16000), message_bytes=320)
        stream.send("DTMF_END digit:5")
        wait_for(lambda: started.now["AudioProgress"]["ReceivedSeconds"] == 1)
        with pytest.raises(TimeoutError):
            stream.recv(timeout=1.5)
    wait_for(lambda: started.now["StreamingStatus"] == "ENDED")


def test_a_caller_through_asterisk_is_heard(server, started, voices):
    with open_stream(started.asterisk_url, subprotocols=["media"]) as stream:
        assert stream.subprotocol == "media"
        stream.send(START.format("slin"))
        send(stream, as_bytes(voices.customer(seconds=12)), message_bytes=320)
    wait_for(lambda: started.now["StreamingStatus"] == "ENDED")
    assert started.evaluate()["FraudDetectionResult"]["Decision"] == "LOW_RISK"


def test_a_session_that_is_ended_closes_asterisks_connection(server, started):
    with open_stream(started.asterisk_url) as stream:
        stream.send(START.format("ulaw"))
        stream.send(bytes(160))
        wait_for(lambda: started.now["StreamingStatus"] == "ONGOING")
        started.end()
        with pytest.raises(ConnectionClosed) as closed:
            stream.recv(timeout=30)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1000


@pytest.mark.parametrize(
    ("change", "said", "code"),
    [
        (lambda url: url.partition("token=")[0] + "token=x", None, 1008),
        (lambda url: url.replace("session=", "nothing="), None, 4404),
        (lambda url: url, START.format("opus"), 1007),
        (lambda url: url, bytes(160), 1007),
    ],
)
def test_what_asterisk_does_wrong_closes_its_connection_with_a_code(
    server, started, change, said, code
):
    with open_stream(change(started.asterisk_url)) as stream:
        if said is not None:
            stream.send(said)
        with pytest.raises(ConnectionClosed) as closed:
            stream.recv(timeout=30)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == code
    assert f"/v1/asterisk: a connection was closed with {code}" in server.log


def test_a_fork_of_freeswitch_is_heard_and_told(server, started, voices):
    url = f"{started.url}&dialect=freeswitch&rate=8000"
    with open_stream(url, subprotocols=[SUBPROTOCOL]) as stream:
        assert stream.subprotocol == SUBPROTOCOL
        stream.send("customer-7, whatever the command said")
        send(stream, as_bytes(voices.customer(seconds=12)), message_bytes=320)
        stream.send("and at its end")
        told = wait_for(lambda: _result(stream), at_most_s=60)
    assert told["evaluation"]["FraudDetectionResult"]["Decision"] == "LOW_RISK"
    wait_for(lambda: started.now["StreamingStatus"] == "ENDED")


def _result(stream):
    """The next message, if it decides on fraud."""
    message = json.loads(stream.recv(timeout=30))
    fraud = message.get("evaluation", {}).get("FraudDetectionResult", {})
    return message if fraud.get("Decision") in ("LOW_RISK", "HIGH_RISK") else None


def test_an_unknown_dialect_is_refused(server, started):
    with open_stream(f"{started.url}&dialect=klingon") as stream:
        messages, code = hear_out(stream)
    assert code == 4400
    assert "native, freeswitch" in last(messages, "error")["message"]
