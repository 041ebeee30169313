"""Callers for `bench.load`: calls over the native WebSocket, in real time, with real speech.

Their part of the work is kept small, since they share the machine with the server: messages are
framed and masked once for each recording, and what the server sends is parsed only where it may
hold a decision.
"""

import asyncio
import heapq
import json
import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import numpy as np

from bench.speech_data import Clip, SpeechDataAbsent, find_speech, read_clips
from vivavoce.audio.arrays import CALL_RATE_HZ, Floats, Samples
from vivavoce.audio.g711 import decode_mu_law, encode_mu_law
from vivavoce.call.machine import Audio, CallMachine, EvidenceNeeded, Plan, SpeechComplete
from vivavoce.demo.voices import VOICES, compose, fetch_voices
from vivavoce.models.engines import Models

MESSAGE_S = 0.02
MESSAGE_SAMPLES = round(MESSAGE_S * CALL_RATE_HZ)
CALL_S = 40.0
RECORDINGS = 24
PAUSE_S = 0.4
_STAGGER_S = 10.0
_MASK = b"\x37\xfa\x21\x3d"
_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA
_BINARY = 0x2


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A result that is to be expected.

    Attributes:
        kind: "early" for the first risk of spoofing, "decision" for what has an id.
        message: index of the message that brings the last sample that is needed.
    """

    kind: str
    message: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What one caller says.

    Attributes:
        samples: as the server will hear them, shape (n,).
        messages: as they go over the wire, 20 ms each.
        marks: the results to expect, in their order.
        heard_messages: after so many the server has all the speech that it wants.
        voice: of the speaker, for an enrolment; shape (dimension,).
    """

    samples: Samples = field(repr=False)
    messages: Sequence[bytes] = field(repr=False)
    marks: Sequence[Mark]
    heard_messages: int
    voice: Floats = field(repr=False)


