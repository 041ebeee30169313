"""`vivavoce keys`: access keys, each with a policy that says what it may do."""

import json
import re
from datetime import UTC
from typing import Annotated, Any, cast

import typer

from vivavoce.api.policy import MAX_POLICY_BYTES, SERVICE, Policy
from vivavoce.cli.options import DataDir, data_folder, read_small
from vivavoce.clock import SystemClock, to_datetime
from vivavoce.errors import AccessKeyError, PolicyInvalid
from vivavoce.foundation import open_data
from vivavoce.settings import read_settings
from vivavoce.store.access_keys import AccessKeyRecord, new_access_key
from vivavoce.store.acts import access_key_facts, command_record
from vivavoce.store.store import Transaction

_EVERYTHING = (f"{SERVICE}:*",)
_READING = (f"{SERVICE}:Describe*", f"{SERVICE}:List*")

_DOMAIN_ID = re.compile("[a-zA-Z0-9]{22}")
_REGION = re.compile("[a-zA-Z0-9-]{1,64}")
_LIFETIME = re.compile("([1-9][0-9]{0,5})([smhd])")
_UNIT_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_MAX_LIFETIME_MS = 366 * _UNIT_MS["d"]

_SHORT = 60
_SHORT_WORDS = {
    "Action": "",
    "NotAction": "all but ",
    "Resource": "on ",
    "NotResource": "on all but ",
}

app = typer.Typer(
    help="Access keys: who may call the server, and what each may do.", no_args_is_help=True
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@app.command()
def create(
    *,
    name: Annotated[
        str | None,
        typer.Option(help="Who holds the key; the key's id if not given.", show_default=False),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="What it may do, in IAM's JSON; - reads it from standard input."
        ),
    ] = None,
    domain: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Instead of --policy: this domain only; can be repeated."),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(help="With --domain: the domain's region; any, if not given."),
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Describe and list only, instead of everything.")
    ] = False,
    expires: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Make a temporary key with a session token: 30m, 12h, 7d."
        ),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make an access key and print it; the secret is shown this once.

    Without --policy and --domain the key may do everything (voiceid:* on every domain). The server
    may run meanwhile: it knows the key a second later. What is printed is a profile for a
    shared-credentials file, which must hold no two of one name; keep it to yourself (umask 077).

    Example: vivavoce keys create --name desk --domain UcUuCPFOsAjzg9xoByUatN >> credentials
    """
    now_ms = SystemClock().now_ms()
    record = new_access_key(
        name=name,
        policy=_policy_text(policy, domain or [], region, read_only=read_only),
        now_ms=now_ms,
        lifetime_ms=None if expires is None else _lifetime_ms(expires),
    )

    def work(tx: Transaction) -> None:
        _require_new_name(record, tx.access_keys.all())
        tx.access_keys.add(record)
        act = command_record("CreateAccessKey", at_ms=now_ms, **access_key_facts(record))
        tx.audit.add(act, now_ms)

    settings = read_settings({"data_dir": data_dir})
    with open_data(settings.data_dir) as store:
        store.write_now(work)
    for resource in Policy.parse(record.policy).idle_resources(settings.account_id):
        typer.echo(
            f"warning: {resource!r} fits no domain of this server, whose account is "
            f"{settings.account_id}",
            err=True,
        )
    typer.echo(json.dumps(_document(record)) if as_json else _profile(record))


@app.command("list")
def list_keys(*, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the access keys and what each may do; never the secrets.

    Example: vivavoce keys list --json | jq -r '.[] | select(.Expired) | .AccessKeyId'
    """
    now_ms = SystemClock().now_ms()
    with open_data(data_folder(data_dir), read_only=True) as store:
        records = store.read_now(lambda tx: tx.access_keys.all())
    if as_json:
        typer.echo(json.dumps([_summary(record, now_ms) for record in records], indent=2))
        return
    if not records:
        typer.echo("There is no access key; `vivavoce keys create` makes one.", err=True)
    for record in records:
        # Plain lines: an id that a table breaks in two cannot be copied.
        typer.echo(_line(record, now_ms))


@app.command()
def revoke(
    access_key_id: Annotated[str, typer.Argument(help="The key's id, as `list` shows it.")],
    *,
    data_dir: DataDir = None,
) -> None:
    """Revoke an access key; a running server refuses it a second later.

    Example: vivavoce keys revoke VVX7Q2M4K9P1T8R3W5Y6
    """
    now_ms = SystemClock().now_ms()

    def work(tx: Transaction) -> None:
        name = tx.access_keys.remove(access_key_id)
        what = {"userName": name, "accessKeyId": access_key_id}
        act = command_record("DeleteAccessKey", at_ms=now_ms, requestParameters=what)
        tx.audit.add(act, now_ms)

    with open_data(data_folder(data_dir)) as store:
        store.write_now(work)
    typer.echo(f"{access_key_id} is revoked")


def _require_new_name(record: AccessKeyRecord, others: list[AccessKeyRecord]) -> None:
    """Make sure that a permanent key's profile is the only one of its name.

    Temporary keys come again and again under one name, each profile in place of the last one.
    """
    if record.expires_ms is not None:
        return
    for other in others:
        if other.name == record.name and other.expires_ms is None:
            raise AccessKeyError(
                f"there is a key called {record.name} already: {other.access_key_id}; give "
                "another --name, or revoke that one first"
            )


