"""`vivavoce migrate`: from Amazon's Voice ID to here."""

import json
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, track

from vivavoce.cli.options import DataDir, data_folder
from vivavoce.clock import SystemClock
from vivavoce.errors import InvalidRequest
from vivavoce.foundation import OBJECTS_FOLDER, open_data
from vivavoce.migration.recordings import (
    CUSTOMER_CHANNEL,
    Plan,
    Recording,
    in_folder,
    plan,
    read_contacts,
)
from vivavoce.migration.speakers import read_speakers, restore
from vivavoce.models.vad import SpeechDetector
from vivavoce.objects.objects import S3_URI
from vivavoce.settings import read_settings
from vivavoce.store.acts import command_record
from vivavoce.store.store import Transaction

app = typer.Typer(
    help="Bring speakers and call recordings of Amazon's Voice ID here; see"
    " docs/howto/migrate-from-voice-id.md.",
    no_args_is_help=True,
)

_SLICE = 200
"""Speakers written in a transaction: calls of a running server wait behind it."""

_SHOWN = 5


@app.command()
def speakers(
    saved: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="What `aws voice-id list-speakers` printed; pages may follow."
        ),
    ],
    *,
    domain: Annotated[str, typer.Option(metavar="ID", help="The domain that takes them.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Note who had opted out, and all others as pending until they are enrolled again.

    Nobody's voice can be brought along: Amazon gives out no voiceprints. What is here already stays
    as it is, but who is pending here and had opted out there is opted out. A server may run
    meanwhile.

    Example: vivavoce migrate speakers speakers.json --domain 1234567890123456789012
    """
    found = read_speakers(saved)
    counted = Counter("opted out" if s.status == "OPTED_OUT" else "pending" for s in found)
    typer.echo(f"{saved} lists {len(found)} speakers: " + _in_words(counted))
    if dry_run:
        return
    changed = 0
    settings = read_settings({"data_dir": data_dir})
    with open_data(settings.data_dir, settings=settings) as store:
        slices = range(0, len(found), _SLICE)
        for first in track(slices, "Noting", console=Console(stderr=True)):

            def work(tx: Transaction, first: int = first) -> int:
                now_ms = SystemClock().now_ms()
                some = found[first : first + _SLICE]
                noted = sum(restore(tx, domain, speaker, now_ms=now_ms) for speaker in some)
                if noted:
                    what = {"domainId": domain, "noted": noted, "of": len(some)}
                    act = command_record("MigrateSpeakers", at_ms=now_ms, requestParameters=what)
                    tx.audit.add(act, now_ms)
                return noted

            changed += store.write_now(work)
    typer.echo(f"{changed} noted, {len(found) - changed} were there already")


@app.command()
def manifest(
    recordings: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER|s3://BUCKET/PREFIX", help="Call recordings, with contact ids in names."
        ),
    ],
    *,
    contacts: Annotated[
        Path,
        typer.Option(metavar="CSV", help="Which customer each call was: ContactId, SpeakerId."),
    ],
    output: Annotated[
        Path, typer.Option(metavar="FILE", help="The manifest; more than one get numbers.")
    ],
    uri: Annotated[
        str | None,
        typer.Option(
            metavar="s3://BUCKET/PREFIX",
            help="What the folder is called in the manifest; found out if it is in the objects"
            " folder of the data folder.",
            show_default=False,
        ),
    ] = None,
    channel: Annotated[
        int,
        typer.Option(min=0, max=1, help="The customer's channel; 0 is left, Amazon Connect's."),
    ] = CUSTOMER_CHANNEL,
    endpoint_url: Annotated[
        str | None, typer.Option(help="Another S3 than AWS's own.", show_default=False)
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Build an enrolment manifest from call recordings, and say who will be enrolled by it.

    Each customer's newest recordings are listened to until there are 30 s of speech. Nothing is
    enrolled: give the manifest to StartSpeakerEnrollmentJob.

    Example: vivavoce migrate manifest recordings --contacts contacts.csv
    --uri s3://bank/recordings --output manifest.json
    """
    known = read_contacts(contacts)
    found = list(_recordings(recordings, uri, endpoint_url, data_dir))
    if not found:
        raise InvalidRequest(f"{recordings} holds no recordings")
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Listening", total=len(found))
        planned = plan(
            found,
            known,
            channel=channel,
            new_detector=SpeechDetector,
            on_progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    _show(planned, total=len(found))
    if not planned.recordings:
        raise InvalidRequest("nobody has enough speech: no manifest is written")
    _write(planned, output, channel)


def _recordings(
    where: str, uri: str | None, endpoint_url: str | None, data_dir: Path | None
) -> list[Recording]:
    if where.startswith("s3://"):
        if not S3_URI.fullmatch(where):
            raise InvalidRequest(f"{where} is no S3 URI such as s3://bucket/prefix")
        # boto3 takes a tenth of a second to load.
        from vivavoce.migration.bucket import in_bucket  # noqa: PLC0415 - see above

        return list(in_bucket(where, endpoint_url=endpoint_url))
    folder = Path(where)
    name = uri or _name_of(folder, data_folder(data_dir) / OBJECTS_FOLDER)
    if not S3_URI.fullmatch(name):
        raise InvalidRequest(f"{name} is no S3 URI such as s3://bucket/prefix")
    return list(in_folder(folder, name))


def _name_of(folder: Path, objects: Path) -> str:
    """What a folder within the objects folder is called."""
    resolved, root = folder.resolve(), objects.resolve()
    if resolved == root or not resolved.is_relative_to(root):
        raise InvalidRequest(
            f"what {folder} is called in a manifest is not known: add --uri s3://BUCKET/PREFIX, or"
            f" put the recordings into {objects}/BUCKET"
        )
    return f"s3://{resolved.relative_to(root).as_posix()}"


def _show(planned: Plan, *, total: int) -> None:
    taken = sum(len(uris) for uris in planned.recordings.values())
    typer.echo(f"{total} recordings; {taken} of them will be used")
    for why, count in sorted(planned.skipped.items()):
        typer.echo(f"  {count} left out: {why}")
    for line in planned.unreadable[:_SHOWN]:
        typer.echo(f"  cannot be read: {line}")
    if len(planned.unreadable) > _SHOWN:
        typer.echo(f"  ... and {len(planned.unreadable) - _SHOWN} more that cannot be read")
    typer.echo(f"{len(planned.recordings)} customers will be enrolled")
    typer.echo(f"{len(planned.short_s)} customers have too little speech (30 s are needed)")


def _write(planned: Plan, output: Path, channel: int) -> None:
    manifests = planned.manifests(channel=channel)
    for number, document in enumerate(manifests, start=1):
        path = output
        if len(manifests) > 1:
            path = output.with_stem(f"{output.stem}-{number}")
        try:
            path.write_text(json.dumps(document, indent=1), encoding="utf-8")
        except OSError as error:
            raise InvalidRequest(f"{path} cannot be written: {error.strerror}") from error
        entries = len(document["SpeakerEnrollmentRequests"])
        typer.echo(f"{path}: {entries} entries")


def _in_words(counted: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(counted.items()))
