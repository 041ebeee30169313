"""How many calls the server listens to at a time: `python -m bench.load > bench/results/load.md`.

A server in a process of its own, with everything on: voice activity, speaker encoder, a watchlist,
spoof detection, decisions in the database. This process is the callers: they speak the native
WebSocket in real time, 20 ms of mu-law a message, and where one call ends the next begins at once.
Both share the machine, and their CPU time is told apart.

*Lag* is the time from the moment at which the last sample that a decision needs was due at the
server, to its result being with the client. What the server waits for by design is in it: the
resampler looks ahead by up to 0.12 s, and voice activity is judged 128 ms at a time.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import uvloop
from botocore.config import Config

from bench import callers
from bench.callers import Load, Observed, Recording, Usage, usage_of
from bench.markdown import row
from training import provenance
from vivavoce.api.description import data_path
from vivavoce.audio.arrays import CALL_RATE_HZ, Floats, to_float
from vivavoce.audio.features import whisper_log_mel
from vivavoce.audio.g711 import decode_mu_law, encode_mu_law
from vivavoce.audio.resample import StreamDoubler
from vivavoce.call.machine import Audio, CallMachine, EvidenceNeeded, Plan
from vivavoce.call.speech import GROUP_FRAMES
from vivavoce.foundation import open_data
from vivavoce.ids import generated_id
from vivavoce.models.engines import Models, load_models
from vivavoce.models.memory import Memory, key_of
from vivavoce.models.registry import models_folder
from vivavoce.models.vad import FRAME_SAMPLES
from vivavoce.settings import read_settings
from vivavoce.store.records import Fraudster, Voiceprint
from vivavoce.store.store import Store, Transaction

FRAUDSTERS = 500
LIMIT_MS = 500
CALLS = (50, 100, 150, 200)
SOAK_SHARE = 0.7
HOSTILE = 50
GOOD_BESIDE_HOSTILE = 50
BATCHES = (1, 2, 4, 8, 16, 32)
"""Windows run together."""

_START_S = 60.0
_SETTLE_S = 20.0
_REPEATS = 10
_SAMPLE_S = 1.0
_REGION = "us-east-1"
_HEARD = 5 * callers.MESSAGE_SAMPLES
"""Samples that a call hears at a time; see `vivavoce.call.runner`."""

_WHAT_COUNTS = (
    f"The largest number whose p99 is under {LIMIT_MS} ms, with no result missing, no audio lost "
    "and no call broken, is the one that counts."
)
_COLUMNS = (
    "*listened to*: the share of messages that came while the server still wanted speech; it stops "
    f"at {Plan().limit_samples / CALL_RATE_HZ:g} s of net speech. *KB a call*: what the server "
    "grew by since it was idle, after a warm-up; *a further call*: what it has more than with the "
    "calls of the first row. *sent late*: how far the callers fell behind "
    "themselves; it is in the lag."
)
_HOW_STAGES = (
    "CPU time. The event loop's thread, the processes for inference and the sum are read from the "
    "system while the calls run. The stages within them are measured alone, on the same "
    "recordings, in the pieces in which a call brings them."
)

_HOW_BATCHES = (
    "CPU of one window. A call brings 2 to 7 new windows of the encoder at a checkpoint and 1 to 4 "
    "of the spoof detector; those of several calls are not gathered."
)

_DECODING, _RAISING, _ACTIVITY = "mu-law to samples", "8 to 16 kHz", "voice activity"
_MACHINE, _SPOOF = "call machine around these", "spoof detector: networks"
_ON_THE_LOOP = (_DECODING, _RAISING, _ACTIVITY, _MACHINE)


class BenchFailed(Exception):
    """The run cannot be reported."""


@dataclass(slots=True, kw_only=True)
class Stretch:
    """What a stretch of time showed of callers and server.

    Attributes:
        calls: at a time.
        observed: what the callers saw.
        server: CPU of the server and its processes for inference, in cores.
        first_thread: of that, the event loop's thread.
        inference: of that, the processes for inference.
        callers: CPU of this process, in cores.
        resident_bytes: of the server, in the mean.
    """

    calls: int
    observed: Observed
    server: float
    first_thread: float
    inference: float
    callers: float
    resident_bytes: float

    def lag_ms(self, share: float, kind: str = "decision") -> float:
        """The lag that this share of the results is within."""
        lags = self.observed.lags_ms[kind]
        return float(np.quantile(lags, share)) if lags else float("nan")

    @property
    def holds(self) -> bool:
        """Whether so many calls are served as they should be."""
        seen = self.observed
        return (
            self.lag_ms(0.99) < LIMIT_MS
            and not seen.missing
            and not seen.broken
            and seen.lost_s == 0
            and abs(seen.sent_s - seen.received_s) < 0.001 * max(1, seen.calls)
        )


class Server:
    """`vivavoce serve` with a domain, a watchlist and the callers' voices."""

    def __init__(self, folder: Path, recordings: Sequence[Recording], model: str) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._recordings = recordings
        self._model = model
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        self.idle_bytes = 0.0

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        if self._process is None:
            raise BenchFailed("no server runs")
        return self._process.pid

    @contextlib.contextmanager
    def running(self, settings: Mapping[str, object], *, max_calls: int) -> Generator[None]:
        """Run it with some settings; the domain is made at the first start."""
        chosen = {"LOG_LEVEL": "warning", "MAX_CALLS": max_calls, **settings}
        environment = {f"VIVAVOCE_{name}": str(value) for name, value in chosen.items()}
        command = [
            *(sys.executable, "-m", "vivavoce", "serve", "--host", "127.0.0.1"),
            *("--port", str(self.port), "--data-dir", str(self._data)),
        ]
        log = self._folder / "server.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command, stdout=output, stderr=output, env={**os.environ, **environment}
            )
        try:
            self._wait(log)
            self._connect()
            yield
        finally:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def start_session(self, number: int) -> str:
        """Start a session for the speaker of a recording; gives its StreamUrl."""
        name = f"call-{next(self._names)}-{time.monotonic_ns()}"
        with self._lock:
            told = self._client.start_session(
                DomainId=self._domain_id, SessionName=name, SpeakerId=f"caller-{number}"
            )
        return told["StreamUrl"]

    def _wait(self, log: Path) -> None:
        until = time.monotonic() + _START_S
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5):
                    return
            except OSError as error:
                if self._process is None or self._process.poll() is not None:
                    raise BenchFailed(f"the server did not start:\n{log.read_text()}") from error
                if time.monotonic() > until:
                    raise BenchFailed(f"the server is not ready:\n{log.read_text()}") from error
            time.sleep(0.1)

    def _connect(self) -> None:
        os.environ["AWS_DATA_PATH"] = str(data_path())
        os.environ["AWS_SHARED_CREDENTIALS_FILE"] = str(self._data / "credentials")
        self._names = itertools.count()
        self._lock = threading.Lock()
        self._client: Any = boto3.Session().client(
            "voice-id",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name=_REGION,
            config=Config(retries={"total_max_attempts": 1}),
        )
        if self._client.list_domains()["DomainSummaries"]:
            return
        made = self._client.create_domain(
            Name="bench", ServerSideEncryptionConfiguration={"KmsKeyId": "alias/bench"}
        )
        self._domain_id: str = made["Domain"]["DomainId"]
        for number in range(len(self._recordings)):
            self._client.start_session(
                DomainId=self._domain_id, SessionName=f"made-{number}", SpeakerId=f"caller-{number}"
            )
        with open_data(self._data) as store:
            self._fill(store)

    def _fill(self, store: Store) -> None:
        """Strangers on the watchlist; the callers enrolled with voices that are their own."""
        now_ms = int(time.time() * 1000)
        dice = np.random.default_rng(7)

        def fill(tx: Transaction) -> None:
            watchlist = tx.domains.get_active(self._domain_id).default_watchlist_id
            for _ in range(FRAUDSTERS):
                direction = dice.normal(size=self._recordings[0].voice.shape)
                fraudster = Fraudster(
                    fraudster_id=generated_id(),
                    domain_id=self._domain_id,
                    watchlist_ids=(watchlist,),
                    created_ms=now_ms,
                )
                tx.fraudsters.add(fraudster)
                vector = (direction / np.linalg.norm(direction)).astype(np.float32)
                put(tx, fraudster.fraudster_id, vector)
            for number, recording in enumerate(self._recordings):
                speaker = tx.speakers.get(self._domain_id, f"caller-{number}")
                put(tx, speaker.speaker_id, recording.voice)
                tx.speakers.set_status(speaker.speaker_id, "ENROLLED", now_ms=now_ms)

        def put(tx: Transaction, owner_id: str, vector: Any) -> None:  # noqa: ANN401
            voiceprint = Voiceprint(
                owner_id=owner_id,
                domain_id=self._domain_id,
                model=self._model,
                vector=vector,
                created_ms=now_ms,
            )
            tx.voiceprints.put(voiceprint, speech=np.zeros(CALL_RATE_HZ, np.int16))

        store.write_now(fill)