def _policy_text(
    file: str | None, domains: list[str], region: str | None, *, read_only: bool
) -> str:
    if file is not None:
        if domains or read_only or region is not None:
            raise AccessKeyError("--policy says it all: leave out --domain, --region, --read-only")
        text = _read(file)
        Policy.parse(text)
        return text
    if region is not None and not domains:
        raise AccessKeyError("--region goes with --domain")
    if region is not None and not _REGION.fullmatch(region):
        raise AccessKeyError("a region has letters, digits and hyphens")
    for domain in domains:
        if not _DOMAIN_ID.fullmatch(domain):
            raise AccessKeyError("a domain's id has 22 letters and digits")
    statement = {
        "Effect": "Allow",
        "Action": _READING if read_only else _EVERYTHING,
        "Resource": [f"arn:aws:{SERVICE}:{region or '*'}:*:domain/{each}" for each in domains]
        or "*",
    }
    text = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    Policy.parse(text)  # thousands of domains are more than a policy holds
    return text


def _read(file: str) -> str:
    raw = read_small(file, most_bytes=MAX_POLICY_BYTES, error=PolicyInvalid)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PolicyInvalid(f"{file} is not UTF-8 text") from error


def _lifetime_ms(text: str) -> int:
    match = _LIFETIME.fullmatch(text)
    lifetime_ms = int(match[1]) * _UNIT_MS[match[2]] if match else 0
    if not 0 < lifetime_ms <= _MAX_LIFETIME_MS:
        raise AccessKeyError(
            f"--expires {text!r} is not a time such as 30m, 12h or 7d (366d at most)"
        )
    return lifetime_ms


def _document(record: AccessKeyRecord) -> dict[str, Any]:
    """A new key, in the members that the AWS command line's credential_process wants."""
    document: dict[str, Any] = {
        "Version": 1,
        "AccessKeyId": record.access_key_id,
        "SecretAccessKey": record.secret,
        "Name": record.name,
    }
    if record.session_token is not None and record.expires_ms is not None:
        document["SessionToken"] = record.session_token
        document["Expiration"] = _when(record.expires_ms)
    return document


def _profile(record: AccessKeyRecord) -> str:
    """A new key, as a profile of a shared-credentials file."""
    lines = [
        f"[{record.name}]",
        f"aws_access_key_id = {record.access_key_id}",
        f"aws_secret_access_key = {record.secret}",
    ]
    if record.session_token is not None and record.expires_ms is not None:
        lines.append(f"aws_session_token = {record.session_token}")
        lines.append(f"# expires {_when(record.expires_ms)}")
    return "\n".join(lines)


def _summary(record: AccessKeyRecord, now_ms: int) -> dict[str, Any]:
    return {
        "AccessKeyId": record.access_key_id,
        "Name": record.name,
        "Kind": _kind(record),
        "CreateDate": _when(record.created_ms),
        "Expiration": None if record.expires_ms is None else _when(record.expires_ms),
        "Expired": _has_expired(record, now_ms),
        "Policy": _policy_document(record.policy),
    }


def _line(record: AccessKeyRecord, now_ms: int) -> str:
    return (
        f"{record.access_key_id}  {_kind(record):<9}  made {_when(record.created_ms)}  "
        f"expires {_expiry(record, now_ms):<20}  {record.name}  {_short_policy(record.policy)}"
    )


def _kind(record: AccessKeyRecord) -> str:
    return "permanent" if record.session_token is None else "temporary"


def _has_expired(record: AccessKeyRecord, now_ms: int) -> bool:
    return record.expires_ms is not None and now_ms >= record.expires_ms


def _expiry(record: AccessKeyRecord, now_ms: int) -> str:
    if record.expires_ms is None:
        return "never"
    when = _when(record.expires_ms)
    return f"{when} (expired)" if _has_expired(record, now_ms) else when


def _when(instant_ms: int) -> str:
    return to_datetime(instant_ms).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _policy_document(text: str) -> object:
    """A policy as JSON; the text itself where it is none."""
    try:
        return cast("object", json.loads(text))
    except (ValueError, RecursionError):
        return text


def _short_policy(text: str) -> str:
    """What a policy is about, in a line: effects, actions, resources."""
    try:
        Policy.parse(text)
    except PolicyInvalid:
        return "nothing: its policy is broken"
    given = json.loads(text)["Statement"]
    statements = cast("list[dict[str, Any]]", given if isinstance(given, list) else [given])
    short = "; ".join(_short_statement(each) for each in statements)
    # A resource may hold anything, and a terminal obeys control characters.
    short = "".join(letter if letter.isprintable() else "?" for letter in short)
    return short if len(short) <= _SHORT else f"{short[: _SHORT - 3]}..."


def _short_statement(statement: dict[str, Any]) -> str:
    parts = [statement["Effect"].lower()]
    for name, words in _SHORT_WORDS.items():
        if name in statement:
            texts: str | list[str] = statement[name]
            listed = [texts] if isinstance(texts, str) else texts
            parts.append(words + ", ".join(_without_prefix(each) for each in listed))
    if "Condition" in statement:
        parts.append("if ...")
    return " ".join(parts)


def _without_prefix(text: str) -> str:
    """An action or a domain's ARN, without what all of them have."""
    return text.removeprefix(f"{SERVICE}:").rpartition(":domain/")[2]
