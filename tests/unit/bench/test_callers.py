import asyncio
import json
import os
from typing import Any

import numpy as np
import pytest
from websockets.frames import Frame
from websockets.streams import StreamReader

from bench import callers
from bench.callers import Load, Mark, Recording, handshake, masked, path_of, usage_of


def parsed(data):
    """What a server makes of a frame."""
    reader = StreamReader()
    reader.feed_data(data)
    parser = Frame.parse(reader.read_exact, mask=True)
    with pytest.raises(StopIteration) as stop:
        next(parser)
    return stop.value.value


@pytest.mark.parametrize("length", [0, 1, 5, 125, 126, 160, 65535, 65536])
def test_a_frame_is_read_by_a_server_as_it_was_meant(length):
    payload = np.arange(length, dtype=np.uint32).astype(np.uint8).tobytes()
    frame = parsed(masked(2, payload))
    assert (frame.opcode, bytes(frame.data)) == (2, payload)


def test_the_path_keeps_the_token_and_says_the_encoding():
    path = path_of("ws://host:1/v1/audio/abc?token=t")
    assert path == "/v1/audio/abc?token=t&encoding=mulaw&rate=8000"


def text(document):
    payload = json.dumps(document).encode()
    return bytes([0x81, 126]) + len(payload).to_bytes(2, "big") + payload


def result(decision, number=""):
    fraud = {"Decision": decision, "FraudDetectionResultId": number}
    return text({"type": "result", "evaluation": {"FraudDetectionResult": fraud}})


class FakeServer(asyncio.Protocol):
    """Takes calls of four messages; decides after the second one, and ends as agreed."""

    transport: Any

    def connection_made(self, transport):
        self.transport = transport
        self.heard = b""
        self.frames = 0

    def data_received(self, data):
        self.heard += data
        if not self.frames and b"\r\n\r\n" in self.heard:
            self.heard = self.heard.partition(b"\r\n\r\n")[2]
            self.transport.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
            self.transport.write(result("NOT_ENOUGH_SPEECH", "none"))
        while len(self.heard) >= 6 and len(self.heard) >= 6 + (self.heard[1] & 127):
            opcode = self.heard[0] & 15
            self.heard = self.heard[6 + (self.heard[1] & 127) :]
            self.frames += 1
            if self.frames == 2:
                self.transport.write(result("LOW_RISK", "first"))
            if opcode == 1:
                progress = {"type": "progress", "ReceivedSeconds": 0.08, "LostSeconds": 0.0}
                self.transport.write(text(progress) + b"\x88\x02\x03\xe8")


def test_a_call_is_measured_from_its_mark_and_followed_by_another(monkeypatch):
    monkeypatch.setattr(callers, "_STAGGER_S", 0.01)
    recording = Recording(
        samples=np.zeros(640, np.int16),
        messages=[masked(2, bytes(20))] * 4,
        marks=[Mark(kind="decision", message=1)],
        heard_messages=3,
        voice=np.zeros(2, np.float32),
    )

    async def run():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(FakeServer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        load = Load(
            port=port,
            start_session=lambda number: f"ws://127.0.0.1:{port}/v1/audio/x",
            recordings=[recording],
        )
        load.begin(2)
        async with asyncio.timeout(20):
            while load.observed.calls < 4:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
        observed = load.observe()
        await load.leave()
        server.close()
        return observed

    observed = asyncio.run(run())
    assert (observed.broken, observed.missing, observed.lost_s) == (0, 0, 0)
    assert observed.received_s == pytest.approx(0.08 * observed.calls)
    assert observed.lags_ms["decision"]
    assert all(0 <= lag < 5000 for lag in observed.lags_ms["decision"])
    assert observed.heard_messages < observed.messages


def test_a_handshake_asks_for_a_websocket():
    assert b"Upgrade: websocket\r\n" in handshake("/x", 1)


def test_a_process_is_told_by_what_it_used():
    used = usage_of(os.getpid(), 1.0)
    assert used.cpu_s > 0
    assert used.resident_bytes > 1e6
