"""`vivavoce call`."""

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from vivavoce.audio.arrays import CALL_RATE_HZ
from vivavoce.audio.recording import read_recording
from vivavoce.cli.live import (
    ENDPOINT,
    Hearing,
    Pace,
    client_of,
    ending_on_failure,
    explained,
    send_call,
)
from vivavoce.cli.show import (
    CallMeter,
    authentication_text,
    coloured,
    enrolled_meanwhile,
    fraud_text,
)


def call(
    recording: Annotated[
        Path, typer.Argument(metavar="WAV", help="Any recording that ffmpeg or libsndfile reads.")
    ],
    *,
    domain: Annotated[str, typer.Option(help="DomainId of the session.")],
    session: Annotated[str, typer.Option(help="Name of the session, such as the contact id.")],
    speaker: Annotated[str | None, typer.Option(help="Who the caller claims to be.")] = None,
    enroll: Annotated[
        bool, typer.Option("--enroll", help="Enrol the speaker from this call.")
    ] = False,
    channel: Annotated[
        int | None, typer.Option(min=0, help="The caller's channel, counted from 0.")
    ] = None,
    pace: Annotated[Pace, typer.Option(help="As a phone would, or as fast as can be.")] = "fast",
    as_json: Annotated[bool, typer.Option("--json", help="Print the evaluation as JSON.")] = False,
    endpoint_url: Annotated[
        str | None,
        typer.Option(help=f"The server; default: AWS_ENDPOINT_URL_VOICE_ID, or {ENDPOINT}."),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Use the credentials in this data folder of a server on this machine."),
    ] = None,
) -> None:
    """Send a recording to a running server as a live call and print the evaluation.

    Credentials are found as by any AWS client (AWS_SHARED_CREDENTIALS_FILE, ...), or in the data
    folder named by --data-dir:

    vivavoce call call.wav --domain DOMAIN_ID --session demo-1 --speaker customer-7
    """
    if enroll and speaker is None:
        raise typer.BadParameter("an enrolment needs to know whom: add --speaker ID")
    client = client_of(endpoint_url, data_dir)
    samples = read_recording(recording, channel=channel).samples
    seconds = len(samples) / CALL_RATE_HZ
    claimed = {} if speaker is None else {"SpeakerId": speaker}
    console = Console(stderr=True, quiet=as_json)
    with explained():
        started = client.start_session(DomainId=domain, SessionName=session, **claimed)
        with ending_on_failure(client, domain, session):
            if enroll:
                client.enroll_by_session(DomainId=domain, SessionNameOrId=session)
            with CallMeter(recording.name, console=console, seconds=seconds) as meter:
                hearing = Hearing(pace=pace, on_message=meter.hear)
                asyncio.run(send_call(started["StreamUrl"], samples, hearing))
        evaluation = client.evaluate_session(DomainId=domain, SessionNameOrId=session)
        described = client.describe_session(DomainId=domain, SessionNameOrId=session)["Session"]
    evaluation.pop("ResponseMetadata")
    enrollment = described.get("EnrollmentRequestDetails")
    if enrollment is not None:
        evaluation["EnrollmentRequestDetails"] = enrollment
    if as_json:
        typer.echo(json.dumps(evaluation, indent=2, default=lambda moment: moment.isoformat()))
        return
    out = Console()
    progress = evaluation["AudioProgress"]
    out.print(
        f"{recording.name}: {progress['NetSpeechSeconds']:.1f} s net speech of {seconds:.1f} s, "
        f"audio {progress['Quality']}"
    )
    out.print("Authentication:", coloured(authentication_text(evaluation)))
    out.print("Fraud:         ", coloured(fraud_text(evaluation)))
    if enrollment is not None:
        out.print("Enrolment:     ", coloured(enrollment["Status"]))
    if enrolled_meanwhile(started["Session"], described):
        out.print(
            "This call made the voiceprint: if it is the speaker's first, the authentication above "
            "compares the call with itself and says nothing. Authenticate with another call."
        )
