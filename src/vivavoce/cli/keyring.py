"""`vivavoce keyring`: the keys that domains are sealed with, in the local keyring."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from vivavoce.clock import SystemClock, to_datetime
from vivavoce.foundation import open_data, open_keyring
from vivavoce.settings import read_settings
from vivavoce.store.acts import command_record
from vivavoce.store.store import Transaction
from vivavoce.vault.keyring import Key, LocalKeyring

app = typer.Typer(
    help=(
        "Customers' keys in the local keyring: what KmsKeyId names where settings say kms = local."
        "\n\nEvery domain is sealed under one of these keys. A key that CreateDomain names for the"
        " first time is made then. Changes hold at once, also in a server that runs."
    ),
    no_args_is_help=True,
)

DataDir = Annotated[
    Path | None,
    typer.Option(
        help="The server's data folder; default: VIVAVOCE_DATA_DIR, or vivavoce-data here.",
        show_default=False,
        file_okay=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Name = Annotated[
    str,
    typer.Argument(
        metavar="ARN|ALIAS", help="A key as `list` shows it, ARN or alias/bank; or just bank."
    ),
]


@app.command("list")
def list_keys(*, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the keys: state, when made, ARN, aliases."""
    keys = open_keyring(_folder(data_dir)).all_keys()
    if as_json:
        typer.echo(json.dumps([_facts(key) for key in keys], indent=2))
        return
    if not keys:
        typer.echo("The keyring is empty; CreateDomain makes the key that it names.", err=True)
    for key in keys:
        # Plain lines: an ARN that a table breaks in two cannot be copied.
        typer.echo(_line(key))


@app.command()
def create(
    *,
    alias: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Another name, such as bank or alias/bank."),
    ] = None,
    region: Annotated[
        str, typer.Option(help="Region of the key; clients in this region can name its alias.")
    ] = "us-east-1",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print its ARN, for CreateDomain and UpdateDomain.

    vivavoce keyring create --alias bank
    """
    settings = read_settings({"data_dir": data_dir})
    if alias is not None and not alias.startswith("alias/"):
        alias = f"alias/{alias}"
    key = _change(
        settings.data_dir,
        "CreateKey",
        lambda keyring: keyring.create(region=region, account_id=settings.account_id, alias=alias),
    )
    typer.echo(json.dumps(_facts(key)) if as_json else key.arn)


@app.command()
def enable(name: Name, *, data_dir: DataDir = None) -> None:
    """Let a disabled key be used again: its domains can be read as before."""
    typer.echo(_line(_change(_folder(data_dir), "EnableKey", lambda keys: keys.enable(name))))


@app.command()
def disable(name: Name, *, data_dir: DataDir = None) -> None:
    """Keep a key from being used: its domains answer AccessDeniedException until `enable`.

    Nothing is lost. A server that runs obeys at once.
    """
    typer.echo(_line(_change(_folder(data_dir), "DisableKey", lambda keys: keys.disable(name))))


@app.command()
def destroy(
    name: Name,
    *,
    yes: Annotated[
        bool, typer.Option("--yes", help="Really: everything sealed under the key is lost.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Remove a key for good: voices and names in its domains can never be read again.

    There is no way back, except by a backup of the keyring that still holds the key; destroy
    those too. To lock a domain for a while, use `disable`.
    """
    if not yes:
        raise typer.BadParameter(
            f"nothing was done. Everything sealed under {name} would be lost for good; "
            "if that is what you want, add --yes. `disable` can be undone",
            param_hint="--yes",
        )
    typer.echo(_line(_change(_folder(data_dir), "DeleteKey", lambda keys: keys.destroy(name))))


def _folder(data_dir: Path | None) -> Path:
    return read_settings({"data_dir": data_dir}).data_dir


def _change(folder: Path, act: str, change: Callable[[LocalKeyring], Key]) -> Key:
    """Change the keyring, and record it in the audit log; what cannot be recorded is not done."""

    def work(tx: Transaction) -> Key:
        tx.audit.head()
        key = change(open_keyring(folder))
        now_ms = SystemClock().now_ms()
        what = {"keyId": key.arn, "aliases": key.aliases}
        tx.audit.add(command_record(act, at_ms=now_ms, requestParameters=what), now_ms)
        return key

    with open_data(folder) as store:
        return store.write_now(work)


def _facts(key: Key) -> dict[str, object]:
    return {
        "arn": key.arn,
        "aliases": key.aliases,
        "state": key.state,
        "created_at": _made(key),
    }


def _line(key: Key) -> str:
    return "  ".join((f"{key.state:<9}", _made(key), key.arn, *key.aliases))


def _made(key: Key) -> str:
    return to_datetime(key.created_ms).isoformat(timespec="seconds")
