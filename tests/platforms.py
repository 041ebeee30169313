"""Telephony platforms, as they speak: what Genesys and Twilio send, and how they sign it."""

import base64
import hashlib
import hmac
import json
import secrets
import subprocess
import sys
import time
import uuid

import numpy as np
from websockets.exceptions import ConnectionClosed

from tests.server import open_stream
from vivavoce.audio.g711 import encode_mu_law

OFFER = [
    {"type": "audio", "format": "PCMU", "channels": channels, "rate": 8000}
    for channels in (["external", "internal"], ["external"], ["internal"])
]
COMPONENTS = (
    "@request-target",
    "@authority",
    "audiohook-organization-id",
    "audiohook-session-id",
    "audiohook-correlation-id",
    "x-api-key",
)
NO_CALL = "00000000-0000-0000-0000-000000000000"


def as_mu_law(*channels):
    """Samples of each channel, shape (n,), interleaved and coded."""
    return np.stack([encode_mu_law(samples) for samples in channels], axis=1).tobytes()


def add_connector(server, *arguments, stdin=None):
    command = [*(sys.executable, "-m", "vivavoce", "connectors", "add"), *arguments, "--json"]
    result = subprocess.run(
        [*command, "--data-dir", str(server.data_dir)],
        input=stdin,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(result.stdout)


def tone(seconds, *, hertz=300):
    return (8000 * np.sin(2 * np.pi * hertz / 8000 * np.arange(8000 * seconds))).astype(np.int16)


class Genesys:
    """One AudioHook client's connection."""

    def __init__(self, server, connector, **changes):
        self.server = server
        self.connector = connector
        self.session_id, self.organization_id = str(uuid.uuid4()), str(uuid.uuid4())
        self.conversation_id = str(uuid.uuid4())
        self.seq = self.serverseq = 0
        self.position_s = 0.0
        self._changes = changes

    def headers(self, **changes):
        """What it sends at the handshake, signed; `changes` are made before that."""
        headers = {
            "audiohook-organization-id": self.organization_id,
            "audiohook-session-id": self.session_id,
            "audiohook-correlation-id": str(uuid.uuid4()),
            "x-api-key": self.connector["ConnectorId"],
        }
        now_s = int(time.time())
        parameters = {
            "keyid": self.connector["ConnectorId"],
            "nonce": secrets.token_urlsafe(18),
            "alg": "hmac-sha256",
            "created": now_s,
            "expires": now_s + 10,
            **changes.get("parameters", {}),
        }
        covered = changes.get("components", COMPONENTS)
        listed = " ".join(f'"{name}"' for name in covered)
        told = ";".join(
            f"{name}={value if isinstance(value, int) else json.dumps(value)}"
            for name, value in parameters.items()
        )
        declared = f"({listed});{told}"
        values = {
            "@request-target": "/v1/audiohook",
            "@authority": f"127.0.0.1:{self.server.port}",
            **headers,
        }
        lines = [f'"{name}": {values[name]}' for name in covered]
        text = "\n".join([*lines, f'"@signature-params": {declared}'])
        secret = base64.b64decode(changes.get("secret", self.connector["Secret"]))
        signature = base64.b64encode(hmac.new(secret, text.encode(), hashlib.sha256).digest())
        headers |= {
            "signature-input": f"sig1={declared}",
            "signature": f"sig1=:{signature.decode()}:",
        }
        return {**headers, **changes.get("headers", {})}

    def __enter__(self):
        url = f"ws://127.0.0.1:{self.server.port}/v1/audiohook"
        headers = self._changes.get("sent") or self.headers(**self._changes)
        self.socket = open_stream(url, additional_headers=headers)
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, kind, parameters=None, **changes):
        self.seq += 1
        message = {
            "version": "2",
            "id": self.session_id,
            "type": kind,
            "seq": self.seq,
            "serverseq": self.serverseq,
            "position": f"PT{self.position_s}S",
            "parameters": parameters or {},
            **changes,
        }
        self.socket.send(json.dumps(message))

    def open(self, **changes):
        self.send(
            "open",
            {
                "organizationId": self.organization_id,
                "conversationId": self.conversation_id,
                "participant": {
                    "id": str(uuid.uuid4()),
                    "ani": "tel:+13171234567",
                    "aniName": "June",
                    "dnis": "tel:+18005550100",
                },
                "media": OFFER,
                "language": "en-US",
                **changes,
            },
        )

    def receive(self, timeout=30):
        """The next message; its number must be one more than the last, as Genesys insists."""
        message = json.loads(self.socket.recv(timeout=timeout))
        assert message["seq"] == self.serverseq + 1
        assert message["id"] == self.session_id
        assert message["version"] == "2"
        self.serverseq = message["seq"]
        return message

    def expect(self, kind):
        message = self.receive()
        assert message["type"] == kind, message
        return message["parameters"]

    def speak(self, external, internal=None):
        """Send audio in frames of 200 ms of both sides, or of the caller's alone."""
        channels = [external] if internal is None else [external, internal]
        data = as_mu_law(*channels)
        step = 1600 * len(channels)
        for start in range(0, len(data), step):
            self.socket.send(data[start : start + step])
        self.position_s += len(external) / 8000

    def close(self, reason="end"):
        self.send("close", {"reason": reason})
        self.expect("closed")


