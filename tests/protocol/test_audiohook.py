"""Genesys's AudioHook against a real server, by a client that speaks as Genesys does."""

import subprocess
import sys
import time
import uuid

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed

from tests.platforms import COMPONENTS, NO_CALL, OFFER, Genesys, add_connector, tone
from tests.server import new_domain, wait_for

NEVER = "0" * 22


@pytest.fixture
def connector(server, domain_id):
    return add_connector(server, "genesys", "--domain", domain_id, "--name", uuid.uuid4().hex)


@pytest.fixture
def genesys(server, connector):
    return Genesys(server, connector)


@pytest.fixture
def session(client, domain_id, genesys):
    def now():
        return client.describe_session(DomainId=domain_id, SessionNameOrId=genesys.conversation_id)[
            "Session"
        ]

    return now


def ended(session):
    return wait_for(lambda: (now := session())["StreamingStatus"] == "ENDED" and now)


def test_a_call_is_heard_and_decided_on(genesys, session, client, domain_id, voices):
    with genesys:
        genesys.open(customConfig={"SpeakerId": "june", "DomainId": domain_id})
        assert genesys.expect("opened") == {"media": [OFFER[0]]}
        said = voices.customer(seconds=15)
        genesys.speak(said, np.zeros_like(said))
        genesys.close()
    now = ended(session)
    assert now["CustomerSpeakerId"] == "june"
    assert now["AudioProgress"]["ReceivedSeconds"] == pytest.approx(len(said) / 8000, abs=0.001)
    evaluation = client.evaluate_session(
        DomainId=domain_id, SessionNameOrId=genesys.conversation_id
    )
    assert evaluation["AuthenticationResult"]["Decision"] == "SPEAKER_NOT_ENROLLED"
    assert evaluation["FraudDetectionResult"]["Decision"] == "LOW_RISK"


def test_a_probe_is_answered_without_a_call(server, genesys, client, domain_id):
    genesys.conversation_id = NO_CALL
    with genesys:
        genesys.open()
        assert genesys.expect("opened") == {"media": []}
        genesys.send("ping")
        genesys.expect("pong")
        genesys.close()
    assert client.list_sessions(DomainId=domain_id)["SessionSummaries"] == []


def test_a_pong_names_its_ping_and_round_trips_are_logged(server, genesys):
    with genesys:
        genesys.open()
        genesys.expect("opened")
        for rtt in ({}, {"rtt": "PT0.045S"}):
            genesys.send("ping", rtt)
            pong = genesys.receive()
            assert (pong["type"], pong["clientseq"]) == ("pong", genesys.seq)
        genesys.close()
    wait_for(lambda: "round trip 0.045 s" in server.log)


def test_a_pause_is_no_loss_and_discarded_audio_is(genesys, session):
    with genesys:
        genesys.open()
        genesys.expect("opened")
        genesys.speak(tone(1), tone(1))
        genesys.send("paused")
        genesys.send("resumed", {"start": "PT1S", "discarded": "PT30S"})
        genesys.speak(tone(1), tone(1))
        genesys.send("discarded", {"start": "PT2S", "discarded": "PT0.5S"})
        genesys.speak(tone(1), tone(1))
        genesys.send("update", {"language": "de-DE"})
        genesys.expect("updated")
        genesys.close()
    progress = ended(session)["AudioProgress"]
    assert progress["ReceivedSeconds"] == pytest.approx(3)
    assert progress["LostSeconds"] == pytest.approx(0.5)


def test_an_error_that_the_client_tells_is_logged_and_the_call_goes_on(server, genesys):
    with genesys:
        genesys.open()
        genesys.expect("opened")
        genesys.send("error", {"code": 409, "message": "Unexpected pong"})
        genesys.send("ping")
        genesys.expect("pong")
        genesys.close()
    wait_for(lambda: "last error 409: Unexpected pong" in server.log)


def test_the_caller_alone_is_chosen_where_no_more_is_offered(genesys, session):
    with genesys:
        genesys.open(media=[OFFER[2], OFFER[1]])
        assert genesys.expect("opened") == {"media": [OFFER[1]]}
        genesys.speak(tone(2))
        genesys.close()
    assert ended(session)["AudioProgress"]["ReceivedSeconds"] == pytest.approx(2)


