"""How fast the server answers on one core: `python -m bench.api > bench/results/api.md`.

The server is held to one core, the load comes from another. Beside it, on the same core and in
turns, moto's server answers a comparable call: EventBridge's DescribeEventBus, the fastest of
those tried (KMS DescribeKey, SSM GetParameter, EventBridge DescribeEventBus). moto ends every
connection after one answer, so its clients connect anew each time. Neither logs requests.

Requests are signed before the clock runs, each with a speaker or session of its own.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import math
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import boto3
import numpy as np
import uvloop
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from bench.markdown import row
from training import provenance
from vivavoce.api.description import data_path
from vivavoce.audio.arrays import CALL_RATE_HZ
from vivavoce.foundation import open_data
from vivavoce.ids import generated_id
from vivavoce.models.engines import load_models
from vivavoce.models.registry import models_folder
from vivavoce.settings import read_settings
from vivavoce.store.records import Evidence, Speaker, Voiceprint
from vivavoce.store.store import Store, Transaction

SERVER_CORE, LOAD_CORE = 0, 1
MOTO = "moto DescribeEventBus"
OPEN_LOOP_HZ = 200
CONNECTIONS = 8
POOL = 4000
SESSIONS = 500
PAGE_SIZE = 100
_BATCH = 5000
_START_S = 60.0
_REGION = "us-east-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A server, and whom requests to it are signed for."""

    port: int
    access_key_id: str
    secret: str
    service: str
    media_type: str

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one run showed.

    Attributes:
        per_s: answers a second.
        latencies_ms: sorted.
    """

    per_s: float
    latencies_ms: list[float]

    def quantile_ms(self, share: float) -> float:
        """The latency that this share of the answers is within (nearest rank)."""
        rank = max(1, math.ceil(share * len(self.latencies_ms)))
        return self.latencies_ms[rank - 1]


class BenchFailed(Exception):
    """The run cannot be reported."""


class _Connection(asyncio.Protocol):
    """One HTTP/1.1 connection with at most one request under way."""

    def __init__(self) -> None:
        self._answered: asyncio.Future[bool] | None = None
        self._heard = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._heard += data
        end = self._heard.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._heard[:end].lower()
        _, _, rest = head.partition(b"content-length:")
        if len(self._heard) < end + 4 + int(rest.split(b"\r\n", 1)[0]):
            return
        if self._answered is None:
            return
        if head.startswith(b"http/1.1 200"):
            self._answered.set_result(b"connection: close" not in head)
        else:
            self._answered.set_exception(BenchFailed(self._heard.decode(errors="replace")))
        self._heard = b""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(BenchFailed("a connection broke under a request"))

    async def ask(self, request: bytes) -> bool:
        """Whether the connection stays open after the answer."""
        self._answered = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._answered


class _Caller:
    """Asks over one connection, anew wherever the server ended the one before."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: _Connection | None = None

    async def ask(self, request: bytes) -> None:
        if self._connection is None:
            loop = asyncio.get_running_loop()
            _, self._connection = await loop.create_connection(_Connection, "127.0.0.1", self._port)
        if not await self._connection.ask(request):
            self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.transport.close()
            self._connection = None


async def closed_loop(
    port: int, requests: Sequence[bytes], *, connections: int, seconds: float
) -> Measured:
    """As many answers as there can be: each caller asks again once it was answered."""
    supply = itertools.cycle(requests)
    latencies_ms: list[float] = []
    begun = time.perf_counter()

    async def call() -> None:
        caller = _Caller(port)
        while (asked := time.perf_counter()) < begun + seconds:
            await caller.ask(next(supply))
            latencies_ms.append((time.perf_counter() - asked) * 1000)
        caller.close()

    await asyncio.gather(*(call() for _ in range(connections)))
    per_s = len(latencies_ms) / (time.perf_counter() - begun)
    return Measured(per_s=per_s, latencies_ms=sorted(latencies_ms))


async def open_loop(
    port: int, requests: Sequence[bytes], *, rate_hz: float, seconds: float
) -> Measured:
    """Requests at random moments, at a rate that does not heed the answers.

    A latency counts from the moment at which the request was due, so that a server that stalls is
    charged for everybody who would have come meanwhile.
    """
    supply = itertools.cycle(requests)
    idle: list[_Caller] = []
    latencies_ms: list[float] = []
    dice = random.Random(1)  # noqa: S311 - arrival times
    begun = time.perf_counter()

    async def call(due: float) -> None:
        caller = idle.pop() if idle else _Caller(port)
        await caller.ask(next(supply))
        latencies_ms.append((time.perf_counter() - due) * 1000)
        idle.append(caller)

    due = begun
    async with asyncio.TaskGroup() as tasks:
        while (due := due + dice.expovariate(rate_hz)) < begun + seconds:
            await asyncio.sleep(due - time.perf_counter())
            tasks.create_task(call(due))
    per_s = len(latencies_ms) / (time.perf_counter() - begun)
    for caller in idle:
        caller.close()
    return Measured(per_s=per_s, latencies_ms=sorted(latencies_ms))