class Bench:
    """A server and what its callers say."""

    def __init__(self, folder: Path, arguments: argparse.Namespace) -> None:
        settings = read_settings({})
        self.models = load_models(
            models_folder(settings.models_dir),
            speaker=settings.speaker_model,
            spoof=settings.spoof_model,
        )
        _say("preparing what the callers say")
        self.recordings, self.source = callers.recordings(self.models)
        self.server = Server(folder, self.recordings, self.models.model)
        self.arguments = arguments

    def run(self, calls: int, seconds: float, **settings: object) -> Stretch:
        """So many calls at a time, on a server of its own; measured once they are all there."""
        with self.server.running(settings, max_calls=calls + 50):
            return _run(self._one(calls, seconds))

    async def _one(self, calls: int, seconds: float) -> Stretch:
        await self.warm_up()
        load = self.load()
        load.begin(calls)
        try:
            await asyncio.sleep(_SETTLE_S)
            return await self.measure(load, calls, seconds)
        finally:
            await load.leave()

    async def warm_up(self) -> None:
        """Four calls to the end, so that what is made once is made; then the server is idle."""
        load = Load(
            port=self.server.port,
            start_session=self.server.start_session,
            recordings=[self.recordings[0]],
            random_lengths=True,
            seed=3,
        )
        load.begin(4)
        await asyncio.sleep(_SETTLE_S)
        await load.leave()
        await asyncio.sleep(2)
        self.server.idle_bytes = usage_of(self.server.pid, 0).resident_bytes

    def load(self, *, random_lengths: bool = False) -> Load:
        """Callers, not yet calling."""
        return Load(
            port=self.server.port,
            start_session=self.server.start_session,
            recordings=self.recordings,
            random_lengths=random_lengths,
        )

    async def measure(self, load: Load, calls: int, seconds: float) -> Stretch:
        """Watch for some time."""
        load.observe()
        before, own_before = self._usage(), time.process_time()
        resident: list[int] = []
        while (left := before.at_s + seconds - time.monotonic()) > 0:
            await asyncio.sleep(min(_SAMPLE_S, left))
            resident.append(self._usage().resident_bytes)
        after, own_after = self._usage(), time.process_time()
        took_s = after.at_s - before.at_s
        stretch = Stretch(
            calls=calls,
            observed=load.observe(),
            server=(after.cpu_s - before.cpu_s) / took_s,
            first_thread=(after.first_thread_s - before.first_thread_s) / took_s,
            inference=(after.children_s - before.children_s) / took_s,
            callers=(own_after - own_before) / took_s,
            resident_bytes=float(np.mean(resident)),
        )
        seen = stretch.observed
        _say(
            f"{calls} calls: lag p50 {stretch.lag_ms(0.5):.0f} ms, p99 {stretch.lag_ms(0.99):.0f}; "
            f"server {stretch.server:.2f} cores, callers {stretch.callers:.2f}; {seen.missing} "
            f"missing, {seen.broken} of {seen.calls} broken, {seen.lost_s:g} s lost, late p99 "
            f"{np.quantile(seen.late_ms or [0.0], 0.99):.0f} ms"
        )
        return stretch

    def _usage(self) -> Usage:
        return usage_of(self.server.pid, time.monotonic())


