"""The native audio WebSocket, as ordinary and as hostile clients use it."""

import contextlib
import json
import socket
import struct
import threading
import time
import zlib
from urllib.parse import urlsplit

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.server import (
    Server,
    as_bytes,
    complaints,
    hear_out,
    last,
    make_call,
    new_domain,
    open_stream,
    send,
    wait_for,
)
from vivavoce.audio.arrays import CALL_RATE_HZ

SECOND = np.arange(CALL_RATE_HZ) / CALL_RATE_HZ


@pytest.fixture
def start(client, domain_id):
    """Starts a session of the test's domain; gives its id and StreamUrl."""

    def begin(**wanted):
        answer = client.start_session(DomainId=domain_id, **wanted)
        return answer["Session"]["SessionId"], answer["StreamUrl"]

    return begin


@pytest.fixture
def session_of(client, domain_id):
    def describe(session_id):
        return client.describe_session(DomainId=domain_id, SessionNameOrId=session_id)["Session"]

    return describe


@pytest.fixture(scope="module")
def impatient(tmp_path_factory):
    """A server whose patience is short enough to be waited for."""
    folder = tmp_path_factory.mktemp("impatient")
    server = Server(folder, idle_s=2, grace_s=2, token_lifetime_s=3)
    try:
        yield server.start()
        assert complaints(server.log) == []
    finally:
        server.end()


def refusal_of(url):
    """How a connection is refused: the error message's code and the close code."""
    with open_stream(url) as stream:
        messages, code = hear_out(stream)
    assert [message["type"] for message in messages] == ["error"]
    assert messages[0]["message"]
    return messages[0]["code"], code


def reset(raw):
    """Break the line off as a crashed client does: no closing handshake."""
    with contextlib.suppress(OSError):  # the server may have been quicker
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.shutdown(socket.SHUT_RD)  # wakes the client's own reader
    raw.close()


def vanish(stream):
    reset(stream.socket)


def handshake(url, more=""):
    parts = urlsplit(url)
    return (
        f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{more}\r\n"
    ).encode()


def shake_hands(url, more="", *, receive_bytes=None):
    """A bare socket on which the handshake is done, for what a library would not do."""
    raw = socket.socket()
    if receive_bytes is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    raw.settimeout(20)
    raw.connect((urlsplit(url).hostname, urlsplit(url).port))
    raw.sendall(handshake(url, more))
    assert raw.recv(12) == b"HTTP/1.1 101"
    return raw


def token_of(url):
    return url.partition("token=")[2]


# --- tokens and parameters


def test_a_wrong_token_is_refused_with_1008(server, start):
    _, url = start()
    path, _, token = url.partition("token=")
    flipped = token[:-3] + ("A" if token[-3] != "A" else "B") + token[-2:]
    for wrong in (path, f"{path}token=", f"{path}token={flipped}", f"{path}token=%C3%A9.%FF"):
        assert refusal_of(wrong) == ("TokenRejected", 1008)
    assert refusal_of(f"{path}token={'x' * 5000}") == ("TokenRejected", 1008)


def test_a_token_opens_its_own_session_only(server, start):
    (_, first), (_, second) = start(), start()
    path = first.partition("?")[0]
    assert refusal_of(f"{path}?token={token_of(second)}") == ("TokenRejected", 1008)


def test_an_unknown_session_is_refused_with_4404(server, start):
    _, url = start()
    parts = urlsplit(url)
    unknown = f"ws://{parts.netloc}/v1/audio/id%23aaaaaaaaaaaaaaaaaaaaaa?token={token_of(url)}"
    assert refusal_of(unknown) == ("NoSuchSession", 4404)


def test_an_expired_token_is_refused_and_its_session_has_ended(impatient):
    client = impatient.client()
    domain_id = new_domain(client)
    started = client.start_session(DomainId=domain_id, SessionName="late")
    assert started["Session"]["StreamingStatus"] == "PENDING_CONFIGURATION"
    time.sleep(3.1)
    assert refusal_of(started["StreamUrl"]) == ("TokenRejected", 1008)
    session = client.describe_session(DomainId=domain_id, SessionNameOrId="late")["Session"]
    assert session["StreamingStatus"] == "ENDED"
    listed = {
        status: client.list_sessions(DomainId=domain_id, StreamingStatus=status)["SessionSummaries"]
        for status in ("PENDING_CONFIGURATION", "ENDED")
    }
    assert listed["PENDING_CONFIGURATION"] == []
    assert [summary["SessionName"] for summary in listed["ENDED"]] == ["late"]


