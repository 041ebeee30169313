"""`vivavoce connectors`: telephony platforms whose calls the server takes."""

import base64
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from vivavoce.cli.options import DataDir, data_folder, read_small
from vivavoce.clock import SystemClock, iso_utc
from vivavoce.errors import ConnectorError, VaultError
from vivavoce.foundation import open_data
from vivavoce.store.acts import command_record
from vivavoce.store.connectors import (
    PLATFORMS,
    Connector,
    Platform,
    check_name,
    new_connector_id,
    new_secret,
)
from vivavoce.store.store import Transaction

app = typer.Typer(
    help="Connectors: telephony platforms whose calls are taken, each for one domain.",
    no_args_is_help=True,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]

_NOWHERE = "none"
_MAX_SECRET_BYTES = 1024
_PATH = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """What differs between platforms.

    Attributes:
        path: of the URL that it connects to.
        speaker_from: where the claimed speaker is, if nothing else is said.
        makes_secret: whether the secret is ours to make; otherwise it is the platform's own.
        secret_name: what the platform calls it.
    """

    path: str
    speaker_from: str
    makes_secret: bool
    secret_name: str


_KINDS: Mapping[Platform, _Kind] = {
    "genesys": _Kind(
        path="/v1/audiohook",
        speaker_from="customConfig.SpeakerId",
        makes_secret=True,
        secret_name="client secret",  # noqa: S106 - its name
    ),
    "twilio": _Kind(
        path="/v1/twilio",
        speaker_from="customParameters.SpeakerId",
        makes_secret=False,
        secret_name="auth token",  # noqa: S106 - its name
    ),
}


@app.command()
def add(
    platform: Annotated[str, typer.Argument(help=f"One of {', '.join(PLATFORMS)}.")],
    *,
    domain: Annotated[str, typer.Option(metavar="ID", help="The domain of its calls.")],
    name: Annotated[
        str | None,
        typer.Option(help="For people; the platform's if not given.", show_default=False),
    ] = None,
    secret_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Holds the secret: Twilio's auth token; of Genesys, a client secret in base64 "
            "instead of a new one. - reads it from standard input.",
        ),
    ] = None,
    speaker_from: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Where in what the platform says of a call the claimed speaker is, such as "
            "customConfig.SpeakerId, participant.ani or customParameters.SpeakerId; "
            f"{_NOWHERE}: nobody is authenticated.",
            show_default=False,
        ),
    ] = None,
    enroll: Annotated[
        bool,
        typer.Option("--enroll", help="Enrol claimed speakers from their call who are not yet."),
    ] = False,
    acceptance_threshold: Annotated[
        int | None, typer.Option(min=0, max=100, help="For authentication; 90 if not given.")
    ] = None,
    risk_threshold: Annotated[
        int | None, typer.Option(min=0, max=100, help="For fraud; 50 if not given.")
    ] = None,
    watchlist: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Searched for the caller; the domain's own if not given."),
    ] = None,
    minimum_speech: Annotated[
        int | None,
        typer.Option(min=5, max=10, help="Net speech to authenticate, seconds; 10 if not given."),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make a connector and print what the platform must be told; a new secret is shown this once.

    The server may run meanwhile: it takes the platform's next call.

    Example: vivavoce connectors add genesys --domain UcUuCPFOsAjzg9xoByUatN --enroll
    """
    kind = _KINDS[_platform(platform)]
    connector = Connector(
        connector_id=new_connector_id(),
        name=name or platform,
        platform=_platform(platform),
        domain_id=domain,
        secret=_secret(kind, secret_file),
        speaker_from=_speaker_from(kind, speaker_from),
        enrolls=enroll,
        acceptance_threshold=acceptance_threshold,
        risk_threshold=risk_threshold,
        watchlist_id=watchlist,
        authentication_minimum_s=minimum_speech,
        created_ms=SystemClock().now_ms(),
    )
    check_name(connector.name)

    def work(tx: Transaction) -> None:
        _require_places(tx, connector)
        tx.connectors.add(connector)
        what = {"requestParameters": _facts(connector)}
        tx.audit.add(
            command_record("CreateConnector", at_ms=connector.created_ms, **what),
            connector.created_ms,
        )

    with open_data(data_folder(data_dir)) as store:
        store.write_now(work)
    is_new = kind.makes_secret and secret_file is None
    if as_json:
        secret = {"Secret": connector.secret} if is_new else {}
        typer.echo(json.dumps(_document(connector) | secret))
        return
    typer.echo(_instructions(connector, kind, is_new=is_new))


@app.command("list")
def list_connectors(*, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the connectors; never their secrets.

    Example: vivavoce connectors list --json | jq -r '.[].Name'
    """
    with open_data(data_folder(data_dir), read_only=True) as store:
        connectors = store.read_now(lambda tx: tx.connectors.all())
    if as_json:
        typer.echo(json.dumps([_document(each) for each in connectors], indent=2))
        return
    if not connectors:
        typer.echo("There is no connector; `vivavoce connectors add` makes one.", err=True)
    for each in connectors:
        # Plain lines: an id that a table breaks in two cannot be copied.
        typer.echo(_line(each))


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="The connector's name or id, as `list` shows them.")],
    *,
    data_dir: DataDir = None,
) -> None:
    """Remove a connector; its next call is refused, calls that run go on.

    Example: vivavoce connectors remove genesys
    """
    now_ms = SystemClock().now_ms()

    def work(tx: Transaction) -> Connector:
        removed = tx.connectors.remove(name)
        what = {"requestParameters": {"connectorId": removed.connector_id, "name": removed.name}}
        tx.audit.add(command_record("DeleteConnector", at_ms=now_ms, **what), now_ms)
        return removed

    with open_data(data_folder(data_dir)) as store:
        removed = store.write_now(work)
    typer.echo(f"{removed.name} ({removed.connector_id}) is removed")