def test_a_call_without_the_callers_audio_is_refused(genesys):
    with genesys:
        genesys.open(media=[OFFER[2]])
        told = genesys.expect("disconnect")
        assert told["reason"] == "error"
        assert "None of the offered media" in told["info"]
        genesys.close("disconnect")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"components": COMPONENTS[:-1]}, "does not cover x-api-key"),
        ({"parameters": {"nonce": "short"}}, "at least 22 characters"),
        ({"parameters": {"created": int(time.time()) - 3600}}, "expired"),
        ({"parameters": {"expires": 1_000_000_000}}, "expired"),
        ({"parameters": {"created": 4_000_000_000, "expires": 4_000_000_010}}, "future"),
        ({"parameters": {"alg": "rsa-v1_5-sha256"}}, "algorithm"),
        ({"parameters": {"keyid": NEVER}}, "not one of a known key"),
        ({"secret": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}, "not one of a known key"),
        ({"headers": {"audiohook-session-id": NO_CALL}}, "not one of a known key"),
        ({"headers": {"signature": "sig1=:AAAA:"}}, "not one of a known key"),
        ({"headers": {"signature": "sig1=:"}}, "not as RFC 9421"),
        ({"headers": {"signature-input": "sig2=()"}}, "one signature, and its input"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_who_is_not_genesys_is_told_so_and_not_at_once(server, connector, changes, reason):
    begun = time.monotonic()
    with Genesys(server, connector, **changes) as stranger:
        stranger.session_id = changes.get("headers", {}).get(
            "audiohook-session-id", stranger.session_id
        )
        told = stranger.expect("disconnect")
        assert time.monotonic() - begun >= 0.5
        assert told["reason"] == "unauthorized"
        assert reason in told["info"]
        stranger.close("disconnect")


def test_an_unsigned_connection_is_refused(server, genesys):
    unsigned = genesys.headers()
    del unsigned["signature"], unsigned["signature-input"]
    genesys._changes = {"sent": unsigned}
    with genesys:
        assert genesys.expect("disconnect")["reason"] == "unauthorized"


def test_a_signature_serves_once(genesys):
    headers = genesys.headers()
    genesys._changes = {"sent": headers}
    with genesys:
        genesys.open(conversationId=NO_CALL)
        genesys.expect("opened")
        genesys.close()
    genesys.seq = genesys.serverseq = 0
    with genesys:
        told = genesys.expect("disconnect")
        assert told == {"reason": "unauthorized", "info": "The signature was used before"}


def test_a_call_for_another_connectors_domain_is_refused(genesys, client, domain_id):
    other = new_domain(client, "other")
    with genesys:
        genesys.open(customConfig={"DomainId": other})
        told = genesys.expect("disconnect")
        assert told["reason"] == "unauthorized"
        assert "domain" in told["info"]
    for each in (domain_id, other):
        assert client.list_sessions(DomainId=each)["SessionSummaries"] == []


def test_a_connector_sets_what_its_calls_are_heard_with(server, client, domain_id):
    watchlist = client.create_watchlist(DomainId=domain_id, Name="known")["Watchlist"]
    connector = add_connector(
        *(server, "genesys", "--domain", domain_id, "--name", uuid.uuid4().hex, "--enroll"),
        *("--speaker-from", "participant.ani", "--acceptance-threshold", "70"),
        *("--risk-threshold", "60", "--minimum-speech", "5"),
        *("--watchlist", watchlist["WatchlistId"]),
    )
    with Genesys(server, connector) as genesys:
        genesys.open()
        genesys.expect("opened")
        session = wait_for(
            lambda: (
                (
                    now := client.describe_session(
                        DomainId=domain_id, SessionNameOrId=genesys.conversation_id
                    )["Session"]
                ).get("EnrollmentRequestDetails")
                and now
            )
        )
        genesys.close()
    assert session["CustomerSpeakerId"] == "13171234567"
    assert session["AuthenticationConfiguration"] == {"AcceptanceThreshold": 70}
    assert session["FraudDetectionConfiguration"] == {
        "RiskThreshold": 60,
        "WatchlistId": watchlist["WatchlistId"],
    }
    assert session["StreamingConfiguration"] == {"AuthenticationMinimumSpeechInSeconds": 5}
    assert session["EnrollmentRequestDetails"]["Status"] == "NOT_ENOUGH_SPEECH"


def test_a_claimed_speaker_that_is_none_leaves_the_call_unauthenticated(genesys, session):
    with genesys:
        genesys.open(customConfig={"SpeakerId": "june; drop table"})
        genesys.expect("opened")
        genesys.close()
    assert "CustomerSpeakerId" not in ended(session)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda g: g.socket.send(bytes(3200)), "was not open for it"),
        (lambda g: g.send("ping"), "begins with open"),
        (lambda g: g.send("open", id=str(uuid.UUID(int=7))), "id is not the one"),
        (lambda g: g.send("open", seq=7), "seq must be 1"),
        (lambda g: g.send("open", serverseq=5), "serverseq must be"),
        (lambda g: g.send("open", version="1"), 'version "2"'),
        (lambda g: g.send("open", {"organizationId": "x"}), "organizationId"),
        (lambda g: g.socket.send("not JSON"), 'version "2"'),
        (lambda g: g.socket.send("[" * 40000), 'version "2"'),
        (lambda g: g.socket.send(" " * 70000), "65535 characters"),
    ],
    ids=range(10),
)
def test_what_cannot_be_is_answered_by_a_disconnect(genesys, spoil, reason):
    with genesys:
        spoil(genesys)
        told = genesys.expect("disconnect")
        assert told["reason"] == "error"
        assert reason in told["info"]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda g: g.open(), "opened already"),
        (lambda g: g.send("discarded", {"start": "PT0S", "discarded": "1 hour"}), "PT1.2S"),
        (lambda g: g.send("dance"), "no client message of type 'dance'"),
        (lambda g: g.socket.send(bytes(3)), "a whole number of bytes for each"),
        (lambda g: (g.send("paused"), g.socket.send(bytes(4))), "was not open for it"),
    ],
    ids=range(5),
)
def test_a_call_that_goes_wrong_keeps_what_was_heard(genesys, session, spoil, reason):
    with genesys:
        genesys.open()
        genesys.expect("opened")
        genesys.speak(tone(2), tone(2))
        spoil(genesys)
        told = genesys.expect("disconnect")
        assert reason in told["info"]
        genesys.close("disconnect")
    assert ended(session)["AudioProgress"]["ReceivedSeconds"] == pytest.approx(2)


