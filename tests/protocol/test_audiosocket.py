"""AudioSocket as Asterisk speaks it, against a real server: whole calls, and hostile peers."""

import socket
import struct
import time
import uuid

import pytest

from tests.server import Server, as_bytes, free_port, new_domain, wait_for
from vivavoce.protocols.audiosocket import frame

TWENTY_MS = 320


@pytest.fixture(scope="module")
def port():
    return free_port()


@pytest.fixture(scope="module")
def asterisk_server(launch, port):
    server = launch(audiosocket_port=port, grace_s=1, idle_s=3)
    yield server
    assert server.process.poll() is None


@pytest.fixture(scope="module")
def api(asterisk_server):
    return asterisk_server.client()


@pytest.fixture
def domain_id(api):
    return new_domain(api)


@pytest.fixture
def session(api, domain_id):
    """A session as a dialplan's script starts it: its name is the UUID of the call."""

    class Started:
        name = str(uuid.uuid4())

        def start(self, **wanted):
            api.start_session(DomainId=domain_id, SessionName=self.name, **wanted)
            return self

        @property
        def now(self):
            return api.describe_session(DomainId=domain_id, SessionNameOrId=self.name)["Session"]

        def evaluate(self):
            return api.evaluate_session(DomainId=domain_id, SessionNameOrId=self.name)

    return Started()


@pytest.fixture
def dial(asterisk_server, port):
    """Opens connections; all are closed at the end."""
    opened = []

    def connect(name=None):
        line = socket.create_connection(("127.0.0.1", port), timeout=30)
        opened.append(line)
        if name is not None:
            line.sendall(frame(0x01, uuid.UUID(name).bytes))
        return line

    yield connect
    for line in opened:
        line.close()


def talk(line, audio):
    """Send audio in frames of 20 ms."""
    line.sendall(
        b"".join(frame(0x10, audio[at : at + TWENTY_MS]) for at in range(0, len(audio), TWENTY_MS))
    )


def heard_back(line):
    """Everything until the server closes."""
    found = b""
    while data := line.recv(65536):
        found += data
    return found


def reset(line):
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.close()


def test_a_call_is_heard_and_decided_on(dial, session, voices):
    session.start()
    speech = as_bytes(voices.customer(seconds=12))
    line = dial(session.name)
    talk(line, speech)
    line.sendall(frame(0x00))
    answer = heard_back(line)
    # As much silence as was said, but for what waited in the line while nobody read it.
    assert answer.startswith(frame(0x10, bytes(TWENTY_MS)))
    now = session.now
    assert now["StreamingStatus"] == "ENDED"
    assert now["AudioProgress"]["ReceivedSeconds"] == pytest.approx(len(speech) / 16000, abs=0.1)
    assert session.evaluate()["FraudDetectionResult"]["Decision"] == "LOW_RISK"


def test_a_caller_who_hangs_up_ends_the_call(dial, session):
    session.start()
    line = dial(session.name)
    talk(line, bytes(16000))
    line.shutdown(socket.SHUT_WR)
    heard_back(line)
    assert session.now["StreamingStatus"] == "ENDED"
    assert session.now["AudioProgress"]["ReceivedSeconds"] == 1


def test_a_broken_line_may_be_taken_up_again_and_ends_if_it_is_not(dial, session):
    session.start()
    first = dial(session.name)
    talk(first, bytes(16000))
    wait_for(lambda: session.now["AudioProgress"]["ReceivedSeconds"] == 1)
    reset(first)
    second = dial(session.name)
    talk(second, bytes(16000))
    wait_for(lambda: session.now["AudioProgress"]["ReceivedSeconds"] >= 2)
    reset(second)
    wait_for(lambda: session.now["StreamingStatus"] == "ENDED")


def test_a_session_that_is_ended_elsewhere_closes_the_line_without_a_hangup(
    dial, session, api, domain_id
):
    session.start()
    line = dial(session.name)
    talk(line, bytes(16000))
    wait_for(lambda: session.now["StreamingStatus"] == "ONGOING")
    api.end_session(DomainId=domain_id, SessionNameOrId=session.name)
    answer = heard_back(line)
    frames = [answer[at : at + 3] for at in range(0, len(answer), TWENTY_MS + 3)]
    assert set(frames) == {b"\x10\x01\x40"}  # silence; a frame 0x00 would end the caller's call


def test_a_line_that_says_nothing_more_ends_the_call(dial, session):
    session.start()
    line = dial(session.name)
    began = time.monotonic()
    heard_back(line)
    assert 2 < time.monotonic() - began < 20
    assert session.now["StreamingStatus"] == "ENDED"