def signed(target: Target, operation: str, members: dict[str, Any]) -> bytes:
    """A request as it goes over the wire; good for five minutes."""
    body = json.dumps(members).encode()
    headers = {"Content-Type": target.media_type, "X-Amz-Target": operation}
    request = AWSRequest("POST", f"{target.url}/", data=body, headers=headers)
    credentials = Credentials(target.access_key_id, target.secret)
    SigV4Auth(credentials, target.service, _REGION).add_auth(request)
    # What a client sends beside that.
    told = {
        "Host": f"127.0.0.1:{target.port}",
        "User-Agent": "Boto3/1.44.5 md/Botocore#1.44.5 ua/2.1 os/linux md/arch#x86_64",
        "amz-sdk-request": "attempt=1",
        "Content-Length": str(len(body)),
        **dict(request.headers.items()),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return f"POST / HTTP/1.1\r\n{head}\r\n".encode() + body


@contextlib.contextmanager
def served(command: Sequence[str], ready_url: str, log: Path) -> Generator[None]:
    """A server in a process of its own, held to its core."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    os.sched_setaffinity(process.pid, {SERVER_CORE})
    try:
        until = time.monotonic() + _START_S
        while not _answers(ready_url):
            if process.poll() is not None or time.monotonic() > until:
                raise BenchFailed(f"{command[0]} did not start:\n{log.read_text()}")
            time.sleep(0.1)
        # Threads that were there before the affinity was set keep their own.
        for thread in Path(f"/proc/{process.pid}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):  # some end by themselves
                os.sched_setaffinity(int(thread.name), {SERVER_CORE})
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - our own
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


class World:
    """A domain with its speakers, and sessions that were decided on."""

    def __init__(self, target: Target, folder: Path, *, speakers: int) -> None:
        os.environ["AWS_DATA_PATH"] = str(data_path())
        self.client: Any = boto3.client(
            "voice-id",
            endpoint_url=target.url,
            region_name=_REGION,
            aws_access_key_id=target.access_key_id,
            aws_secret_access_key=target.secret,
            config=Config(retries={"total_max_attempts": 1}),
        )
        made = self.client.create_domain(
            Name="bench", ServerSideEncryptionConfiguration={"KmsKeyId": "alias/bench"}
        )
        self.domain_id: str = made["Domain"]["DomainId"]
        self.speakers = speakers
        with open_data(folder) as store:
            self._add_speakers(store)
            self.sessions = self._add_sessions(store)

    def _add_speakers(self, store: Store) -> None:
        def add(tx: Transaction, numbers: range) -> None:
            for number in numbers:
                tx.speakers.add(
                    Speaker(
                        speaker_id=generated_id(),
                        domain_id=self.domain_id,
                        customer_id=f"caller-{number}",
                        status="PENDING",
                        created_ms=number,
                        updated_ms=number,
                        last_accessed_ms=None,
                    )
                )

        for first in range(0, self.speakers, _BATCH):
            numbers = range(first, min(first + _BATCH, self.speakers))
            store.write_now(lambda tx, numbers=numbers: add(tx, numbers))

    def _add_sessions(self, store: Store) -> list[str]:
        """Sessions whose caller said enough, as the live audio would leave them."""
        settings = read_settings({})
        models = load_models(
            models_folder(settings.models_dir),
            speaker=settings.speaker_model,
            spoof=settings.spoof_model,
        )
        noise = np.random.default_rng(3).integers(-3000, 3000, 10 * CALL_RATE_HZ, np.int16)
        # Anything that is like itself.
        voice, spoof = models.embed(noise), models.spoof_evidence(noise)
        now_ms = int(time.time() * 1000)
        names = [f"contact-{number}" for number in range(min(SESSIONS, self.speakers))]
        for number, name in enumerate(names):
            self.client.start_session(
                DomainId=self.domain_id, SessionName=name, SpeakerId=f"caller-{number}"
            )

        def speak(tx: Transaction) -> None:
            for number, name in enumerate(names):
                session = tx.sessions.get(self.domain_id, name)
                speaker = tx.speakers.get(self.domain_id, f"caller-{number}")
                tx.voiceprints.put(
                    Voiceprint(
                        owner_id=speaker.speaker_id,
                        domain_id=self.domain_id,
                        model=models.model,
                        vector=voice,
                        created_ms=now_ms,
                    ),
                    speech=np.zeros(8000, np.int16),
                )
                tx.speakers.set_status(speaker.speaker_id, "ENROLLED", now_ms=now_ms)
                tx.evidence.put(
                    Evidence(
                        session_id=session.session_id,
                        stream_number=session.stream_number,
                        number=1,
                        net_speech_s=12.0,
                        started_ms=now_ms - 20_000,
                        ended_ms=now_ms,
                        model=models.model,
                        vector=voice,
                        spoof=spoof,
                    ),
                    domain_id=self.domain_id,
                )
                tx.sessions.update(
                    session,
                    streaming_status="ENDED",
                    ended_ms=now_ms,
                    net_speech_s=12.0,
                    updated_ms=now_ms,
                )

        store.write_now(speak)
        for name in names:
            told = self.client.evaluate_session(DomainId=self.domain_id, SessionNameOrId=name)
            if told["AuthenticationResult"]["Decision"] != "ACCEPT":
                raise BenchFailed(f"a session was not accepted: {told}")
        return names


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--speakers", type=int, default=100_000, help="in the domain")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each turn (default 5)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each server (default 5)")
    arguments = parser.parse_args()
    if not {SERVER_CORE, LOAD_CORE} <= os.sched_getaffinity(0):
        print("two cores are needed: one for the server, one for the load", file=sys.stderr)
        return 1
    os.sched_setaffinity(0, {LOAD_CORE})
    try:
        with tempfile.TemporaryDirectory() as folder:
            lines = list(_report(Path(folder), arguments))
    except BenchFailed as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


def _report(folder: Path, arguments: argparse.Namespace) -> Iterator[str]:
    rounds, seconds = arguments.rounds, arguments.seconds
    data = folder / "data"
    port, moto_port = _free_port(), _free_port()
    serve = [
        *(sys.executable, "-m", "vivavoce", "serve", "--host", "127.0.0.1"),
        *("--port", str(port), "--data-dir", str(data)),
    ]
    # As `moto_server` does, without a line of log for every request.
    quiet = "import logging, sys; logging.disable(); from moto.server import main; main()"
    moto = [sys.executable, "-c", quiet, "-H", "127.0.0.1", "-p", str(moto_port)]
    ready = f"http://127.0.0.1:{port}/readyz"
    with (
        served(serve, ready, folder / "server.log"),
        served(moto, f"http://127.0.0.1:{moto_port}/moto-api/", folder / "moto.log"),
    ):
        ours = _target_of(port, data)
        theirs = Target(
            port=moto_port,
            access_key_id="AKIABENCHBENCHBENCH0",
            secret="not-checked",  # noqa: S106 - moto checks no signature
            service="events",
            media_type="application/x-amz-json-1.1",
        )
        world = World(ours, data, speakers=arguments.speakers)

        def describe_bus() -> list[bytes]:
            return [signed(theirs, "AWSEvents.DescribeEventBus", {"Name": "default"})]

        yield from _head(arguments)
        own = _askings(ours, world)
        yield from _rates(
            {**own, MOTO: _Asking(port=moto_port, sign=describe_bus)}, rounds, seconds
        )
        yield from _latencies(own, rounds, seconds)
        yield from _pages(world, rounds)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asking:
    """What is asked of whom; signed afresh for every turn, as signatures go stale."""

    port: int
    sign: Callable[[], list[bytes]]


def _askings(target: Target, world: World) -> dict[str, _Asking]:
    dice = random.Random(2)  # noqa: S311 - which speakers

    def speakers() -> list[bytes]:
        numbers = dice.sample(range(world.speakers), min(POOL, world.speakers))
        return [
            signed(
                target,
                "VoiceID.DescribeSpeaker",
                {"DomainId": world.domain_id, "SpeakerId": f"caller-{number}"},
            )
            for number in numbers
        ]

    def sessions() -> list[bytes]:
        return [
            signed(
                target,
                "VoiceID.EvaluateSession",
                {"DomainId": world.domain_id, "SessionNameOrId": name},
            )
            for name in world.sessions
        ]

    return {
        "DescribeSpeaker": _Asking(port=target.port, sign=speakers),
        "EvaluateSession": _Asking(port=target.port, sign=sessions),
    }


def _head(arguments: argparse.Namespace) -> Iterator[str]:
    yield "# Requests a second, and how long they take"
    yield ""
    yield f"- made by: `{' '.join(['python -m bench.api', *sys.argv[1:]])}`"
    yield f"- commit: {provenance.commit()}"
    yield f"- machine: {provenance.machine()}; server on one core, load on another"
    yield (
        f"- {arguments.speakers} speakers in the domain, added through the store; {SESSIONS} "
        "sessions with a decision that was given out before"
    )
    yield (
        "- signed requests over kept connections; moto is asked EventBridge's DescribeEventBus "
        "and ends each connection itself"
    )


def _rates(askings: dict[str, _Asking], rounds: int, seconds: float) -> Iterator[str]:
    yield ""
    yield f"## Most requests a second, {CONNECTIONS} connections, servers in turns"
    yield ""
    yield row(
        *("operation", "turns x s", "answers", "a second (least..most)", "p50 ms", "p99 ms"),
        "x moto (least..most turn)",
    )
    yield row(*["---"] * 7)
    runs: dict[str, list[Measured]] = {name: [] for name in askings}
    for number in range(-1, rounds):  # the first turn warms up
        for name, asking in askings.items():
            measuring = closed_loop(
                asking.port, asking.sign(), connections=CONNECTIONS, seconds=seconds
            )
            found = _run(measuring, name)
            if number >= 0:
                runs[name].append(found)
    for name, found in runs.items():
        rates = [run.per_s for run in found]
        ratios = [run.per_s / other.per_s for run, other in zip(found, runs[MOTO], strict=True)]
        pooled = _pooled(found)
        yield row(
            name,
            f"{rounds} x {seconds:g}",
            len(pooled.latencies_ms),
            f"{np.median(rates):.0f} ({min(rates):.0f}..{max(rates):.0f})",
            f"{pooled.quantile_ms(0.5):.2f}",
            f"{pooled.quantile_ms(0.99):.2f}",
            f"{np.median(ratios):.1f} ({min(ratios):.1f}..{max(ratios):.1f})",
        )


def _latencies(askings: dict[str, _Asking], rounds: int, seconds: float) -> Iterator[str]:
    yield ""
    yield f"## At {OPEN_LOOP_HZ} requests a second, at random moments"
    yield ""
    yield "A latency counts from the moment at which the request was due."
    yield ""
    yield "| operation | turns x s | answers | p50 ms | p99 ms (least..most turn) | p99.9 ms |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for name, asking in askings.items():
        found = [
            _run(
                open_loop(asking.port, asking.sign(), rate_hz=OPEN_LOOP_HZ, seconds=2 * seconds),
                name,
            )
            for _ in range(rounds)
        ]
        pooled = _pooled(found)
        p99s = [run.quantile_ms(0.99) for run in found]
        yield row(
            name,
            f"{rounds} x {2 * seconds:g}",
            len(pooled.latencies_ms),
            f"{pooled.quantile_ms(0.5):.2f}",
            f"{pooled.quantile_ms(0.99):.2f} ({min(p99s):.2f}..{max(p99s):.2f})",
            f"{pooled.quantile_ms(0.999):.2f}",
        )


def _pages(world: World, rounds: int) -> Iterator[str]:
    """Every page of ListSpeakers, in groups by where it is."""
    took_ms: list[list[float]] = []
    for _ in range(rounds):
        token: dict[str, str] = {}
        walk: list[float] = []
        while True:
            members = {"DomainId": world.domain_id, "MaxResults": PAGE_SIZE, **token}
            begun = time.perf_counter()
            page = world.client.list_speakers(**members)
            walk.append((time.perf_counter() - begun) * 1000)
            if "NextToken" not in page:
                break
            token = {"NextToken": page["NextToken"]}
        took_ms.append(walk)
    count = len(took_ms[0])
    tenth = max(1, count // 10)
    parts = {
        "the first tenth": slice(0, tenth),
        "the middle tenth": slice(count // 2 - tenth // 2, count // 2 - tenth // 2 + tenth),
        "the last tenth": slice(count - tenth, count),
    }
    yield ""
    yield f"## ListSpeakers, pages of {PAGE_SIZE}, through boto3 (its own time included)"
    yield ""
    yield "| pages | requests | p50 ms | p99 ms |"
    yield "| --- | --- | --- | --- |"
    for name, part in parts.items():
        times = sorted(took for walk in took_ms for took in walk[part])
        found = Measured(per_s=0, latencies_ms=times)
        yield row(
            f"{name} of {count}",
            len(times),
            f"{found.quantile_ms(0.5):.2f}",
            f"{found.quantile_ms(0.99):.2f}",
        )


def _run(measuring: Any, name: str) -> Measured:  # noqa: ANN401 - a coroutine
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found: Measured = runner.run(measuring)
    print(f"{name}: {found.per_s:.0f}/s", file=sys.stderr, flush=True)
    return found


def _pooled(runs: Sequence[Measured]) -> Measured:
    latencies = sorted(latency for run in runs for latency in run.latencies_ms)
    return Measured(per_s=float(np.median([run.per_s for run in runs])), latencies_ms=latencies)


def _target_of(port: int, data: Path) -> Target:
    text = (data / "credentials").read_text(encoding="ascii")
    pairs = dict(line.split(" = ") for line in text.splitlines() if " = " in line)
    return Target(
        port=port,
        access_key_id=pairs["aws_access_key_id"],
        secret=pairs["aws_secret_access_key"],
        service="voiceid",
        media_type="application/x-amz-json-1.0",
    )


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


if __name__ == "__main__":
    sys.exit(main())