def masked(opcode: int, payload: bytes) -> bytes:
    """A WebSocket frame as a client sends it (RFC 6455, section 5.2)."""
    length = len(payload)
    if length < 126:
        head = bytes([0x80 | opcode, 0x80 | length])
    elif length < 1 << 16:
        head = bytes([0x80 | opcode, 0x80 | 126]) + length.to_bytes(2, "big")
    else:
        head = bytes([0x80 | opcode, 0x80 | 127]) + length.to_bytes(8, "big")
    key = np.frombuffer(_MASK * (length // 4 + 1), np.uint8)[:length]
    return head + _MASK + (np.frombuffer(payload, np.uint8) ^ key).tobytes()


def handshake(path: str, port: int) -> bytes:
    """The request that opens a WebSocket."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def path_of(stream_url: str) -> str:
    """What is asked for at a StreamUrl, in mu-law."""
    url = urlsplit(stream_url)
    return f"{url.path}?{url.query}{'&' if url.query else ''}encoding=mulaw&rate=8000"


def recordings(models: Models) -> tuple[list[Recording], str]:
    """What the callers say, and where it is from."""
    calls, source = _speech()
    return [_recording(samples, models) for samples in calls], source


def _speech() -> tuple[list[Samples], str]:
    try:
        clips = [clip for clip in read_clips(find_speech()) if clip.label == "bonafide"]
    except SpeechDataAbsent:
        folders = fetch_voices(VOICES[:4])
        calls = [compose(folder, seconds=CALL_S, use="call") for folder in folders.values()]
        length = round(CALL_S * CALL_RATE_HZ)
        return [call[:length] for call in calls], f"{len(calls)} voices of the demo"
    calls = _dialogues(clips)
    return calls, f"{len(calls)} speakers of the development data, {PAUSE_S:g} s between sentences"


def _dialogues(clips: Sequence[Clip]) -> list[Samples]:
    by_speaker: dict[tuple[str, str], list[Clip]] = {}
    for clip in clips:
        if clip.speaker:
            by_speaker.setdefault((clip.source, clip.speaker), []).append(clip)
    pause = np.zeros(round(PAUSE_S * CALL_RATE_HZ), np.int16)
    length = round(CALL_S * CALL_RATE_HZ)
    calls: list[Samples] = []
    for group in sorted(by_speaker.values(), key=len, reverse=True)[:RECORDINGS]:
        parts = [part for clip in group for part in (clip.read(), pause)]
        once = np.concatenate(parts)
        calls.append(np.tile(once, -(-length // len(once)))[:length])
    return calls


def _recording(samples: Samples, models: Models) -> Recording:
    codes = encode_mu_law(samples[: len(samples) - len(samples) % MESSAGE_SAMPLES])
    heard = decode_mu_law(codes)
    machine = CallMachine(models.new_detector(), Plan())
    needed: list[EvidenceNeeded] = []
    heard_messages = len(codes) // MESSAGE_SAMPLES
    for index, start in enumerate(range(0, len(heard), MESSAGE_SAMPLES), start=1):
        for event in machine.push(Audio(samples=heard[start : start + MESSAGE_SAMPLES])):
            match event:
                case EvidenceNeeded():
                    needed.append(event)
                case SpeechComplete():
                    heard_messages = index
                case _:
                    pass
    marks = [
        Mark(
            kind="early" if number == 0 else "decision",
            message=(event.end - 1) // MESSAGE_SAMPLES,
        )
        for number, event in enumerate(needed)
        # From the second on an early risk may be the same as before, and is not told again.
        if number == 0 or len(event.speech) >= Plan().fraud_samples
    ]
    return Recording(
        samples=heard,
        messages=[masked(_BINARY, part.tobytes()) for part in codes.reshape(-1, MESSAGE_SAMPLES)],
        marks=marks,
        heard_messages=heard_messages,
        voice=models.embed(needed[-1].speech if needed else heard),
    )


@dataclass(slots=True)
class Observed:
    """What a stretch of time showed.

    Attributes:
        lags_ms: from the moment at which the last sample needed was due, to the result, by kind.
        late_ms: of some messages, how long after they were due they were sent.
        missing: results that had not come when the call was over.
        calls: that ended.
        broken: of those, how many the server refused or closed otherwise than agreed.
        sent_s: audio of the calls that ended, in seconds.
        received_s: what the server says of it.
        lost_s: likewise.
        messages: sent, of all calls.
        heard_messages: of those, how many the server was still listening to.
    """

    lags_ms: dict[str, list[float]] = field(default_factory=lambda: {"early": [], "decision": []})
    late_ms: list[float] = field(default_factory=list[float])
    missing: int = 0
    calls: int = 0
    broken: int = 0
    sent_s: float = 0.0
    received_s: float = 0.0
    lost_s: float = 0.0
    messages: int = 0
    heard_messages: int = 0


class _Line(asyncio.Protocol):
    """One call."""

    def __init__(self, load: "Load", path: str, recording: Recording, length: int) -> None:
        self._load = load
        self._path = path
        self._recording = recording
        self._length = length
        self._marks = {
            kind: [m.message for m in recording.marks if m.kind == kind and m.message < length]
            for kind in ("early", "decision")
        }
        self._begun = 0.0
        self._next = 0
        self._buffer = b""
        self._open = False
        self._decision = ""
        self._progress = b""
        self._code = 0
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(handshake(self._path, self._load.port))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._open:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self._transport.close()
                return
            self._open, self._buffer = True, rest
            self._begun = self._load.now()
            self._load.pace(self._begun, self)
        for opcode, payload in self._frames():
            self._take(opcode, payload)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        observed = self._load.observed
        observed.calls += 1
        done = self._next > self._length and self._code == 1000
        observed.broken += not done
        observed.missing += sum(len(marks) for marks in self._marks.values())
        observed.sent_s += self._length * MESSAGE_S
        if self._progress:
            told = json.loads(self._progress)
            observed.received_s += told["ReceivedSeconds"]
            observed.lost_s += told["LostSeconds"]
        if not self.over.done():
            self.over.set_result(None)

    def send_next(self) -> float | None:
        """Send what is due; when the next message is due, or None after the last one."""
        if self._transport.is_closing():
            return None
        index = self._next
        self._next += 1
        if index == self._length:
            self._transport.write(masked(_TEXT, b'{"type": "end"}'))
            return None
        self._transport.write(self._recording.messages[index])
        self._load.observed.messages += 1
        self._load.observed.heard_messages += index < self._recording.heard_messages
        return self._begun + self._next * MESSAGE_S

    def hang_up(self) -> None:
        """Leave without a word."""
        self._transport.abort()

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        while len(self._buffer) >= 2:
            length, start = self._buffer[1], 2
            if length == 126:
                length, start = int.from_bytes(self._buffer[2:4], "big"), 4
            elif length == 127:
                length, start = int.from_bytes(self._buffer[2:10], "big"), 10
            if len(self._buffer) < start + length:
                return
            opcode, payload = self._buffer[0] & 0xF, self._buffer[start : start + length]
            self._buffer = self._buffer[start + length :]
            yield opcode, payload

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == _TEXT:
            if payload.startswith(b'{"type": "progress"'):
                self._progress = payload
            elif payload.startswith(b'{"type": "result"'):
                self._judge(json.loads(payload)["evaluation"])
        elif opcode == _PING:
            self._transport.write(masked(_PONG, payload))
        elif opcode == _CLOSE:
            self._code = int.from_bytes(payload[:2], "big")
            self._transport.write(masked(_CLOSE, payload[:2]))
            self._transport.close()

    def _judge(self, evaluation: dict[str, Any]) -> None:
        fraud = evaluation.get("FraudDetectionResult", {})
        if "EarlyVoiceSpoofingRisk" in fraud:
            self._came("early")
        if fraud.get("Decision") == "NOT_ENOUGH_SPEECH":
            return
        decision = fraud.get("FraudDetectionResultId", "")
        # At the end of a call what was said last is decided on too; that is none of the marks.
        if decision != self._decision and decision and self._next <= self._length:
            self._decision = decision
            self._came("decision")
        elif self._next > self._length and self._marks["decision"]:
            self._came("decision")

    def _came(self, kind: str) -> None:
        if self._marks[kind]:
            due = self._begun + self._marks[kind].pop(0) * MESSAGE_S
            self._load.observed.lags_ms[kind].append((self._load.now() - due) * 1000)


class Load:
    """So many calls at a time: where one ends, the next begins at once."""

    def __init__(
        self,
        *,
        port: int,
        start_session: Callable[[int], str],
        recordings: Sequence[Recording],
        random_lengths: bool = False,
        seed: int = 1,
    ) -> None:
        """Prepare.

        Args:
            port: of the server.
            start_session: starts a session for the speaker of a recording; gives its StreamUrl.
            recordings: what is said.
            random_lengths: calls of a quarter of a recording up to all of it.
            seed: of lengths and moments.
        """
        self.port = port
        self.observed = Observed()
        self._start_session = start_session
        self._recordings = recordings
        self._random_lengths = random_lengths
        self._dice = random.Random(seed)  # noqa: S311 - lengths and moments
        self._due: list[tuple[float, int, _Line]] = []
        self._order = count()
        self._live: set[_Line] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @staticmethod
    def now() -> float:
        """Seconds of a clock that only goes on."""
        return asyncio.get_running_loop().time()

    def begin(self, calls: int) -> None:
        """Let so many callers begin, at random moments of the next `_STAGGER_S` seconds."""
        for task in [self._caller(index) for index in range(calls)]:
            self._keep(asyncio.ensure_future(task))
        self._keep(asyncio.ensure_future(self._pace()))

    def observe(self) -> Observed:
        """Begin a new stretch of time; gives what the last one showed."""
        observed, self.observed = self.observed, Observed()
        return observed

    async def leave(self) -> None:
        """All callers hang up."""
        for task in self._tasks:
            task.cancel()
        ends = await asyncio.gather(*self._tasks, return_exceptions=True)
        for line in list(self._live):
            line.hang_up()
        for end in ends:
            # A caller that failed must not look like a server that is idle.
            if isinstance(end, Exception):
                raise end

    @property
    def live(self) -> int:
        """Calls at the moment."""
        return len(self._live)

    def pace(self, due: float, line: _Line) -> None:
        """Have a call's next message sent when it is due."""
        heapq.heappush(self._due, (due, next(self._order), line))

    def _keep(self, task: "asyncio.Task[None]") -> None:
        self._tasks.add(task)

    async def _caller(self, index: int) -> None:
        await asyncio.sleep(self._dice.random() * _STAGGER_S)
        # The first call of each is cut, so that they do not all end together later on.
        shortest = 0.25
        number = index
        session = await asyncio.to_thread(self._start_session, number % len(self._recordings))
        while True:
            recording = self._recordings[number % len(self._recordings)]
            share = self._dice.uniform(shortest, 1.0)
            line = _Line(self, path_of(session), recording, round(share * len(recording.messages)))
            shortest = 0.25 if self._random_lengths else 1.0
            await asyncio.get_running_loop().create_connection(
                lambda line=line: line, "127.0.0.1", self.port
            )
            self._live.add(line)
            number += 1
            following = number % len(self._recordings)
            starting = asyncio.create_task(self._prepare(line, following))
            await line.over
            self._live.discard(line)
            session = await starting

    async def _prepare(self, line: _Line, following: int) -> str:
        """Start the next session while the call still lasts, as a dialler would."""
        await asyncio.wait([line.over], timeout=self._dice.uniform(1, 9))
        return await asyncio.to_thread(self._start_session, following)

    async def _pace(self) -> None:
        sent = 0
        while True:
            now = self.now()
            while self._due and self._due[0][0] <= now:
                due, order, line = heapq.heappop(self._due)
                sent += 1
                if sent % 16 == 0:
                    self.observed.late_ms.append((self.now() - due) * 1000)
                following = line.send_next()
                if following is not None:
                    heapq.heappush(self._due, (following, order, line))
            wait = self._due[0][0] - self.now() if self._due else MESSAGE_S
            await asyncio.sleep(max(0.001, min(wait, MESSAGE_S)))


@dataclass(slots=True, kw_only=True)
class Usage:
    """What a process and its children used since they began.

    Attributes:
        cpu_s: CPU in seconds, of all.
        first_thread_s: of that, the first thread's of the process itself.
        children_s: of that, the children's.
        resident_bytes: memory of all.
        at_s: when that was.
    """

    cpu_s: float
    first_thread_s: float
    children_s: float
    resident_bytes: int
    at_s: float


def usage_of(pid: int, now_s: float) -> Usage:
    """Read what a process and its children used."""

    def cpu_s(path: str) -> float:
        fields = Path(path).read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(process: str) -> int:
        pages = Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    listed = Path(f"/proc/{pid}/task").glob("*/children")
    children = [child for path in listed for child in path.read_text(encoding="ascii").split()]
    children_s = sum(cpu_s(f"/proc/{child}/stat") for child in children)
    return Usage(
        cpu_s=cpu_s(f"/proc/{pid}/stat") + children_s,
        first_thread_s=cpu_s(f"/proc/{pid}/task/{pid}/stat"),
        children_s=children_s,
        resident_bytes=resident_bytes(str(pid)) + sum(resident_bytes(each) for each in children),
        at_s=now_s,
    )