class Twilio:
    """One Media Streams connection."""

    def __init__(self, server, token, **changes):
        self.server = server
        self.token = token
        self.call_sid = "CA" + uuid.uuid4().hex
        self.stream_sid = "MZ" + uuid.uuid4().hex
        self.sequence = 0
        self.timestamp_ms = {"inbound": 5, "outbound": 5}
        self._changes = changes

    def __enter__(self):
        at = f"127.0.0.1:{self.server.port}/v1/twilio"
        signed = self._changes.get("signed", f"wss://{at}")
        signature = base64.b64encode(
            hmac.new(self.token.encode(), signed.encode(), hashlib.sha1).digest()
        ).decode()
        self.socket = open_stream(
            f"ws://{at}", additional_headers={"X-Twilio-Signature": signature}
        )
        return self

    def __exit__(self, *_):
        self.socket.close()

    def message(self, event, **members):
        """The next message as text, without sending it."""
        if event != "connected":
            self.sequence += 1
            members |= {"sequenceNumber": str(self.sequence), "streamSid": self.stream_sid}
        return json.dumps({"event": event, **members})

    def send(self, event, **members):
        self.socket.send(self.message(event, **members))

    def start(self, tracks=("inbound",), **custom):
        self.send("connected", protocol="Call", version="1.0.0")
        self.send(
            "start",
            start={
                "streamSid": self.stream_sid,
                "accountSid": "AC" + uuid.uuid4().hex,
                "callSid": self.call_sid,
                "tracks": list(tracks),
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                "customParameters": custom,
            },
        )

    def media(self, samples, track="inbound"):
        """Messages of 20 ms, without sending them."""
        coded = encode_mu_law(samples).tobytes()
        messages = []
        for start in range(0, len(coded), 160):
            payload = base64.b64encode(coded[start : start + 160]).decode()
            timestamp = self.timestamp_ms[track]
            self.timestamp_ms[track] += 20
            chunk = str((timestamp - 5) // 20 + 1)
            media = {
                "track": track,
                "chunk": chunk,
                "timestamp": str(timestamp),
                "payload": payload,
            }
            messages.append(self.message("media", media=media))
        return messages

    def speak(self, samples, track="inbound"):
        for message in self.media(samples, track):
            self.socket.send(message)

    def stop(self):
        self.send("stop", stop={"accountSid": "AC1", "callSid": self.call_sid})

    def close_code(self):
        try:
            while True:
                self.socket.recv(timeout=30)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None