@pytest.mark.parametrize(
    "parameters",
    [
        "encoding=opus",
        "rate=7999",
        "rate=96000",
        "rate=fast",
        "rate=-8000",
        "channels=3",
        "channels=2&channel=2",
        "channel=1",
    ],
)
def test_audio_parameters_that_are_not_served_are_refused_with_4400(server, start, parameters):
    _, url = start()
    assert refusal_of(f"{url}&{parameters}") == ("BadAudioParameters", 4400)


def test_refusals_leave_the_stream_to_its_owner(server, start):
    _, url = start()
    assert refusal_of(f"{url}&rate=1")[1] == 4400
    assert last(make_call(url, b""), "progress")["ReceivedSeconds"] == 0


# --- one connection at a time


def test_a_second_connection_is_refused_with_4409(server, start, session_of):
    session_id, url = start()
    with open_stream(url) as stream:
        stream.send(bytes(16000))
        wait_for(lambda: session_of(session_id)["AudioProgress"]["ReceivedSeconds"])
        assert refusal_of(url) == ("AlreadyStreaming", 4409)
        stream.send('{"type": "end"}')
        assert hear_out(stream)[1] == 1000


def test_of_connections_at_the_same_moment_one_wins(server, start):
    _, url = start()
    outcomes = []

    def race():
        with open_stream(url) as stream:
            with contextlib.suppress(ConnectionClosed):
                stream.send('{"type": "end"}')
            outcomes.append(hear_out(stream)[1])

    racers = [threading.Thread(target=race) for _ in range(5)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert outcomes.count(1000) == 1
    # Whoever came when the winner was done already finds the token used.
    assert set(outcomes) <= {1000, 4409, 1008}


# --- audio that is no speech


def test_what_is_not_speech_ends_in_not_enough_speech(server, client, domain_id, start, session_of):
    noise = np.random.default_rng(1).normal(0, 6000, 5 * CALL_RATE_HZ)
    scale = 2 ** (np.array([0, 4, 7, 12, 7, 4, 0, -5]) / 12)
    music = np.concatenate(
        [
            np.exp(-3 * SECOND)
            * sum(np.sin(2 * np.pi * 262 * note * n * SECOND) for n in (1, 2, 3))
            for note in scale
        ]
    )
    dial_tone = np.tile(sum(np.sin(2 * np.pi * hz * SECOND) for hz in (350, 440)), 5)
    clipped = np.where(np.sin(2 * np.pi * 200 * np.tile(SECOND, 5)) > 0, 32767, -32768)
    sounds = (np.zeros(5 * CALL_RATE_HZ), noise, 8000 * music, 12000 * dial_tone, clipped)
    sound = np.clip(np.concatenate(sounds), -32768, 32767).astype(np.int16)
    session_id, url = start(SpeakerId="nobody-yet")
    client.enroll_by_session(DomainId=domain_id, SessionNameOrId=session_id)
    messages = make_call(url, as_bytes(sound))
    evaluation = last(messages, "result")["evaluation"]
    assert evaluation["FraudDetectionResult"]["Decision"] == "NOT_ENOUGH_SPEECH"
    assert "RiskDetails" not in evaluation["FraudDetectionResult"]
    progress = session_of(session_id)["AudioProgress"]
    assert progress["ReceivedSeconds"] == len(sound) / CALL_RATE_HZ
    assert progress["NetSpeechSeconds"] < 3
    assert last(messages, "enrollment")["status"] == "NOT_ENOUGH_SPEECH"
    assert session_of(session_id)["StreamingStatus"] == "ENDED"


def test_an_odd_number_of_bytes_loses_half_a_sample_and_nothing_else(server, start):
    _, url = start()
    messages = make_call(url, bytes(16001), message_bytes=333)
    assert last(messages, "progress")["ReceivedSeconds"] == 1.0


@pytest.mark.parametrize(
    ("parameters", "bytes_a_second"),
    [
        ("encoding=mulaw", 8000),
        ("encoding=alaw&channels=2&channel=1", 16000),
        ("rate=44100", 88200),
    ],
)
def test_every_encoding_is_heard_in_full(server, start, parameters, bytes_a_second):
    _, url = start()
    with open_stream(f"{url}&{parameters}") as stream:
        send(stream, bytes(2 * bytes_a_second), message_bytes=997)
        stream.send('{"type": "end"}')
        messages, code = hear_out(stream)
    assert code == 1000
    assert last(messages, "progress")["ReceivedSeconds"] == pytest.approx(2.0, abs=0.01)


# --- messages


@pytest.mark.parametrize(
    "text", ["hello", "[]", "{}", '"end"', '{"type"', "9" * 10000, "[" * 100000, "\0"]
)
def test_text_that_is_no_message_ends_the_call_with_1007(server, start, session_of, text):
    session_id, url = start()
    with open_stream(url) as stream:
        stream.send(bytes(16000))
        stream.send(text)
        messages, code = hear_out(stream)
    assert code == 1007
    assert messages[-1]["type"] == "error"
    assert messages[-1]["code"] == "InvalidMessage"
    # What was heard before is decided on all the same.
    assert last(messages, "result")["evaluation"]["StreamingStatus"] == "ENDED"
    assert session_of(session_id)["AudioProgress"]["ReceivedSeconds"] == 1.0


def test_messages_of_types_to_come_are_passed_over(server, start):
    _, url = start()
    with open_stream(url) as stream:
        stream.send('{"type": "mark", "name": "x"}')
        stream.send(b"")
        stream.send('{"type": "end"}')
        assert hear_out(stream)[1] == 1000


def test_text_that_is_not_utf_8_is_refused_with_1007(server, start):
    _, url = start()
    with open_stream(url) as stream:
        stream.send(b"\xff\xfe", text=True)
        assert hear_out(stream)[1] == 1007


def test_a_message_over_a_mebibyte_is_refused_with_1009(server, start):
    _, url = start()
    with open_stream(url) as stream:
        with contextlib.suppress(ConnectionClosed):
            stream.send(bytes(1024 * 1024 + 2))
        assert hear_out(stream)[1] == 1009


def test_one_packet_does_not_unfold_into_much_memory(server):
    """A mebibyte of zeros compresses to a kilobyte, so one packet can hold hundreds of them."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -12)
    small = (squeeze.compress(bytes(1_048_000)) + squeeze.flush(zlib.Z_SYNC_FLUSH))[:-4]
    frame = b"\xc2\xfe" + struct.pack(">H", len(small)) + bytes(4) + small
    before = server.memory_bytes

    def attack():
        with (
            shake_hands(
                f"ws://127.0.0.1:{server.port}/v1/audio/x",
                "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n",
            ) as raw,
            contextlib.suppress(ConnectionError),
        ):
            raw.sendall(frame * 200)
            time.sleep(1)

    assert max_memory_while(server, attack) - before < 30e6


def test_a_sender_that_rushes_is_made_to_wait(server, start):
    """What it may pile up is an inbox, and what the operating system holds for a connection."""
    _, url = start()
    before, sent = server.memory_bytes, 0
    with shake_hands(f"{url}&rate=48000&channels=2") as raw:
        frame = b"\x82\xff" + struct.pack(">Q", 960_000) + bytes(4) + bytes(960_000)

        def rush():
            nonlocal sent
            until = time.monotonic() + 2
            while time.monotonic() < until:
                raw.sendall(frame)
                sent += len(frame)

        highest = max_memory_while(server, rush)
        reset(raw)
    assert sent < 500e6  # without waiting it would be thousands
    assert highest - before < 40e6


def max_memory_while(server, work):
    done = threading.Event()
    highest = [server.memory_bytes]

    def watch():
        while not done.wait(0.02):
            highest[0] = max(highest[0], server.memory_bytes)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return highest[0]


# --- peers that vanish, rush, or do nothing


def test_a_client_that_vanishes_goes_on_within_the_grace_period(server, start, session_of, voices):
    session_id, url = start(StreamingConfiguration={"AuthenticationMinimumSpeechInSeconds": 5})
    audio = as_bytes(voices.stranger(seconds=12))
    half = len(audio) // 2 // 2 * 2
    stream = open_stream(url)
    send(stream, audio[:half])
    wait_for(lambda: session_of(session_id)["AudioProgress"]["ReceivedSeconds"] >= half / 16000)
    vanish(stream)
    assert session_of(session_id)["StreamingStatus"] == "ONGOING"

    def again():
        # The server may not have noticed the loss yet.
        stream = open_stream(url)
        try:
            stream.send(audio[half:])
            json.loads(stream.recv(timeout=30))
        except ConnectionClosed:
            return None
        return stream

    with wait_for(again) as stream:
        stream.send('{"type": "end"}')
        messages, code = hear_out(stream)
    assert code == 1000
    progress = last(messages, "progress")
    assert progress["ReceivedSeconds"] == pytest.approx(len(audio) / 16000, abs=0.01)
    assert 0 < progress["LostSeconds"] < 10
    assert progress["NetSpeechSeconds"] > 5


def test_a_client_that_never_comes_back_ends_its_call(impatient):
    client = impatient.client()
    domain_id = new_domain(client)
    started = client.start_session(DomainId=domain_id)
    stream = open_stream(started["StreamUrl"])
    stream.send(bytes(16000))
    vanish(stream)

    def session():
        name = started["Session"]["SessionId"]
        return client.describe_session(DomainId=domain_id, SessionNameOrId=name)["Session"]

    wait_for(lambda: session()["StreamingStatus"] == "ENDED", at_most_s=10)
    assert session()["AudioProgress"]["ReceivedSeconds"] == 1.0
    assert refusal_of(started["StreamUrl"]) == ("TokenRejected", 1008)


def test_a_client_that_closes_on_purpose_ends_its_call_at_once(server, start, session_of):
    session_id, url = start()
    with open_stream(url) as stream:
        stream.send(bytes(16000))
    wait_for(lambda: session_of(session_id)["StreamingStatus"] == "ENDED", at_most_s=5)
    assert session_of(session_id)["AudioProgress"]["ReceivedSeconds"] == 1.0


def test_a_client_that_vanishes_after_its_end_message_leaves_no_trace(impatient):
    client = impatient.client()
    domain_id = new_domain(client)

    def has_ended(name):
        session = client.describe_session(DomainId=domain_id, SessionNameOrId=name)["Session"]
        return session["StreamingStatus"] == "ENDED"

    for name, delay_s in (("at-once", 0), ("later", 0.1)):
        url = client.start_session(DomainId=domain_id, SessionName=name)["StreamUrl"]
        stream = open_stream(url)
        send(stream, bytes(160000))
        stream.send('{"type": "end"}')
        time.sleep(delay_s)
        vanish(stream)
        wait_for(lambda: has_ended(name), at_most_s=15)  # noqa: B023 - asked before the next round


def test_clients_that_vanish_in_the_handshake_leave_no_trace(server, start):
    _, url = start()
    for address in (url, f"{url}&rate=1", f"{url}x"):
        request = handshake(address)
        for cut in (20, len(request)):
            raw = socket.create_connection(("127.0.0.1", server.port))
            raw.sendall(request[:cut])
            reset(raw)
    _, fresh = start()
    make_call(fresh, b"")


@pytest.mark.parametrize(
    "broken",
    [
        handshake("ws://x/v1/audio/x").replace(b"x?", b"\xff\xfe?"),
        handshake("ws://x/v1/audio/x").replace(b"GET", b"POST"),
        handshake("ws://x/v1/audio/x").replace(b"AAAA==", b"=="),
        handshake("ws://x/v1/audio/x").replace(b"-Version: 13", b"-Version: 7"),
        handshake(f"ws://x/v1/audio/x?token={'x' * 20000}"),
        handshake("ws://x/v1/audio/x", f"X-Long: {'x' * 20000}\r\n"),
        handshake("ws://x/v1/audio/x", "".join(f"X-{n}: y\r\n" for n in range(500))),
    ],
    ids=["path", "post", "key", "version", "long path", "long header", "many headers"],
)
def test_a_broken_handshake_is_refused_and_not_left_hanging(server, broken):
    answer = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as raw:
        raw.sendall(broken)
        with contextlib.suppress(ConnectionError):
            while piece := raw.recv(65536):
                answer += piece
    assert answer.startswith(b"HTTP/1.1 4")


def test_another_path_has_no_websocket(server):
    with pytest.raises(InvalidStatus) as caught:
        open_stream(f"ws://127.0.0.1:{server.port}/v1/video/x")
    assert caught.value.response.status_code in (403, 404)


def test_a_peer_that_sends_nothing_is_told_and_closed(impatient):
    client = impatient.client()
    domain_id = new_domain(client)
    started = client.start_session(DomainId=domain_id, SessionName="mute")
    with open_stream(started["StreamUrl"]) as stream:
        began = time.monotonic()
        messages, code = hear_out(stream)
    assert 1.5 < time.monotonic() - began < 20
    assert messages[-1]["type"] == "error"
    assert code not in (1000, 1006, 1011, None)
    session = client.describe_session(DomainId=domain_id, SessionNameOrId="mute")["Session"]
    assert session["StreamingStatus"] == "ENDED"


def test_a_peer_that_never_reads_costs_nothing(server, start, session_of):
    session_id, url = start()
    raw = shake_hands(url, receive_bytes=1)
    frame = b"\x82\xfe" + struct.pack(">H", 16000) + bytes(4) + bytes(16000)
    raw.sendall(frame * 20)
    wait_for(lambda: session_of(session_id)["AudioProgress"]["ReceivedSeconds"] >= 20)
    end = b'{"type": "end"}'
    raw.sendall(b"\x81" + bytes([0x80 | len(end)]) + bytes(4) + end)
    wait_for(lambda: session_of(session_id)["StreamingStatus"] == "ENDED")
    raw.close()


def test_a_call_sent_as_fast_as_can_be_is_heard_in_full(server, start, voices):
    _, url = start()
    speech = as_bytes(voices.stranger(seconds=14))
    hiss = np.random.default_rng(2).integers(-20, 20, 30 * CALL_RATE_HZ).astype(np.int16)
    audio = speech + as_bytes(hiss)
    messages = make_call(url, audio, message_bytes=960_000)
    assert last(messages, "progress")["ReceivedSeconds"] == pytest.approx(len(audio) / 16000)
    assert last(messages, "progress")["LostSeconds"] == 0
    fraud = last(messages, "result")["evaluation"]["FraudDetectionResult"]
    assert fraud["Decision"] in ("LOW_RISK", "HIGH_RISK")


def test_an_early_risk_of_spoofing_is_shown_as_soon_as_it_is_there(server, start, voices):
    _, url = start()
    with open_stream(url) as stream:
        send(stream, as_bytes(voices.stranger(seconds=14))[: 2 * 8 * CALL_RATE_HZ])
        risk = None
        while risk is None:
            message = json.loads(stream.recv(timeout=60))
            if message["type"] == "result":
                fraud = message["evaluation"]["FraudDetectionResult"]
                assert fraud["Decision"] == "NOT_ENOUGH_SPEECH"
                risk = fraud.get("EarlyVoiceSpoofingRisk")
        assert 0 <= risk["RiskScore"] <= 100
        assert risk["Windows"]
        stream.send('{"type": "end"}')
        assert hear_out(stream)[1] == 1000


# --- capacity and privacy


def test_at_capacity_new_calls_are_refused_and_the_running_one_goes_on(serve):
    full = serve(max_calls=1)
    client = full.client()
    domain_id = new_domain(client)
    first, second = (client.start_session(DomainId=domain_id)["StreamUrl"] for _ in range(2))
    with open_stream(first) as stream:
        stream.send(bytes(16000))
        stream.recv(timeout=30)
        assert refusal_of(second) == ("AtCapacity", 1013)
        with pytest.raises(client.exceptions.ServiceQuotaExceededException):
            client.start_session(DomainId=domain_id)
        stream.send('{"type": "end"}')
        assert hear_out(stream)[1] == 1000
    # The place is free again, and the refused stream may still be opened.
    make_call(second, b"")


def test_no_token_session_or_speaker_is_named_in_the_log(server, start):
    session_id, url = start(SpeakerId="a-customer-nobody-may-see")
    make_call(url, bytes(16000))
    refusal_of(f"{url}x")
    for secret in (token_of(url)[:40], session_id.removeprefix("id#"), "a-customer-nobody"):
        assert secret not in server.log