@pytest.mark.parametrize(
    "said",
    [
        frame(0x01, bytes(range(16))),  # nobody started it
        b"GET / HTTP/1.1\r\n\r\n",
        frame(0x10, bytes(320)),
        b"",
    ],
    ids=["a stranger", "a browser", "no name", "nothing"],
)
def test_who_names_no_session_is_refused(dial, said):
    line = dial()
    line.sendall(said)
    if not said:
        line.shutdown(socket.SHUT_WR)
    assert heard_back(line) == b""


def test_half_a_greeting_is_waited_for_five_seconds(dial):
    line = dial()
    line.sendall(frame(0x01, bytes(16))[:7])
    began = time.monotonic()
    assert heard_back(line) == b""
    assert 4 < time.monotonic() - began < 15


def test_a_second_line_for_a_call_is_refused_and_the_first_goes_on(dial, session):
    session.start()
    first = dial(session.name)
    talk(first, bytes(16000))
    wait_for(lambda: session.now["AudioProgress"]["ReceivedSeconds"] == 1)
    assert heard_back(dial(session.name)) == b""
    talk(first, bytes(16000))
    wait_for(lambda: session.now["AudioProgress"]["ReceivedSeconds"] == 2)


def test_an_ended_call_cannot_be_opened_again(dial, session):
    session.start()
    line = dial(session.name)
    line.sendall(frame(0x00))
    heard_back(line)
    assert heard_back(dial(session.name)) == b""


def test_one_name_in_two_domains_opens_neither(dial, session, api):
    session.start()
    api.start_session(DomainId=new_domain(api, "other"), SessionName=session.name)
    assert heard_back(dial(session.name)) == b""
    assert session.now["StreamingStatus"] == "PENDING_CONFIGURATION"


def test_garbage_in_mid_call_ends_that_call_and_is_logged(dial, session, asterisk_server):
    session.start()
    line = dial(session.name)
    talk(line, bytes(16000))
    line.sendall(b"\x42\x00\x00")
    heard_back(line)
    assert session.now["StreamingStatus"] == "ENDED"
    assert "no AudioSocket frame of kind 0x42" in asterisk_server.log


def test_a_call_without_room_is_refused_and_may_try_again(serve):
    port = free_port()
    server = serve(audiosocket_port=port, max_calls=1)
    client = server.client()
    domain_id, names = new_domain(client), [str(uuid.uuid4()) for _ in range(2)]
    for name in names:
        client.start_session(DomainId=domain_id, SessionName=name)

    def dialled(name):
        line = socket.create_connection(("127.0.0.1", port), timeout=30)
        line.sendall(frame(0x01, uuid.UUID(name).bytes) + frame(0x10, bytes(320)))
        return line

    def status(name):
        session = client.describe_session(DomainId=domain_id, SessionNameOrId=name)["Session"]
        return session["StreamingStatus"]

    with dialled(names[0]) as first:
        wait_for(lambda: status(names[0]) == "ONGOING")
        with dialled(names[1]) as second:
            assert heard_back(second) == b""
        first.sendall(frame(0x00))
        heard_back(first)
    with dialled(names[1]):
        wait_for(lambda: status(names[1]) == "ONGOING")


def test_an_operators_stop_closes_the_lines_and_decides_on_what_was_heard(serve, voices):
    port = free_port()
    server = serve(audiosocket_port=port)
    client = server.client()
    domain_id, name = new_domain(client), str(uuid.uuid4())
    client.start_session(DomainId=domain_id, SessionName=name)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as line:
        line.sendall(frame(0x01, uuid.UUID(name).bytes))
        talk(line, as_bytes(voices.stranger(seconds=12)))
        named = {"DomainId": domain_id, "SessionNameOrId": name}
        wait_for(
            lambda: (
                client.describe_session(**named)["Session"]["AudioProgress"]["ReceivedSeconds"] > 11
            )
        )
        assert server.stop() == 0
        heard_back(line)
    server.start()
    assert server.client().evaluate_session(**named)["StreamingStatus"] == "ENDED"
    assert "FraudDetectionResult" in server.client().evaluate_session(**named)


def test_a_port_that_is_taken_is_named_with_its_setting(tmp_path, port, asterisk_server):
    server = Server(tmp_path, audiosocket_port=port)
    with pytest.raises(pytest.fail.Exception):
        server.start()
    assert f"cannot listen on 127.0.0.1 port {port}" in server.log
    assert "audiosocket_port" in server.log
