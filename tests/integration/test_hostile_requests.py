"""The running server against requests that nobody should send, and against its own end."""

import contextlib
import json
import signal
import socket
import subprocess
import threading
import time

import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from tests.server import hear_out, new_domain, open_stream, send, wait_for
from vivavoce.gateway.http import HEAD_S

UNKNOWN_DOMAIN = "aaaaaaaaaaaaaaaaaaaaaa"
UNKNOWN_ID = "id#aaaaaaaaaaaaaaaaaaaaaa"


@pytest.fixture
def post(server):
    """Sends a body of any kind as an operation; signed, unless told otherwise."""

    def send_signed(body, *, target="VoiceID.ListDomains", secret=None, key=None, at=None):
        own_key, own_secret = server.access_key
        request = AWSRequest(
            "POST",
            f"{server.url}/",
            data=body,
            headers={"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.0"},
        )
        credentials = Credentials(key or own_key, secret or own_secret)
        signer = SigV4Auth(credentials, "voiceid", "us-east-1")
        if at is None:
            signer.add_auth(request)
        else:
            request.context["timestamp"] = at
            request.headers["X-Amz-Date"] = at
            text = signer.string_to_sign(request, signer.canonical_request(request))
            signer._inject_signature_to_request(request, signer.signature(text, request))
        return httpx.post(f"{server.url}/", content=body, headers=dict(request.headers), timeout=60)

    return send_signed


def code_of(response):
    assert response.status_code in (400, 413)
    answer = response.json()
    assert answer["Message"]
    return answer["__type"]


def refusal_of(operation, **members):
    with pytest.raises(ClientError) as caught:
        operation(**members)
    return caught.value.response["Error"]["Code"]


# --- signatures


def test_an_unsigned_request_is_refused(server):
    response = httpx.post(
        server.url, content=b"{}", headers={"X-Amz-Target": "VoiceID.ListDomains"}
    )
    assert code_of(response) == "MissingAuthenticationTokenException"


def test_a_wrong_signature_an_unknown_key_and_a_stale_one_are_refused(post):
    assert post(b"{}").status_code == 200
    assert code_of(post(b"{}", secret="guess")) == "InvalidSignatureException"
    assert code_of(post(b"{}", key="VVAAAAAAAAAAAAAAAAAA")) == "UnrecognizedClientException"
    stale = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() - 600))
    early = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() + 600))
    assert code_of(post(b"{}", at=stale)) == "InvalidSignatureException"
    assert code_of(post(b"{}", at=early)) == "InvalidSignatureException"


# --- bodies


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"[]",
        b'"{}"',
        b"null",
        b"{",
        b'{"MaxResults": NaN}',
        b"\xff\xfe{}",
        b'{"a":' * 100_000,
        b'{"MaxResults": ' + b"9" * 10_000 + b"}",
    ],
    ids=["empty", "text", "list", "string", "null", "open", "NaN", "UTF-16", "deep", "number"],
)
def test_a_body_that_is_no_json_object_is_refused(post, body):
    assert code_of(post(body)) == "SerializationException"


@pytest.mark.parametrize(
    ("target", "members", "code"),
    [
        ("VoiceID.NoSuchThing", {}, "UnknownOperationException"),
        ("", {}, "UnknownOperationException"),
        ("VoiceID.DescribeDomain", {}, "ValidationException"),
        ("VoiceID.DescribeDomain", {"DomainId": ["x"]}, "ValidationException"),
        ("VoiceID.DescribeDomain", {"DomainId": UNKNOWN_DOMAIN}, "ResourceNotFoundException"),
        ("VoiceID.ListDomains", {"MaxResults": 1e99}, "ValidationException"),
        ("VoiceID.ListDomains", {"MaxResults": True}, "ValidationException"),
        ("VoiceID.ListDomains", {"NextToken": "bm9uc2Vuc2U="}, "ValidationException"),
        ("VoiceID.ListDomains", {"NextToken": "\u00e9"}, "ValidationException"),
        ("VoiceID.ListDomains", {"NextToken": "W10="}, "ValidationException"),
        ("VoiceID.ListDomains", {"NextToken": "x" * 9000}, "ValidationException"),
    ],
)
def test_what_a_request_may_not_say_is_refused(post, target, members, code):
    assert code_of(post(json.dumps(members).encode(), target=target)) == code


