"""A real `vivavoce serve` in its own process, and the clients that tests talk to it with."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from vivavoce.api.description import data_path
from vivavoce.demo.voices import ARMELLE, CARLO, JUNE, Use, compose, fetch_voices
from vivavoce.errors import ToolMissing, VoicesUnavailable

START_S = 60
STOP_S = 30
"""An operator's stop must be done in this time."""

KEY = {"KmsKeyId": "alias/test"}


class Server:
    """One server on a fixed port and data folder; it can be stopped, killed and started again."""

    def __init__(self, folder, **settings):
        self.data_dir = folder / "data"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "server.log"
        self._settings = {
            f"VIVAVOCE_{name.upper()}": str(value) for name, value in settings.items()
        }
        self._clients = []

    def start(self):
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self.command, stderr=output, stdout=output, env={**os.environ, **self._settings}
            )
        until = time.monotonic() + START_S
        while time.monotonic() < until and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=5):
                    return self
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        pytest.fail(f"the server did not start: {self.log}")

    @property
    def process(self):
        assert self._process is not None, "it was never started"
        return self._process

    @property
    def command(self):
        return [
            *(sys.executable, "-m", "vivavoce", "serve", "--host", "127.0.0.1"),
            *("--port", str(self.port), "--data-dir", str(self.data_dir)),
        ]

    def stop(self):
        """Stop it as an operator does; gives its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S)

    def kill(self):
        """`kill -9`: no chance to tidy up."""
        self.process.kill()
        self.process.wait(STOP_S)

    def end(self):
        for client in self._clients:
            client.close()
        if self._process is not None and self._process.poll() is None:
            self.stop()

    @property
    def log(self):
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def memory_bytes(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024

    @property
    def credentials(self):
        return self.data_dir / "credentials"

    @property
    def access_key(self):
        text = self.credentials.read_text(encoding="ascii")
        pairs = dict(line.split(" = ") for line in text.splitlines() if " = " in line)
        return pairs["aws_access_key_id"], pairs["aws_secret_access_key"]

    def environment(self, **more):
        """What an AWS client needs to know, and nothing that this process knows beside it."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return {
            **kept,
            "AWS_SHARED_CREDENTIALS_FILE": str(self.credentials),
            "AWS_ENDPOINT_URL_VOICE_ID": self.url,
            "AWS_DEFAULT_REGION": "us-east-1",
            **more,
        }

    def client(self, **config):
        """boto3 with the session operations."""
        key, secret = self.access_key
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_DATA_PATH", str(data_path()))
            client = boto3.Session().client(
                "voice-id",
                endpoint_url=self.url,
                region_name="us-east-1",
                aws_access_key_id=key,
                aws_secret_access_key=secret,
                config=Config(retries={"total_max_attempts": 1}, max_pool_connections=40, **config),
            )
        self._clients.append(client)
        return client


def new_domain(client, name="test"):
    domain = client.create_domain(Name=name, ServerSideEncryptionConfiguration=KEY)
    return domain["Domain"]["DomainId"]


def open_stream(url, **options):
    """A connection to a StreamUrl; its own pings would wait behind audio that is made to wait."""
    return connect(
        url, ping_interval=None, open_timeout=30, close_timeout=10, legacy=True, **options
    )


def as_bytes(samples):
    return samples.astype("<i2").tobytes()


def send(stream, audio, *, message_bytes=16000):
    for start in range(0, len(audio), message_bytes):
        stream.send(audio[start : start + message_bytes])


def hear_out(stream):
    """Every message up to the close, and the close code."""
    messages = []
    try:
        while True:
            messages.append(json.loads(stream.recv(timeout=60)))
    except ConnectionClosed as closed:
        return messages, closed.rcvd.code if closed.rcvd else None


def make_call(url, audio, *, message_bytes=16000):
    """A whole call; gives the server's messages. It must end as asked for."""
    with open_stream(url) as stream:
        send(stream, audio, message_bytes=message_bytes)
        stream.send('{"type": "end"}')
        messages, code = hear_out(stream)
    assert code == 1000, messages[-1]
    return messages


def last(messages, kind):
    return [message for message in messages if message["type"] == kind][-1]


def wait_for(condition, *, at_most_s=30):
    until = time.monotonic() + at_most_s
    while not (found := condition()):
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.05)
    return found


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def complaints(log):
    """What no client, however hostile, may bring about."""
    return [
        line
        for line in log.splitlines()
        if "Traceback" in line or '"level": "error"' in line or '"level": "critical"' in line
    ]


@pytest.fixture(scope="session")
def _shared_server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    try:
        yield server.start()
    finally:
        server.end()


@pytest.fixture
def server(_shared_server):
    """The server that tests share; each test must leave it alive, and its log clean."""
    before = len(_shared_server.log)
    yield _shared_server
    assert _shared_server.process.poll() is None
    assert complaints(_shared_server.log[before:]) == []


@pytest.fixture
def serve(tmp_path):
    """Starts servers of a test's own, with settings."""
    servers = []

    def start(**settings):
        folder = tmp_path / f"server-{len(servers)}"
        folder.mkdir()
        servers.append(Server(folder, **settings))
        return servers[-1].start()

    yield start
    for server in servers:
        server.end()
    for server in servers:
        assert complaints(server.log) == []


@pytest.fixture(scope="session")
def client(_shared_server):
    return _shared_server.client()


@pytest.fixture
def domain_id(client):
    return new_domain(client)


class Voices:
    """Real people, from Debian's telephone prompts; the same call gives the same samples."""

    def __init__(self, clips):
        self._clips = clips

    def speak(self, voice, *, seconds, use: Use = "call"):
        return compose(self._clips[voice], seconds=seconds, use=use)

    def customer(self, **wanted):
        return self.speak(JUNE, **wanted)

    def stranger(self, **wanted):
        return self.speak(ARMELLE, **wanted)

    def fraudster(self, **wanted):
        return self.speak(CARLO, **wanted)


@pytest.fixture(scope="session")
def voices():
    try:
        return Voices(fetch_voices([JUNE, ARMELLE, CARLO]))
    except (ToolMissing, VoicesUnavailable) as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"real voices are needed: {error}")