def _platform(text: str) -> Platform:
    for platform in PLATFORMS:
        if text == platform:
            return platform
    raise ConnectorError(
        f"{text!r} is no platform that needs a connector; choose {' or '.join(PLATFORMS)} "
        "(Asterisk, FreeSWITCH and Amazon Connect need none: their calls are started by "
        "StartSession)"
    )


def _speaker_from(kind: _Kind, path: str | None) -> str | None:
    if path is None:
        return kind.speaker_from
    if path == _NOWHERE:
        return None
    if not _PATH.fullmatch(path) or len(path) > 256:
        raise ConnectorError(
            f"--speaker-from {path!r} is not names by dots, such as {kind.speaker_from}"
        )
    return path


def _secret(kind: _Kind, file: str | None) -> str:
    if file is None and kind.makes_secret:
        return new_secret()
    if file is None and not sys.stdin.isatty():
        raise ConnectorError(
            f"--secret-file must name a file with the {kind.secret_name}, or - for standard input"
        )
    secret = (
        typer.prompt(kind.secret_name.capitalize(), hide_input=True)
        if file is None
        else _read_secret(file)
    )
    if not secret or not secret.isascii() or not secret.isprintable():
        raise ConnectorError(f"the {kind.secret_name} is empty, or holds what no secret has")
    if kind.makes_secret:
        _require_base64(secret)
    return secret


def _read_secret(file: str) -> str:
    raw = read_small(file, most_bytes=_MAX_SECRET_BYTES, error=ConnectorError)
    return raw.decode(errors="replace").strip()


def _require_base64(secret: str) -> None:
    try:
        is_sound = len(base64.b64decode(secret, validate=True)) >= 16
    except ValueError:
        is_sound = False
    if not is_sound:
        raise ConnectorError("a client secret is at least 16 bytes in base64")


def _require_places(tx: Transaction, connector: Connector) -> None:
    """Make sure that the domain and the watchlist are there."""
    if tx.domains.arn(connector.domain_id) is None:
        raise ConnectorError(f"there is no domain {connector.domain_id}")
    if connector.watchlist_id is None:
        return
    try:
        tx.watchlists.get(connector.domain_id, connector.watchlist_id)
    except VaultError as error:
        # The domain's key is not for this command: the first call will tell.
        typer.echo(f"warning: the watchlist could not be looked for: {error}", err=True)


def _facts(connector: Connector) -> dict[str, Any]:
    """All but the secret, in the style of the API's own records."""
    return {
        "connectorId": connector.connector_id,
        "name": connector.name,
        "platform": connector.platform,
        "domainId": connector.domain_id,
        "speakerFrom": connector.speaker_from,
        "enroll": connector.enrolls,
        "acceptanceThreshold": connector.acceptance_threshold,
        "riskThreshold": connector.risk_threshold,
        "watchlistId": connector.watchlist_id,
        "authenticationMinimumSpeechInSeconds": connector.authentication_minimum_s,
    }


def _document(connector: Connector) -> dict[str, Any]:
    facts = {name[0].upper() + name[1:]: value for name, value in _facts(connector).items()}
    return {**facts, "CreatedAt": iso_utc(connector.created_ms)}


def _line(connector: Connector) -> str:
    speaker = connector.speaker_from or "nobody"
    enrolls = "  enrols" if connector.enrolls else ""
    return (
        f"{connector.connector_id}  {connector.platform:<8}  {connector.name}  "
        f"domain {connector.domain_id}  speaker from {speaker}{enrolls}"
    )


def _instructions(connector: Connector, kind: _Kind, *, is_new: bool) -> str:
    lines = [
        f"{connector.name} takes calls for domain {connector.domain_id}.",
        f"  connection URI   wss://YOUR-HOST{kind.path}",
    ]
    if connector.platform == "genesys":
        lines.append(f"  API key          {connector.connector_id}")
    if is_new:
        lines.append(f"  {kind.secret_name:<15}  {connector.secret}")
        lines.append("The secret is not shown again: enter it at the platform now.")
    return "\n".join(lines)