def test_an_unknown_domain_session_or_speaker_is_not_found(server, client, domain_id):
    for name in (UNKNOWN_ID, "no-such-session"):
        for operation in (
            client.describe_session,
            client.evaluate_session,
            client.update_session,
            client.enroll_by_session,
            client.register_fraudster_by_session,
            client.end_session,
        ):
            with pytest.raises(client.exceptions.ResourceNotFoundException) as caught:
                operation(DomainId=domain_id, SessionNameOrId=name)
            assert caught.value.response["ResourceType"] == "SESSION"
            with pytest.raises(client.exceptions.ResourceNotFoundException) as caught:
                operation(DomainId=UNKNOWN_DOMAIN, SessionNameOrId=name)
            assert caught.value.response["ResourceType"] == "DOMAIN"
    for operation in (client.describe_speaker, client.opt_out_speaker, client.delete_speaker):
        with pytest.raises(client.exceptions.ResourceNotFoundException) as caught:
            operation(DomainId=domain_id, SpeakerId=UNKNOWN_ID)
        assert caught.value.response["ResourceType"] == "SPEAKER"
    with pytest.raises(client.exceptions.ResourceNotFoundException) as caught:
        client.start_session(DomainId=domain_id, SpeakerId=UNKNOWN_ID)
    assert caught.value.response["ResourceType"] == "SPEAKER"
    with pytest.raises(client.exceptions.ResourceNotFoundException) as caught:
        client.start_session(
            DomainId=domain_id, FraudDetectionConfiguration={"WatchlistId": UNKNOWN_DOMAIN}
        )
    assert caught.value.response["ResourceType"] == "WATCHLIST"


def test_a_session_of_another_domain_is_not_found(server, client, domain_id):
    session = client.start_session(DomainId=domain_id)["Session"]
    elsewhere = new_domain(client)
    refused = refusal_of(
        client.describe_session, DomainId=elsewhere, SessionNameOrId=session["SessionId"]
    )
    assert refused == "ResourceNotFoundException"


# --- size


def test_fifty_megabytes_are_refused_and_not_held(server, post):
    before = server.memory_bytes
    highest = []

    def pieces():
        for _ in range(50):
            yield bytes(1_000_000)
            highest.append(server.memory_bytes)

    unsigned = httpx.post(server.url, content=pieces(), timeout=60)
    assert code_of(unsigned) == "RequestEntityTooLargeException"
    assert code_of(post(bytes(50_000_000))) == "RequestEntityTooLargeException"
    highest.append(server.memory_bytes)
    assert max(highest) - before < 20e6


def test_endless_headers_are_cut_off(server):
    before = server.memory_bytes
    line = b"X-Filler: " + b"x" * 1000 + b"\r\n"
    for piece in (line * 1000, b"x" * 1_000_000):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
            raw.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nX-Long: ")
            with pytest.raises(ConnectionError):
                raw.sendall(piece * 50)
    assert server.memory_bytes - before < 20e6


def test_what_is_not_http_is_refused(server):
    for noise in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20, b"\0" * 5000, b"\r\n" * 10):
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as raw:
            raw.sendall(noise)
            raw.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                assert raw.recv(100)[:12] in (b"HTTP/1.1 400", b"")
    assert httpx.get(f"{server.url}/healthz").status_code == 200


# --- many at once


