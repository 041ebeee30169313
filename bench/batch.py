"""Batch enrolment: `python -m bench.batch > bench/results/batch.md`.

A server of its own, a folder of recordings, and jobs that enrol a speaker from each. Prints
Markdown: how many hours of recordings an hour and entries a second; where the time goes; whether
rate and memory stay the same over a long job; and whether a job whose server is killed again and
again comes to the same output as one that was left alone.
"""

import argparse
import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import soundfile
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from bench import callers
from bench.callers import usage_of
from bench.markdown import row
from training import provenance
from vivavoce.api.description import data_path
from vivavoce.audio.arrays import CALL_RATE_HZ, Samples
from vivavoce.audio.recording import iter_recording
from vivavoce.call.machine import ENROLLMENT_SAMPLES
from vivavoce.call.speech import SpeechCollector
from vivavoce.models.engines import Models, load_models
from vivavoce.models.registry import models_folder
from vivavoce.settings import read_settings

_ROLE = "arn:aws:iam::000000000000:role/bench"
_ENDED = {"COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED"}
_START_S = 60.0
_POLL_S = 1.0
_AGENT_S = 6.0
"""Silence of the customer between two things that are said: the agent speaks."""


_HOW_THROUGHPUT = (
    "The processes for it are started within that time. *Hours of recordings* are those of whole "
    "recordings; no more of each is heard than an enrolment takes."
)
_HOW_STAGES = (
    "CPU. Of one process that hears, on each recording, measured alone; and of the server's own "
    "process, in the job above."
)


class BenchFailed(Exception):
    """The run cannot be reported."""


@dataclass(slots=True, kw_only=True)
class Sample:
    """How far a job was at a moment."""

    at_s: float
    entries: int
    cpu_s: float
    own_s: float  # of that, the server's own process
    resident_bytes: int


class Server:
    """`vivavoce serve` with a folder of objects."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.bucket = self.data / "objects" / "bench"
        self.bucket.mkdir(parents=True)
        self.log = folder / "server.log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it is ready."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "vivavoce", "serve", "--port", str(self.port)),
                    *("--data-dir", str(self.data)),
                ],
                env={**os.environ, "VIVAVOCE_LOG_LEVEL": "warning"},
                stdout=log,
                stderr=log,
            )
        until_s = time.monotonic() + _START_S
        while time.monotonic() < until_s:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5).close()
                return
            time.sleep(0.05)
        raise BenchFailed(self.log.read_text(encoding="utf-8"))

    def end(self, how: signal.Signals) -> None:
        """Stop it, or kill it."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(60)
            self.process = None

    def client(self) -> Any:  # noqa: ANN401 - boto3 has no types
        """boto3's client on it."""
        os.environ["AWS_DATA_PATH"] = str(data_path())
        os.environ["AWS_SHARED_CREDENTIALS_FILE"] = str(self.data / "credentials")
        return boto3.Session().client(
            "voice-id",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name="us-east-1",
            config=Config(retries={"total_max_attempts": 1}),
        )


