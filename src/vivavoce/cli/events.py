"""`vivavoce events`: events that could not be delivered, to be tried again or discarded."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from vivavoce.cli.options import DataDir, data_folder
from vivavoce.clock import to_datetime
from vivavoce.errors import EventError
from vivavoce.foundation import open_data
from vivavoce.store.outbox import Delivery
from vivavoce.store.store import Store

_PAGE_SIZE = 500

app = typer.Typer(
    help="Events that were given up (dead letters). Works while the server runs.",
    no_args_is_help=True,
)

Sequence = Annotated[
    int | None, typer.Argument(min=1, help="Number of the event, as `dead` shows it.")
]
Everything = Annotated[bool, typer.Option("--all", help="All that were given up.")]


@app.command()
def dead(
    *,
    data_dir: DataDir = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, with the whole events, instead of a table.")
    ] = False,
) -> None:
    """List the events that were given up, oldest first, and why."""
    with open_data(data_folder(data_dir), read_only=True) as store:
        found = _all_dead(store)
    if as_json:
        typer.echo(json.dumps([_facts(delivery) for delivery in found], indent=2))
        return
    table = Table("number", "sink", "event", "made", "attempts", "last error")
    for delivery in found:
        facts = _facts(delivery)
        event: dict[str, Any] = facts["event"]
        what = f"{event['detail-type']} {event['detail']['status']}"
        row = (facts["sequence"], facts["sink"], what, facts["created"], facts["attempts"])
        table.add_row(*map(str, row), facts["last_error"])
    Console().print(table)


@app.command()
def retry(
    sequence: Sequence = None,
    *,
    everything: Everything = False,
    data_dir: DataDir = None,
) -> None:
    """Let an event that was given up (or all of them) be tried again.

    Example: vivavoce events retry 4711
    """
    _require_one_or_all(sequence, everything=everything)
    with open_data(data_folder(data_dir)) as store:
        revived = store.write_now(lambda tx: tx.outbox.revive(sequence))
    _require_found(sequence, revived)
    typer.echo(f"{revived} will be tried again")


@app.command()
def discard(
    sequence: Sequence = None,
    *,
    everything: Everything = False,
    data_dir: DataDir = None,
) -> None:
    """Drop an event that was given up (or all of them), for good.

    Example: vivavoce events discard 4711
    """
    _require_one_or_all(sequence, everything=everything)
    with open_data(data_folder(data_dir)) as store:
        discarded = store.write_now(lambda tx: tx.outbox.discard(sequence))
    _require_found(sequence, discarded)
    typer.echo(f"{discarded} discarded")


def _all_dead(store: Store) -> list[Delivery]:
    found: list[Delivery] = []
    while True:
        after = found[-1].sequence if found else 0
        page = store.read_now(lambda tx, after=after: tx.outbox.dead(after=after, size=_PAGE_SIZE))
        found += page
        if len(page) < _PAGE_SIZE:
            return found


def _facts(delivery: Delivery) -> dict[str, Any]:
    return {
        "sequence": delivery.sequence,
        "sink": delivery.sink,
        "created": to_datetime(delivery.created_ms).isoformat(timespec="seconds"),
        "attempts": delivery.attempts,
        "last_error": delivery.last_error,
        "event": json.loads(delivery.body),
    }


def _require_one_or_all(sequence: int | None, *, everything: bool) -> None:
    if (sequence is None) != everything:
        raise typer.BadParameter("name one event by its number, or give --all")


def _require_found(sequence: int | None, found: int) -> None:
    if sequence is not None and not found:
        raise EventError(f"there is no event {sequence} that was given up")