@pytest.mark.parametrize("reason", ["reconnect", None])
def test_a_call_goes_on_over_another_connection(genesys, session, reason):
    with genesys:
        genesys.open()
        genesys.expect("opened")
        genesys.speak(tone(2), tone(2))
        if reason is not None:
            genesys.close(reason)
    genesys.seq = genesys.serverseq = 0
    genesys.session_id = str(uuid.uuid4())
    with genesys:
        genesys.open(continuedSessions=[])
        genesys.expect("opened")
        genesys.speak(tone(2), tone(2))
        assert session()["StreamingStatus"] == "ONGOING"
        genesys.close()
    now = ended(session)
    assert now["AudioProgress"]["ReceivedSeconds"] == pytest.approx(4)


def test_a_second_connection_on_a_call_is_refused(server, connector, genesys):
    with genesys:
        genesys.open()
        genesys.expect("opened")
        with Genesys(server, connector) as second:
            second.conversation_id = genesys.conversation_id
            second.open()
            told = second.expect("disconnect")
            assert told["reason"] == "error"
            assert "Another connection" in told["info"]
        genesys.close()


def test_a_session_that_is_ended_disconnects_genesys(genesys, client, domain_id):
    with genesys:
        genesys.open()
        genesys.expect("opened")
        client.end_session(DomainId=domain_id, SessionNameOrId=genesys.conversation_id)
        assert genesys.expect("disconnect")["reason"] == "completed"
        genesys.close("disconnect")
        with pytest.raises(ConnectionClosed) as closed:
            genesys.socket.recv(timeout=30)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1000


def test_over_the_limit_of_calls_genesys_is_told_why(serve):
    server = serve(max_calls=1)
    client = server.client()
    connector = add_connector(server, "genesys", "--domain", new_domain(client))
    with Genesys(server, connector) as first, Genesys(server, connector) as second:
        first.open()
        first.expect("opened")
        second.open()
        told = second.expect("disconnect")
        assert told["reason"] == "error"
        assert "places for live calls are taken" in told["info"]
        first.close()


def test_at_shutdown_a_call_is_handed_back_and_was_heard(serve, tmp_path):
    server = serve()
    client = server.client()
    domain_id = new_domain(client)
    connector = add_connector(server, "genesys", "--domain", domain_id)
    with Genesys(server, connector) as genesys:
        genesys.open()
        genesys.expect("opened")
        genesys.speak(tone(3), tone(3))
        wait_for(
            lambda: (
                client.describe_session(
                    DomainId=domain_id, SessionNameOrId=genesys.conversation_id
                )["Session"]["AudioProgress"]["ReceivedSeconds"]
                == 3
            )
        )
        begun = time.monotonic()
        server.process.terminate()
        assert genesys.expect("reconnect") == {"info": "This server shuts down"}
        genesys.close("reconnect")
    assert server.process.wait(30) == 0
    assert time.monotonic() - begun < 10
    server.start()
    session = server.client().describe_session(
        DomainId=domain_id, SessionNameOrId=genesys.conversation_id
    )["Session"]
    assert session["StreamingStatus"] == "ENDED"
    assert session["AudioProgress"]["ReceivedSeconds"] == pytest.approx(3)


def test_a_connector_that_was_removed_takes_no_more_calls(server, connector, genesys):
    command = [sys.executable, "-m", "vivavoce", "connectors", "remove", connector["Name"]]
    subprocess.run([*command, "--data-dir", str(server.data_dir)], check=True, capture_output=True)
    with genesys:
        assert genesys.expect("disconnect")["reason"] == "unauthorized"


def test_a_peer_that_falls_silent_is_let_go_and_one_that_pings_is_not(serve):
    server = serve(idle_s=2)
    connector = add_connector(server, "genesys", "--domain", new_domain(server.client()))
    with Genesys(server, connector) as genesys:
        genesys.open()
        genesys.expect("opened")
        genesys.send("paused")
        for _ in range(6):
            time.sleep(0.7)
            genesys.send("ping")
            genesys.expect("pong")
        told = genesys.expect("disconnect")
        assert told["reason"] == "error"
        assert "Nothing came for 2 s" in told["info"]
        genesys.close("disconnect")


def test_a_connection_that_opens_nothing_is_let_go(server, genesys):
    began = time.monotonic()
    with genesys:
        assert "Nothing came" in genesys.expect("disconnect")["info"]
    assert 8 < time.monotonic() - began < 20