@contextlib.contextmanager
def serving(recordings: Mapping[str, Samples]) -> Generator[Server]:
    """A server with these recordings in its bucket, and a domain."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        for name, samples in recordings.items():
            soundfile.write(server.bucket / name, samples, CALL_RATE_HZ)
        server.start()
        try:
            yield server
        finally:
            server.end(signal.SIGTERM)


def new_domain(server: Server) -> str:
    """A domain."""
    made = server.client().create_domain(
        Name="bench", ServerSideEncryptionConfiguration={"KmsKeyId": "alias/bench"}
    )
    return made["Domain"]["DomainId"]


def submit(server: Server, domain_id: str, names: Sequence[str], entries: int) -> str:
    """Start a job that enrols so many speakers; gives its id."""
    requests = [
        {
            "RequestId": f"r{number}",
            "SpeakerId": f"customer-{number}",
            "AudioSpecifications": [{"S3Uri": f"s3://bench/{name}", "ChannelId": 0}],
        }
        for number, name in zip(range(entries), itertools.cycle(names), strict=False)
    ]
    document = {"Version": "1.0", "SpeakerEnrollmentRequests": requests}
    (server.bucket / "manifest.json").write_text(json.dumps(document), encoding="utf-8")
    job = server.client().start_speaker_enrollment_job(
        DomainId=domain_id,
        DataAccessRoleArn=_ROLE,
        InputDataConfig={"S3Uri": "s3://bench/manifest.json"},
        OutputDataConfig={"S3Uri": "s3://bench/results"},
    )["Job"]
    return job["JobId"]


def watch(
    server: Server,
    domain_id: str,
    job_id: str,
    entries: int,
    *,
    on_poll: Callable[[float], None] = lambda _percent: None,
) -> list[Sample]:
    """Look now and then until the job has ended; the state may be seen in percent alone."""
    seen: list[Sample] = []
    client = server.client()
    until_s = time.monotonic() + _START_S
    while True:
        try:
            job = client.describe_speaker_enrollment_job(DomainId=domain_id, JobId=job_id)["Job"]
        except (BotoCoreError, ClientError):
            if time.monotonic() > until_s:
                raise
            time.sleep(_POLL_S)
            client = server.client()
            continue
        until_s = time.monotonic() + _START_S
        percent = job["JobProgress"]["PercentComplete"]
        if server.process is not None:
            used = usage_of(server.process.pid, time.monotonic())
            seen.append(
                Sample(
                    at_s=used.at_s,
                    entries=entries * percent // 100,
                    cpu_s=used.cpu_s,
                    own_s=used.cpu_s - used.children_s,
                    resident_bytes=used.resident_bytes,
                )
            )
        if job["JobStatus"] in _ENDED:
            if job["JobStatus"] == "FAILED":
                raise BenchFailed(str(job["FailureDetails"]))
            return seen
        on_poll(percent)
        time.sleep(_POLL_S)


def output(server: Server, job_id: str) -> dict[str, Any]:
    """What the job has written."""
    path = server.bucket / "results" / job_id / "manifest.json.out"
    return json.loads(path.read_text(encoding="utf-8"))


def essence(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What must be the same in two runs: all but the generated ids, in order."""
    successes = document["SuccessfulEnrollments"]
    return [(each["RequestId"], each["EnrollmentStatus"]) for each in successes] + [
        (each["RequestId"], each["ErrorMessage"]) for each in document["Errors"]
    ]


def throughput(recordings: Mapping[str, Samples], entries: int) -> tuple[list[str], float]:
    """How fast a job is; and the CPU of the server's own process for an entry, in seconds."""
    _say(f"throughput: {entries} entries")
    lengths = [len(samples) / CALL_RATE_HZ for samples in recordings.values()]
    audio_s = sum(
        length for length, _ in zip(itertools.cycle(lengths), range(entries), strict=False)
    )
    with serving(recordings) as server:
        domain_id = new_domain(server)
        watch(server, domain_id, submit(server, domain_id, list(recordings), 4), 4)
        domain_id = new_domain(server)
        began_s = time.monotonic()
        job_id = submit(server, domain_id, list(recordings), entries)
        seen = watch(server, domain_id, job_id, entries)
        took_s = time.monotonic() - began_s
        document = output(server, job_id)
    # At the end the processes are gone, and with them what they have used.
    busiest = max(seen, key=lambda sample: sample.cpu_s)
    cores = (busiest.cpu_s - seen[0].cpu_s) / max(busiest.at_s - seen[0].at_s, _POLL_S)
    why = Counter(error["ErrorMessage"].partition(" (risk")[0] for error in document["Errors"])
    own_s = (seen[-1].own_s - seen[0].own_s) / entries
    lines = [
        "",
        "## Throughput",
        "",
        row(
            *("entries", "enrolled", "hours of recordings", "took s", "times real time"),
            *("entries a second", "cores"),
        ),
        row(*["---"] * 7),
        row(
            entries,
            len(document["SuccessfulEnrollments"]),
            f"{audio_s / 3600:.2f}",
            f"{took_s:.1f}",
            f"{audio_s / took_s:.0f}",
            f"{entries / took_s:.2f}",
            f"{cores:.2f}",
        ),
        "",
        _HOW_THROUGHPUT,
        "",
        *(f"- not enrolled, {count}: {message}" for message, count in why.most_common()),
    ]
    return lines, own_s


