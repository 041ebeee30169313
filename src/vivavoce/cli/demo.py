"""`vivavoce demo`: the main job, from nothing."""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Table

from vivavoce.audio.arrays import CALL_RATE_HZ, Samples
from vivavoce.audio.recording import read_recording
from vivavoce.cli.live import Hearing, explained, new_client, send_call
from vivavoce.cli.show import CallMeter, authentication_text, coloured, fraud_text
from vivavoce.demo.synthetic import speak
from vivavoce.demo.voices import ARMELLE, CARLO, JUNE, Fetching, Voice, compose, fetch_voices
from vivavoce.errors import CallFailed

CUSTOMER = "customer-1"
"""Whom all four callers claim to be."""

_ENROLMENT_S = 50.0
_CALL_S = 25.0
"""Length of the joined clips: 30 s of net speech and a margin; 10 s and a margin."""

_START_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """Who calls: samples of shape (n,) at the call rate.

    Attributes:
        enrolment: the customer, enrolling.
        customer: the customer, calling.
        impostor: another person.
        fraudster_before: the fraudster in an earlier call, from which the voice is known.
        fraudster: the fraudster, calling.
        synthetic: a machine.
    """

    enrolment: Samples
    customer: Samples
    impostor: Samples
    fraudster_before: Samples
    fraudster: Samples
    synthetic: Samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One call and what is right for it."""

    title: str
    samples: Samples
    authentication: str
    fraud: str
    reasons: frozenset[str]

    def is_right(self, evaluation: dict[str, Any]) -> bool:
        """Whether an evaluation is what it should be."""
        authentication = evaluation.get("AuthenticationResult", {})
        fraud = evaluation.get("FraudDetectionResult", {})
        return (
            authentication.get("Decision") == self.authentication
            and fraud.get("Decision") == self.fraud
            and self.reasons <= set(fraud.get("Reasons", ()))
        )


def scenes(cast: Cast) -> list[Scene]:
    """The four calls."""
    return [
        Scene(
            title="the customer",
            samples=cast.customer,
            authentication="ACCEPT",
            fraud="LOW_RISK",
            reasons=frozenset(),
        ),
        Scene(
            title="another person",
            samples=cast.impostor,
            authentication="REJECT",
            fraud="LOW_RISK",
            reasons=frozenset(),
        ),
        Scene(
            title="a known fraudster",
            samples=cast.fraudster,
            authentication="REJECT",
            fraud="HIGH_RISK",
            reasons=frozenset({"KNOWN_FRAUDSTER"}),
        ),
        Scene(
            title="a synthetic voice",
            samples=cast.synthetic,
            authentication="REJECT",
            fraud="HIGH_RISK",
            reasons=frozenset({"VOICE_SPOOFING"}),
        ),
    ]


def demo(
    *,
    real_time: Annotated[
        bool, typer.Option("--real-time", help="Pace the audio as a phone would.")
    ] = False,
    genuine: Annotated[
        Path | None, typer.Option(help="Your own recording of the customer, 60 s or more.")
    ] = None,
    impostor: Annotated[
        Path | None,
        typer.Option(help="Your own recording of somebody else, 40 s or more; the fraudster too."),
    ] = None,
    synthetic: Annotated[
        Path | None, typer.Option(help="Your own recording of a synthetic voice, 15 s or more.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the decisions as JSON.")] = False,
) -> None:
    """Show the main job on real recorded voices.

    Starts a server on a free port with a temporary data folder. An unmodified boto3 client creates
    a domain, enrols a customer from a call, and evaluates four live calls: the customer, another
    person, a known fraudster, and a synthetic voice. Ends with 0 only if each decision is right.

    The voices are telephone prompts from Debian packages, fetched once, and espeak-ng.
    """
    console = Console(stderr=as_json)
    cast = _cast(console, genuine=genuine, impostor=impostor, synthetic=synthetic)
    with _server(console) as (url, credentials), explained():
        rows = _play(
            new_client(endpoint_url=url, credentials=credentials), cast, console, real_time
        )
    right = [scene.is_right(evaluation) for scene, evaluation in rows]
    if as_json:
        typer.echo(json.dumps([_summary(scene, evaluation) for scene, evaluation in rows]))
    else:
        _print_table(console, rows)
    if not all(right):
        raise CallFailed(f"{right.count(False)} of {len(right)} decisions are not the right ones")


def _play(
    client: Any,  # noqa: ANN401 - boto3's
    cast: Cast,
    console: Console,
    real_time: bool,  # noqa: FBT001
) -> list[tuple[Scene, dict[str, Any]]]:
    stage = _Stage(client, console, real_time=real_time)
    stage.call("the customer enrols", cast.enrolment, enroll=True)
    speaker = client.describe_speaker(DomainId=stage.domain_id, SpeakerId=CUSTOMER)["Speaker"]
    console.print(f"The customer is {speaker['Status']}.")
    earlier = stage.call("a fraudster's earlier call", cast.fraudster_before)
    # With the visitor's own files the other person becomes the fraudster, but only afterwards.
    plan = scenes(cast)
    evaluations: list[dict[str, Any]] = []
    for scene in plan:
        if "KNOWN_FRAUDSTER" in scene.reasons:
            fraudster = client.register_fraudster_by_session(
                DomainId=stage.domain_id, SessionNameOrId=earlier
            )["Fraudster"]
            console.print(f"The fraudster is on the watchlist: {fraudster['GeneratedFraudsterId']}")
        name = stage.call(scene.title, scene.samples)
        evaluation = client.evaluate_session(DomainId=stage.domain_id, SessionNameOrId=name)
        evaluations.append(evaluation)
        console.print(
            f"{scene.title}:",
            coloured(authentication_text(evaluation)),
            coloured(fraud_text(evaluation)),
        )
    return list(zip(plan, evaluations, strict=True))


class _Stage:
    """A domain in which calls are made."""

    def __init__(self, client: Any, console: Console, *, real_time: bool) -> None:  # noqa: ANN401
        self._client = client
        self._console = console
        self._real_time = real_time
        domain = client.create_domain(
            Name="demo", ServerSideEncryptionConfiguration={"KmsKeyId": "alias/demo"}
        )["Domain"]
        self.domain_id: str = domain["DomainId"]
        console.print(f"Domain {self.domain_id} is {domain['DomainStatus']}.")

    def call(self, title: str, samples: Samples, *, enroll: bool = False) -> str:
        """Make one live call as the customer; gives the session's name."""
        name = str(uuid.uuid4())
        started = self._client.start_session(
            DomainId=self.domain_id, SessionName=name, SpeakerId=CUSTOMER
        )
        if enroll:
            self._client.enroll_by_session(DomainId=self.domain_id, SessionNameOrId=name)
        seconds = len(samples) / CALL_RATE_HZ
        with CallMeter(title, console=self._console, seconds=seconds) as meter:
            hearing = Hearing(
                pace="real-time" if self._real_time else "fast", on_message=meter.hear
            )
            asyncio.run(send_call(started["StreamUrl"], samples, hearing))
        return name


