"""`vivavoce jobs`: batch jobs of a running server, from the command line."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from vivavoce.cli.live import ENDPOINT, client_of, explained
from vivavoce.errors import CallFailed, ServerSilent

app = typer.Typer(
    help="Batch jobs: enrol speakers and register fraudsters from recordings.",
    no_args_is_help=True,
)

Kind = Literal["enrollment", "registration"]

Domain = Annotated[str, typer.Option(metavar="ID", help="The job's domain.")]
KindOption = Annotated[Kind, typer.Option(help="Speakers are enrolled, or fraudsters registered.")]
EndpointUrl = Annotated[
    str | None,
    typer.Option(help=f"The server; default: AWS_ENDPOINT_URL_VOICE_ID, or {ENDPOINT}."),
]
Folder = Annotated[
    Path | None,
    typer.Option(help="Use the credentials in this data folder of a server on this machine."),
]

_ANY_ROLE = "arn:aws:iam::000000000000:role/vivavoce"
_ENDED = frozenset({"COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED"})
_POLL_S = 2.0
_PATIENCE_S = 120.0
"""A server that is started anew goes on with its jobs."""


@app.command()
def start(
    manifest: Annotated[str, typer.Argument(metavar="s3://BUCKET/KEY", help="The manifest.")],
    *,
    output: Annotated[
        str, typer.Option(metavar="s3://BUCKET/PREFIX", help="Where the output goes.")
    ],
    domain: Domain,
    kind: KindOption = "enrollment",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Enrol also who is enrolled; default: skip them.")
    ] = False,
    ignore_fraud: Annotated[
        bool, typer.Option("--ignore-fraud", help="Enrol whatever the fraud check says.")
    ] = False,
    role: Annotated[
        str, typer.Option(metavar="ARN", help="The job's role, where the server uses roles.")
    ] = _ANY_ROLE,
    wait: Annotated[bool, typer.Option(help="Watch the job until it has ended.")] = True,
    endpoint_url: EndpointUrl = None,
    data_dir: Folder = None,
) -> None:
    """Start a job and watch it; Ctrl-C stops watching, not the job.

    Exit code 0 if every entry was done, 1 if some were not.

    Example: vivavoce jobs start s3://bank/manifest.json --output s3://bank/results
    --domain 1234567890123456789012
    """
    asked: dict[str, Any] = {
        "DomainId": domain,
        "DataAccessRoleArn": role,
        "InputDataConfig": {"S3Uri": manifest},
        "OutputDataConfig": {"S3Uri": output},
    }
    if kind == "registration" and (overwrite or ignore_fraud):
        raise typer.BadParameter("--overwrite and --ignore-fraud are for enrollments")
    if kind == "enrollment":
        asked["EnrollmentConfig"] = {
            "ExistingEnrollmentAction": "OVERWRITE" if overwrite else "SKIP",
            "FraudDetectionConfig": {"FraudDetectionAction": "IGNORE" if ignore_fraud else "FAIL"},
        }
    client = client_of(endpoint_url, data_dir)
    with explained():
        begin = {
            "enrollment": client.start_speaker_enrollment_job,
            "registration": client.start_fraudster_registration_job,
        }[kind]
        job = begin(**asked)["Job"]
    typer.echo(f"job {job['JobId']}")
    if wait:
        _watch(client, domain, job["JobId"], kind)


@app.command()
def watch(
    job: Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")],
    *,
    domain: Domain,
    kind: KindOption = "enrollment",
    endpoint_url: EndpointUrl = None,
    data_dir: Folder = None,
) -> None:
    """Watch a job until it has ended; exit codes as of `start`."""
    _watch(client_of(endpoint_url, data_dir), domain, job, kind)


@app.command("list")
def list_jobs(
    *,
    domain: Domain,
    kind: KindOption = "enrollment",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    endpoint_url: EndpointUrl = None,
    data_dir: Folder = None,
) -> None:
    """Show a domain's jobs, the newest first."""
    client = client_of(endpoint_url, data_dir)
    name = {
        "enrollment": "list_speaker_enrollment_jobs",
        "registration": "list_fraudster_registration_jobs",
    }[kind]
    with explained():
        pages = client.get_paginator(name).paginate(DomainId=domain)
        jobs = [job for page in pages for job in page["JobSummaries"]]
    if as_json:
        typer.echo(json.dumps(jobs, default=str))
        return
    table = Table()
    table.add_column("Job", no_wrap=True)  # it is to be copied
    for heading in ("Name", "Status", "Done", "Created"):
        table.add_column(heading, overflow="fold")
    for job in jobs:
        table.add_row(
            job["JobId"],
            job.get("JobName", ""),
            job["JobStatus"],
            f"{job['JobProgress']['PercentComplete']} %",
            f"{job['CreatedAt']:%Y-%m-%d %H:%M}",
        )
    Console().print(table)


def _watch(client: Any, domain_id: str, job_id: str, kind: Kind) -> None:  # noqa: ANN401 - boto3's
    describe: Callable[..., Mapping[str, Any]] = {
        "enrollment": client.describe_speaker_enrollment_job,
        "registration": client.describe_fraudster_registration_job,
    }[kind]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("%"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("SUBMITTED", total=100)
        seen_s = time.monotonic()
        while True:
            try:
                with explained():
                    job = describe(DomainId=domain_id, JobId=job_id)["Job"]
            except ServerSilent:
                if time.monotonic() - seen_s > _PATIENCE_S:
                    raise
                progress.update(task, description="waiting for the server")
                time.sleep(_POLL_S)
                continue
            seen_s = time.monotonic()
            done = job["JobProgress"]["PercentComplete"]
            progress.update(task, description=job["JobStatus"], completed=done)
            if job["JobStatus"] in _ENDED:
                break
            time.sleep(_POLL_S)
    failure = job.get("FailureDetails")
    if failure is not None:
        raise CallFailed(f"the job failed, {failure['StatusCode']}: {failure['Message']}")
    name = job["InputDataConfig"]["S3Uri"].rpartition("/")[2]
    where = f"{job['OutputDataConfig']['S3Uri'].rstrip('/')}/{job_id}/{name}.out"
    typer.echo(f"{job['JobStatus']}; output: {where}")
    if job["JobStatus"] != "COMPLETED":
        raise typer.Exit(1)