def _bytes_a_further_call(few: Stretch, many: Stretch) -> float:
    return (many.resident_bytes - few.resident_bytes) / (many.calls - few.calls)


def capacity(
    bench: Bench, calls: Sequence[int], seconds: float
) -> tuple[list[str], Stretch | None]:
    """The table of calls against lag, and what the largest number showed that is served."""
    lines = [
        "",
        "## Calls at a time",
        "",
        _WHAT_COUNTS,
        "",
        row(
            *("calls", "held", "decisions", "lag p50 ms", "lag p99 ms", "early risk p99 ms"),
            *("server, cores", "callers, cores", "sent late p99 ms", "KB a call"),
            "KB a further call",
            *("listened to", "calls ended", "lost s"),
        ),
        row(*["---"] * 14),
    ]
    fewest: Stretch | None = None
    largest: Stretch | None = None
    for number in calls:
        stretch = bench.run(number, seconds)
        seen = stretch.observed
        lines.append(
            row(
                number,
                "yes" if stretch.holds else "no",
                len(seen.lags_ms["decision"]),
                f"{stretch.lag_ms(0.5):.0f}",
                f"{stretch.lag_ms(0.99):.0f}",
                f"{stretch.lag_ms(0.99, 'early'):.0f}",
                f"{stretch.server:.2f}",
                f"{stretch.callers:.2f}",
                f"{np.quantile(seen.late_ms, 0.99):.0f}",
                f"{(stretch.resident_bytes - bench.server.idle_bytes) / number / 1000:.0f}",
                "-" if fewest is None else f"{_bytes_a_further_call(fewest, stretch) / 1000:.0f}",
                f"{seen.heard_messages / max(1, seen.messages):.0%}",
                seen.calls,
                f"{seen.lost_s:g}",
            )
        )
        fewest = fewest or stretch
        if stretch.holds:
            largest = stretch
        elif largest is not None:
            break
    lines += ["", _COLUMNS]
    if largest is None:
        lines += ["", f"None of these numbers was served as it should be, not even {calls[0]}."]
    return lines, largest