def _cast(
    console: Console, *, genuine: Path | None, impostor: Path | None, synthetic: Path | None
) -> Cast:
    needed: list[Voice] = [JUNE] if genuine is None else []
    needed += [ARMELLE, CARLO] if impostor is None else []
    clips = _fetch(console, needed) if needed else {}
    if genuine is None:
        enrolment = compose(clips[JUNE], seconds=_ENROLMENT_S, use="enrolment")
        customer = compose(clips[JUNE], seconds=_CALL_S, use="call")
    else:
        enrolment, customer = _split(genuine, share=2 / 3, least_s=60)
    if impostor is None:
        other = compose(clips[ARMELLE], seconds=_CALL_S, use="call")
        before = compose(clips[CARLO], seconds=_ENROLMENT_S, use="enrolment")
        fraudster = compose(clips[CARLO], seconds=_CALL_S, use="call")
    else:
        before, fraudster = _split(impostor, share=1 / 2, least_s=40)
        other = before
    machine = speak(on_progress=console.print) if synthetic is None else _own(synthetic, least_s=15)
    return Cast(
        enrolment=enrolment,
        customer=customer,
        impostor=other,
        fraudster_before=before,
        fraudster=fraudster,
        synthetic=machine,
    )


def _fetch(console: Console, voices: list[Voice]) -> dict[Voice, Path]:
    with Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), console=console
    ) as progress:
        tasks: dict[Voice, Any] = {}

        def show(fetching: Fetching) -> None:
            voice = fetching.voice
            if voice not in tasks:
                label = f"Fetching the voice of {voice.speaker} ({voice.language})"
                tasks[voice] = progress.add_task(label, total=voice.size_bytes)
            progress.update(tasks[voice], completed=fetching.done_bytes)

        return fetch_voices(voices, on_progress=show)


def _own(path: Path, *, least_s: float) -> Samples:
    samples = read_recording(path).samples
    if len(samples) < least_s * CALL_RATE_HZ:
        raise CallFailed(
            f"{path} holds {len(samples) / CALL_RATE_HZ:.0f} s; {least_s:g} s are needed"
        )
    return samples


def _split(path: Path, *, share: float, least_s: float) -> tuple[Samples, Samples]:
    samples = _own(path, least_s=least_s)
    cut = round(len(samples) * share)
    return samples[:cut], samples[cut:]


@contextlib.contextmanager
def _server(console: Console) -> Generator[tuple[str, Path]]:
    """A server on a free port with a temporary data folder: its URL and its credentials file."""
    with tempfile.TemporaryDirectory(prefix="vivavoce-demo-") as folder:
        port = _free_port()
        url = f"http://127.0.0.1:{port}"
        log = Path(folder) / "server.log"
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - our own command
                [
                    *(sys.executable, "-m", "vivavoce", "serve"),
                    *("--host", "127.0.0.1", "--port", str(port)),
                    *("--data-dir", f"{folder}/data"),
                ],
                stderr=output,
            )
        try:
            _wait_until_ready(url, process, log)
            console.print(f"A server runs on {url}.")
            yield url, Path(folder) / "data" / "credentials"
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5):  # noqa: S310 - our own
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
    raise CallFailed(f"the server did not start: {''.join(last) or 'no answer'}")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _print_table(console: Console, rows: list[tuple[Scene, dict[str, Any]]]) -> None:
    table = Table(title=f"Four callers, each claiming to be {CUSTOMER}")
    for heading in ("Caller", "Authentication", "Fraud", "Right?"):
        table.add_column(heading)
    for scene, evaluation in rows:
        right = scene.is_right(evaluation)
        table.add_row(
            scene.title,
            coloured(authentication_text(evaluation)),
            coloured(fraud_text(evaluation)),
            "yes" if right else f"NO: {scene.authentication}, {scene.fraud} expected",
        )
    console.print(table)


def _summary(scene: Scene, evaluation: dict[str, Any]) -> dict[str, Any]:
    return {
        "caller": scene.title,
        "authentication": authentication_text(evaluation),
        "fraud": fraud_text(evaluation),
        "right": scene.is_right(evaluation),
    }
