"""`vivavoce audit`: what was done and decided here, and whether the log of it is whole."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vivavoce.cli.options import DataDir, data_folder
from vivavoce.clock import iso_utc
from vivavoce.foundation import open_data
from vivavoce.store.audit import Anchor, AuditRecord, AuditRows, Verified, verify_log
from vivavoce.store.store import Store

_PAGE = 500

app = typer.Typer(
    help="The audit log: what was done and decided, each record sealed to the one before.",
    no_args_is_help=True,
)


def _anchor(text: str) -> Anchor:
    try:
        return Anchor.parse(text)
    except ValueError:
        raise typer.BadParameter(
            "give what `vivavoce audit verify` printed: a number, a colon, 64 hexadecimal digits"
        ) from None


def _since(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("give a time in ISO 8601, such as 2026-01-31T08:00Z") from None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


@app.command()
def verify(
    *,
    expect: Annotated[
        Anchor | None,
        typer.Option(
            metavar="SEQUENCE:MAC",
            parser=_anchor,
            help="A head that an earlier run printed: the log must still hold it.",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Check that no record was changed, taken out, inserted or cut off; exit 1 if one was.

    The server may run meanwhile; a copy that cannot be written will do. Note the head that is
    printed on another machine, and give it with --expect next time: only so is an older copy of the
    whole database detected that was put back.

    Example: vivavoce audit verify --expect "$(cat /mnt/elsewhere/audit-head)"
    """
    with open_data(data_folder(data_dir), read_only=True) as store:
        verified = _verify_showing_progress(store, expect)
    typer.echo(_summary(verified))


@app.command("list")
def list_records(
    *,
    since: Annotated[
        datetime | None,
        typer.Option(
            metavar="ISO",
            parser=_since,
            help="Nothing before this time; UTC if it names no zone.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, whole, instead of text.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """List the newest records, oldest first. It does not verify them: `vivavoce audit verify` does.

    Example: vivavoce audit list --since 2026-01-31 --limit 100000 --json | jq -r .record.eventName
    """
    since_ms = None if since is None else round(since.timestamp() * 1000)
    line: Callable[[AuditRecord], str] = _json_line if as_json else _text_line
    with open_data(data_folder(data_dir), read_only=True) as store:
        for record in _newest(store, since_ms, limit):
            typer.echo(line(record))


def _verify_showing_progress(store: Store, expected: Anchor | None) -> Verified:
    console = Console(stderr=True)
    columns = (
        TextColumn("verifying"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task("", total=None)
        return verify_log(
            lambda work: store.read_now(lambda tx: work(tx.audit)),
            expected=expected,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )


def _summary(verified: Verified) -> str:
    count = verified.head.sequence
    lines = [f"{count} record{'' if count == 1 else 's'}, unbroken"]
    if verified.first_ms is not None and verified.last_ms is not None:
        lines.append(f"from {iso_utc(verified.first_ms)} to {iso_utc(verified.last_ms)}")
    lines.append(f"head {verified.head}")
    return "\n".join(lines)


def _newest(store: Store, since_ms: int | None, limit: int) -> Iterator[AuditRecord]:
    """The newest so many, each page in a transaction of its own: whoever reads them may be slow."""
    after, last = store.read_now(lambda tx: _span(tx.audit, since_ms, limit))
    while after < last:
        begin, size = after, min(_PAGE, last - after)
        page = store.read_now(
            lambda tx, begin=begin, size=size: tx.audit.page(after=begin, size=size)
        )
        if not page:
            return  # the end is cut off, which is for `verify` to say
        yield from page
        after = page[-1].sequence


def _span(rows: AuditRows, since_ms: int | None, limit: int) -> tuple[int, int]:
    """Behind which record to begin, and with which one to end."""
    last = rows.head().sequence
    after = max(0, last - limit)
    if since_ms is not None:
        first = rows.first_since(since_ms)
        after = last if first is None else max(after, first - 1)
    return after, last


def _json_line(record: AuditRecord) -> str:
    return json.dumps(
        {"sequence": record.sequence, "at": iso_utc(record.at_ms), "record": record.record}
    )


def _text_line(record: AuditRecord) -> str:
    """Number, time, what, how it ended, who or where; whatever a caller chose cannot break it."""
    facts = record.record
    name = _plain(facts.get("eventName"))
    what = f"{record.sequence:>8}  {iso_utc(record.at_ms)}  {name:<32}"
    return f"{what}  {_outcome(facts):<28}  {_where(facts)}".rstrip()


def _outcome(facts: dict[str, Any]) -> str:
    if "decision" not in facts:
        return _plain(facts.get("errorCode", "ok"))
    score = facts.get("score")
    return _plain(facts["decision"]) + ("" if score is None else f" {score}")


def _where(facts: dict[str, Any]) -> str:
    if "decision" in facts:
        return _plain(facts.get("sessionId"))
    identity: dict[str, Any] = facts.get("userIdentity") or {}
    who = identity.get("userName") or identity.get("invokedBy")
    return f"{_plain(who)} {_plain(facts.get('sourceIPAddress'))}"


def _plain(value: object) -> str:
    """A text without what a terminal would obey."""
    text = "-" if value is None else str(value)
    return "".join(letter if letter.isprintable() else "?" for letter in text)