def stages(models: Models, recordings: Mapping[str, Samples], *, own_s: float) -> list[str]:
    """Where the time of an entry goes.

    Args:
        models: what hears.
        recordings: what is heard.
        own_s: CPU of the server's own process for an entry, in seconds.
    """
    _say("stages")
    spent: dict[str, float] = dict.fromkeys(
        ("decode", "voice activity", "encoder", "spoof detector"), 0.0
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, samples in recordings.items():
            path = Path(folder) / name
            soundfile.write(path, samples, CALL_RATE_HZ)
            began_s = time.process_time()
            blocks = [
                block[start : start + CALL_RATE_HZ]
                for block in iter_recording(path)
                for start in range(0, len(block), CALL_RATE_HZ)
            ]
            decoded_s = time.process_time()
            collector, found = SpeechCollector(models.new_detector()), list[Samples]()
            for block in blocks:
                found += [speech.samples for speech in collector.push(block)]
                if sum(map(len, found)) >= ENROLLMENT_SAMPLES:
                    break
            heard_s = time.process_time()
            speech = np.concatenate(found)[:ENROLLMENT_SAMPLES]
            models.hear(speech, {})
            encoded_s = time.process_time()
            models.spoof_evidence(speech)
            for stage, took_s in zip(
                spent,
                (
                    decoded_s - began_s,
                    heard_s - decoded_s,
                    encoded_s - heard_s,
                    time.process_time() - encoded_s,
                ),
                strict=True,
            ):
                spent[stage] += took_s
    spent["database, events, manifest: the server's own process"] = own_s * len(recordings)
    total = sum(spent.values())
    return [
        "",
        "## Where the time of an entry goes",
        "",
        _HOW_STAGES,
        "",
        row("stage", "ms an entry", "share"),
        row(*["---"] * 3),
        *(
            row(stage, f"{1000 * took_s / len(recordings):.1f}", f"{took_s / total:.0%}")
            for stage, took_s in spent.items()
        ),
    ]


def long_job(recordings: Mapping[str, Samples], entries: int) -> list[str]:
    """Whether rate and memory stay what they are."""
    _say(f"one job of {entries} entries")
    with serving(recordings) as server:
        domain_id = new_domain(server)
        job_id = submit(server, domain_id, list(recordings), entries)
        seen = watch(
            server,
            domain_id,
            job_id,
            entries,
            on_poll=lambda percent: _say(f"{percent} %") if percent % 10 == 0 else None,
        )
        document = output(server, job_id)
    lines = [
        "",
        f"## One job of {entries} entries",
        "",
        row("part", "entries a second", "MB resident, server and its processes"),
        row(*["---"] * 3),
    ]
    for tenth in range(10):
        low, high = entries * tenth // 10, entries * (tenth + 1) // 10
        part = [sample for sample in seen if low <= sample.entries <= high]
        if len(part) < 2:
            continue
        rate = (part[-1].entries - part[0].entries) / (part[-1].at_s - part[0].at_s)
        resident = np.median([sample.resident_bytes for sample in part]) / 1e6
        lines.append(row(f"{tenth * 10} to {tenth * 10 + 10} %", f"{rate:.2f}", f"{resident:.0f}"))
    found = [request_id for request_id, _ in essence(document)]
    is_complete = sorted(found) == sorted(f"r{number}" for number in range(entries))
    lines += ["", f"Output: {len(found)} entries, each of them once: {_yes(is_complete)}."]
    return lines


def killed_job(recordings: Mapping[str, Samples], entries: int, kills: int) -> list[str]:
    """Whether kills show in the output."""
    _say(f"{entries} entries, left alone, then killed {kills} times")
    names = list(recordings)
    with serving(recordings) as server:
        domain_id = new_domain(server)
        job_id = submit(server, domain_id, names, entries)
        watch(server, domain_id, job_id, entries)
        expected = essence(output(server, job_id))
    points = np.sort(np.random.default_rng(5).uniform(0, 100, kills))
    with serving(recordings) as server:
        domain_id = new_domain(server)
        job_id = submit(server, domain_id, names, entries)
        done = 0

        def kill(percent: float) -> None:
            nonlocal done
            if done < kills and (percent >= points[done] or percent >= 95):
                server.end(signal.SIGKILL)
                server.start()
                done += 1

        watch(server, domain_id, job_id, entries, on_poll=kill)
        got = essence(output(server, job_id))
        speakers = sum(
            len(page["SpeakerSummaries"])
            for page in server.client().get_paginator("list_speakers").paginate(DomainId=domain_id)
        )
    return [
        "",
        "## Killed on the way",
        "",
        f"{entries} entries; the server was killed {done} times and started again.",
        "",
        f"- output as that of a job left alone, but for generated ids: {_yes(got == expected)}",
        f"- speakers in the domain: {speakers}",
    ]


def prepare(models: Models) -> dict[str, Samples]:
    """Recordings: what the callers of `bench.load` say, with the agent's turns as silence."""
    calls, source = callers.recordings(models)
    _say(f"recordings: {source}")
    found: dict[str, Samples] = {}
    for number, call in enumerate(calls):
        step = round(_AGENT_S * CALL_RATE_HZ)
        turns = [call.samples[start : start + step] for start in range(0, len(call.samples), step)]
        silence = np.zeros(step, np.int16)
        parts = [part for turn in turns for part in (turn, silence)]
        found[f"{number}.wav"] = np.concatenate([*parts, *parts[:4]])
    return found


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entries", type=int, default=400, help="of the job for the throughput")
    parser.add_argument("--long", type=int, default=10_000, help="entries of the long job; 0: none")
    parser.add_argument(
        "--killed", type=int, default=1000, help="entries of the job that is killed"
    )
    parser.add_argument("--kills", type=int, default=10)
    arguments = parser.parse_args()
    settings = read_settings({})
    models = load_models(
        models_folder(settings.models_dir),
        speaker=settings.speaker_model,
        spoof=settings.spoof_model,
    )
    recordings = prepare(models)
    length_s = np.mean([len(samples) for samples in recordings.values()]) / CALL_RATE_HZ
    lines = [
        "# Batch enrolment",
        "",
        f"- made by: `python -m bench.batch {' '.join(sys.argv[1:])}`",
        f"- commit: {provenance.commit()}",
        f"- machine: {provenance.machine()}",
        f"- models: {models.model}, {models.spoof_model}",
        f"- {len(recordings)} recordings of {length_s:.0f} s in the mean, half of it agents' turns",
        "- entries take them in turn, each for another speaker",
    ]
    _print(lines)
    lines, own_s = throughput(recordings, arguments.entries)
    _print(lines)
    _print(stages(models, recordings, own_s=own_s))
    if arguments.killed:
        _print(killed_job(recordings, arguments.killed, arguments.kills))
    if arguments.long:
        _print(long_job(recordings, arguments.long))


def _print(lines: Sequence[str]) -> None:
    print("\n".join(lines), flush=True)  # at once: what follows takes long


def _yes(holds: bool) -> str:  # noqa: FBT001 - it is what is asked
    return "yes" if holds else "NO"


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()