def test_the_server_answers_while_twenty_clients_flood_it(server, client, domain_id):
    """Ten send audio as fast as they can, ten ask; fifty more have only connected."""
    idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(50)]
    for number, raw in enumerate(idle):
        raw.sendall(b"GET /v1/audio/x HTTP/1.1\r\nUpgrade: websocket\r\n"[: number + 1])
    urls = [client.start_session(DomainId=domain_id)["StreamUrl"] for _ in range(10)]
    outcomes = []

    def call(url):
        with open_stream(url) as stream:
            send(stream, bytes(160_000))
            stream.send('{"type": "end"}')
            outcomes.append(hear_out(stream)[1])

    def ask():
        for _ in range(20):
            client.list_sessions(DomainId=domain_id)
        outcomes.append("asked")

    crowd = [threading.Thread(target=call, args=[url]) for url in urls]
    crowd += [threading.Thread(target=ask) for _ in range(10)]
    for one in crowd:
        one.start()
    slowest_s = 0.0
    with httpx.Client() as prober:
        while any(one.is_alive() for one in crowd):
            began = time.monotonic()
            assert prober.get(f"{server.url}/healthz", timeout=10).status_code == 200
            slowest_s = max(slowest_s, time.monotonic() - began)
            time.sleep(0.05)
    for raw in idle:
        raw.close()
    assert outcomes.count(1000) == 10
    assert outcomes.count("asked") == 10
    assert slowest_s < 2


# --- slowness


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [b"GET /v1/audio/x HTTP/1.1\r\nUpgrade: websocket\r\n"],
        [b"GET /", *[b"x"] * 40],
    ],
    ids=["silent", "half a handshake", "a byte now and then"],
)
def test_a_request_that_does_not_come_to_its_end_is_given_up(server, pieces):
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), timeout=HEAD_S + 10) as slow:
        for piece in pieces:
            try:
                slow.sendall(piece)
            except OSError:
                break
            time.sleep(0.5 if len(pieces) > 1 else 0)
        answer = slow.recv(1000)
    assert answer.startswith(b"HTTP/1.1 408")
    assert HEAD_S - 1 < time.monotonic() - began < HEAD_S + 15


# --- stopping


@pytest.mark.parametrize(
    ("signals", "status", "codes"),
    [([signal.SIGTERM], 0, [1000]), ([signal.SIGINT, signal.SIGINT], 130, [1000, None])],
    ids=["terminated", "interrupted twice"],
)
def test_a_stop_in_a_call_hears_it_to_its_end_first(serve, signals, status, codes):
    server = serve()
    client = server.client()
    domain_id = new_domain(client)
    url = client.start_session(DomainId=domain_id, SessionName="last")["StreamUrl"]
    half_open = socket.create_connection(("127.0.0.1", server.port))
    half_open.sendall(b"POST / HTTP/1.1\r\n")

    def session():
        return client.describe_session(DomainId=domain_id, SessionNameOrId="last")["Session"]

    with open_stream(url) as stream:
        send(stream, bytes(160_000))
        wait_for(lambda: session()["StreamingStatus"] == "ONGOING")
        time.sleep(0.3)
        for number in signals:
            server.process.send_signal(number)
            time.sleep(0.1)
        assert hear_out(stream)[1] in codes
    assert server.process.wait(30) == status
    half_open.close()
    server.start()
    assert session()["StreamingStatus"] == "ENDED"
    if status == 0:
        assert session()["AudioProgress"]["ReceivedSeconds"] == 10.0


def test_a_second_server_on_the_same_port_or_data_leaves_the_first_alone(serve):
    server = serve()
    client = server.client()
    domain_id = new_domain(client)
    url = client.start_session(DomainId=domain_id, SessionName="on")["StreamUrl"]
    with open_stream(url) as stream:
        stream.recv(timeout=30)
        on_another_port = [*server.command[:-3], "0", *server.command[-2:]]
        for command, reason in (
            (server.command, "cannot listen on 127.0.0.1 port "),
            (on_another_port, ""),
        ):
            second = subprocess.run(
                command, capture_output=True, text=True, timeout=60, check=False
            )
            assert second.returncode == 1
            assert second.stderr.splitlines()[-1].startswith(f"vivavoce: {reason}")
            assert "Traceback" not in second.stderr
        session = client.describe_session(DomainId=domain_id, SessionNameOrId="on")["Session"]
        assert session["StreamingStatus"] == "ONGOING"