def stages(bench: Bench, stretch: Stretch) -> list[str]:
    """What a second of a call costs, by stage."""
    seconds = sum(len(recording.samples) for recording in bench.recordings) / CALL_RATE_HZ
    costs = {name: cost_s / seconds * 1000 for name, cost_s in _stage_costs(bench).items()}
    total = stretch.server / stretch.calls * 1000
    first, inference = (
        cores / stretch.calls * 1000 for cores in (stretch.first_thread, stretch.inference)
    )
    lines = [
        "",
        f"## What a second of a call costs, at {stretch.calls} calls",
        "",
        _HOW_STAGES,
        "",
        row("stage", "ms of CPU", "share"),
        row(*["---"] * 3),
    ]
    told = {
        "event loop: WebSocket, protocol, call machine, messages to the client": first,
        **{f"of that {name}, alone": ms for name, ms in costs.items() if name in _ON_THE_LOOP},
        "processes for inference": inference,
        **{f"of that {name}, alone": ms for name, ms in costs.items() if name not in _ON_THE_LOOP},
        "database and evaluation (the rest)": total - first - inference,
        "all": total,
    }
    lines += [row(name, f"{ms:.2f}", f"{ms / total:.0%}") for name, ms in told.items()]
    return lines


def _stage_costs(bench: Bench) -> dict[str, float]:
    """Seconds of CPU for all recordings, by stage."""
    models, costs = bench.models, dict[str, float]()

    def timed(name: str, work: Callable[[], Any]) -> Any:  # noqa: ANN401
        begun = time.process_time()
        result = work()
        costs[name] = costs.get(name, 0.0) + time.process_time() - begun
        return result

    for recording in bench.recordings:
        codes = encode_mu_law(recording.samples).reshape(-1, callers.MESSAGE_SAMPLES)
        timed(_DECODING, lambda c=codes: [decode_mu_law(each) for each in c])
        pieces = np.split(recording.samples, range(_HEARD, len(recording.samples), _HEARD))
        raised = timed(_RAISING, lambda p=pieces: _raised(p))
        frames = raised[: len(raised) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
        timed(_ACTIVITY, lambda f=frames: _judged(models, f))
        memory: Memory = {}
        for event in timed(_MACHINE, lambda p=pieces: _needed(models, p)):
            speech = to_float(event.speech)
            windows, keys = timed(
                "encoder: 8 to 16 kHz, features", lambda s=speech: _prepared(models, s)
            )
            new = [index for index, key in enumerate(keys) if key not in memory]
            if new:
                timed("encoder: network", lambda w=windows[new]: models.encoder.encode(w))
            known = len(memory)
            timed(_SPOOF, lambda s=speech, m=memory: models.spoof.judge(s, m))
            span = speech[: min(len(speech), 4 * CALL_RATE_HZ)]
            for _ in range(len(memory) - known):
                timed("spoof detector: features", lambda s=span: whisper_log_mel(s))
            memory |= dict.fromkeys(keys, windows[0, 0])
    costs[_MACHINE] -= costs[_RAISING] + costs[_ACTIVITY]
    costs[_SPOOF] -= costs["spoof detector: features"]
    return costs


def _prepared(models: Models, speech: Floats) -> tuple[Floats, list[bytes]]:
    windows = models.encoder.prepare(speech, CALL_RATE_HZ)
    return windows, [key_of(window) for window in windows]


def _raised(pieces: Sequence[Any]) -> Any:  # noqa: ANN401
    resampler = StreamDoubler()
    return np.concatenate([*(resampler.push(piece) for piece in pieces), resampler.finish()])


def _judged(models: Models, frames: Any) -> None:  # noqa: ANN401
    detector = models.new_detector()
    for first in range(0, len(frames), GROUP_FRAMES):
        detector.probabilities(frames[first : first + GROUP_FRAMES])


def _needed(models: Models, pieces: Sequence[Any]) -> list[EvidenceNeeded]:
    machine = CallMachine(models.new_detector(), Plan())
    events = [event for piece in pieces for event in machine.push(Audio(samples=piece))]
    events += machine.finish()
    return [event for event in events if isinstance(event, EvidenceNeeded)]


def batches(bench: Bench) -> list[str]:
    """How long a window takes, by how many run together."""
    encoder, spoof = bench.models.encoder, bench.models.spoof
    heard = to_float(bench.recordings[0].samples)
    windows = encoder.prepare(np.tile(heard, 3), CALL_RATE_HZ)[: BATCHES[-1]]
    features = np.stack([whisper_log_mel(heard[: 4 * CALL_RATE_HZ])] * BATCHES[-1])
    model = next(iter(spoof.by_verdict.values()))

    def ms_each(work: Callable[[Any], Any], given: Any, count: int) -> float:  # noqa: ANN401
        work(given[:count])
        begun = time.process_time()
        for _ in range(_REPEATS):
            work(given[:count])
        return (time.process_time() - begun) * 1000 / _REPEATS / count

    return [
        "",
        "## Windows run together",
        "",
        _HOW_BATCHES,
        "",
        row("windows", "encoder, ms each", "spoof detector, ms each"),
        row(*["---"] * 3),
        *(
            row(
                count,
                f"{ms_each(encoder.encode, windows, count):.2f}",
                f"{ms_each(model.run, features, count):.2f}",
            )
            for count in BATCHES
        ),
    ]


def soak(bench: Bench, calls: int, minutes: float) -> list[str]:
    """Hours of calls of random length: does anything grow?"""
    with bench.server.running({}, max_calls=calls + 50):
        stretches = _run(_soaked(bench, calls, minutes))
    lines = [
        "",
        f"## {minutes:g} minutes of {calls} calls of random length",
        "",
        row(
            *("minutes", "lag p50 ms", "lag p99 ms", "server, cores", "MB resident"),
            *("calls ended", "sent s", "received s", "lost s", "missing", "broken"),
        ),
        row(*["---"] * 11),
    ]
    part_minutes = minutes / len(stretches)
    for part, found in enumerate(stretches):
        seen = found.observed
        lines.append(
            row(
                f"{part * part_minutes:.1f}..{(part + 1) * part_minutes:.1f}",
                f"{found.lag_ms(0.5):.0f}",
                f"{found.lag_ms(0.99):.0f}",
                f"{found.server:.2f}",
                f"{found.resident_bytes / 1e6:.1f}",
                seen.calls,
                f"{seen.sent_s:.2f}",
                f"{seen.received_s:.2f}",
                f"{seen.lost_s:g}",
                *(seen.missing, seen.broken),
            )
        )
    return lines


async def _soaked(bench: Bench, calls: int, minutes: float) -> list[Stretch]:
    await bench.warm_up()
    load = bench.load(random_lengths=True)
    load.begin(calls)
    try:
        await asyncio.sleep(_SETTLE_S)
        parts = max(2, min(12, round(minutes)))
        return [await bench.measure(load, calls, minutes * 60 / parts) for _ in range(parts)]
    finally:
        await load.leave()


def hostile(bench: Bench, seconds: float) -> list[str]:
    """Good calls alone, beside hostile connections, and alone again."""
    with bench.server.running({}, max_calls=GOOD_BESIDE_HOSTILE + 10 * HOSTILE):
        found, made = _run(_beset(bench, seconds))
    lines = [
        "",
        f"## {GOOD_BESIDE_HOSTILE} calls beside {HOSTILE} hostile connections",
        "",
        row(
            *("beside them", "lag p50 ms", "lag p99 ms", "server, cores", "MB resident"),
            *("missing", "broken", "lost s"),
        ),
        row(*["---"] * 8),
    ]
    for name, stretch in found.items():
        seen = stretch.observed
        lines.append(
            row(
                name,
                f"{stretch.lag_ms(0.5):.0f}",
                f"{stretch.lag_ms(0.99):.0f}",
                f"{stretch.server:.2f}",
                f"{stretch.resident_bytes / 1e6:.1f}",
                *(seen.missing, seen.broken),
                f"{seen.lost_s:g}",
            )
        )
    told = ", ".join(f"{count} x {name}" for name, count in sorted(made.items()))
    return [*lines, "", f"Hostile connections made in that time: {told}."]


async def _beset(bench: Bench, seconds: float) -> tuple[dict[str, Stretch], dict[str, int]]:
    await bench.warm_up()
    load, calls = bench.load(), GOOD_BESIDE_HOSTILE
    load.begin(calls)
    made: dict[str, int] = {}
    try:
        await asyncio.sleep(_SETTLE_S)
        found = {"nothing": await bench.measure(load, calls, seconds)}
        foes = [
            asyncio.create_task(_harass(bench.server, number, made)) for number in range(HOSTILE)
        ]
        found["hostile connections"] = await bench.measure(load, calls, seconds)
        for foe in foes:
            foe.cancel()
        await asyncio.gather(*foes, return_exceptions=True)
        await asyncio.sleep(2)
        found["nothing, afterwards"] = await bench.measure(load, calls, seconds)
    finally:
        await load.leave()
    return found, made


async def _harass(server: Server, number: int, made: dict[str, int]) -> None:
    """One hostile peer; where its connection is ended, it comes back."""
    ways = (_garbage, _oversize, _half_open, _slow, _deaf)
    way = ways[number % len(ways)]
    dice = random.Random(number)  # noqa: S311 - noise
    while True:
        name = (way.__doc__ or "").rstrip(".").lower()
        made[name] = made.get(name, 0) + 1
        writer: asyncio.StreamWriter | None = None
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            await way(server, dice, reader, writer)
        except OSError:
            pass  # as it should be
        finally:
            if writer is not None:
                writer.transport.abort()
        await asyncio.sleep(0.2)


async def _garbage(
    _: Server, dice: random.Random, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Garbage."""
    writer.write(dice.randbytes(20_000))
    await writer.drain()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(5):
            await reader.read()


async def _oversize(
    server: Server, _: random.Random, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Message of 2 MB on a call."""
    await _open(server, reader, writer)
    writer.write(callers.masked(2, bytes(2_000_000)))
    await writer.drain()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(5):
            await reader.read()
    await asyncio.sleep(2)


async def _half_open(
    _: Server, __: random.Random, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Handshake that stops half way."""
    writer.write(b"GET /v1/audio/x HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgr")
    await reader.read()


async def _slow(
    _: Server, __: random.Random, ___: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Handshake of a byte at a time."""
    for byte in callers.handshake("/v1/audio/x" + "y" * 4000, 1):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.1)


async def _deaf(
    server: Server, dice: random.Random, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Call that reads nothing."""
    await _open(server, reader, writer)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    for _ in range(3000):
        writer.write(callers.masked(2, dice.randbytes(CALL_RATE_HZ // 10)))
        await writer.drain()
        await asyncio.sleep(0.1)


async def _open(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    url = await asyncio.to_thread(server.start_session, 0)
    writer.write(callers.handshake(callers.path_of(url), server.port))
    await reader.readuntil(b"\r\n\r\n")


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Help)
    modes = parser.add_argument_group(
        "modes", "what is measured; by default all but the soak, one after the other"
    )
    modes.add_argument("--capacity", action="store_true", help="calls at a time against lag")
    modes.add_argument("--stages", action="store_true", help="what a second of a call costs")
    modes.add_argument("--batches", action="store_true", help="windows of inference run together")
    modes.add_argument("--hostile", action="store_true", help="good calls beside hostile peers")
    modes.add_argument(
        "--soak", action="store_true", help=f"for --minutes at {SOAK_SHARE:.0%}% of the largest"
    )
    parser.add_argument(
        "--calls", type=int, nargs="+", default=CALLS, help="numbers to try, rising"
    )
    parser.add_argument(
        "--largest", type=int, help="take this for the largest number instead of looking for it"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="measured for each row")
    parser.add_argument("--minutes", type=float, default=60.0, help="of the soak")
    arguments = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as folder:
            for line in _report(Bench(Path(folder), arguments)):
                print(line, flush=True)
    except BenchFailed as error:
        print(error, file=sys.stderr)
        return 1
    return 0


class _Help(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    pass


def _report(bench: Bench) -> Iterator[str]:
    given, seconds = bench.arguments, bench.arguments.seconds
    alone = given.capacity or given.stages or given.batches or given.hostile or given.soak
    yield "# Calls at a time"
    yield ""
    yield f"- made by: `{' '.join(['python -m bench.load', *sys.argv[1:]])}`"
    yield f"- commit: {provenance.commit()}"
    yield (
        f"- machine: {provenance.machine()}; server and callers share it; "
        f"load average before: {os.getloadavg()[0]:.1f}"
    )
    yield f"- models: {bench.models.model}, {bench.models.spoof_model}"
    yield (
        f"- calls of {callers.CALL_S:g} s, begun at random moments, each followed by the next at "
        f"once; mu-law, {1000 * callers.MESSAGE_S:g} ms a message; {bench.source}; callers "
        f"enrolled; {FRAUDSTERS} fraudsters on the watchlist; {seconds:g} s measured for each row"
    )
    yield (
        "- lag: from the moment at which the last sample that a decision needs was due, to its "
        "result being with the client; the server waits for up to 0.25 s of it by design"
    )
    largest, stretch = given.largest, None
    if given.capacity or not alone:
        lines, stretch = capacity(bench, given.calls, seconds)
        yield from lines
        largest = stretch.calls if stretch is not None else None
    if largest is None:
        largest = min(given.calls)
    if given.stages or not alone:
        yield from stages(bench, stretch or bench.run(largest, seconds))
    if given.batches or not alone:
        yield from batches(bench)
    if given.hostile or not alone:
        yield from hostile(bench, seconds)
    if given.soak:
        yield from soak(bench, round(SOAK_SHARE * largest), given.minutes)


def _run(measuring: Any) -> Any:  # noqa: ANN401 - a coroutine and what it gives
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(measuring)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


if __name__ == "__main__":
    sys.exit(main())
