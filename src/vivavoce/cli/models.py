"""`vivavoce models`: which models are installed, from where, how good, and fetching them."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from vivavoce.errors import ModelError, ModelMissing
from vivavoce.models import pull as pulling
from vivavoce.models import registry
from vivavoce.models.card import beside_or_shipped, calibration_suffix, load_model, sha256_of
from vivavoce.scoring.spoofing import DISTANCE

app = typer.Typer(
    help="Model files: what is installed, from where, hash, licence, measured accuracy. "
    "Without a command, the list."
)

ModelsDir = Annotated[
    Path | None,
    typer.Option(
        envvar="VIVAVOCE_MODELS_DIR",
        help="Folder of pulled models; ~/.cache/vivavoce/models if not given.",
        show_default=False,
        file_okay=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Name = Annotated[str, typer.Argument(help="Name of a model, as `list` shows it.")]


@app.callback(invoke_without_command=True)
def _models(context: typer.Context) -> None:  # pyright: ignore[reportUnusedFunction]
    if context.invoked_subcommand is None:
        listing = typer.main.get_group(app).commands["list"]
        with listing.make_context("list", [], parent=context) as inner:
            listing.invoke(inner)


@app.command("list")
def list_models(*, models_dir: ModelsDir = None, as_json: AsJson = False) -> None:
    """List the models that are installed or can be pulled."""
    rows = [_summary(entry) for entry in registry.known(registry.models_folder(models_dir))]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table("name", "kind", "installed", "calibrated", "licence", "SHA-256")
    for row in rows:
        installed, calibrated = _yes(yes=row["installed"]), _yes(yes=row["calibrated"])
        facts = (row["name"], row["kind"], installed, calibrated, row["licence"])
        table.add_row(*facts, row["sha256"][:12])
    Console().print(table)


@app.command()
def pull(
    *,
    models_dir: ModelsDir = None,
    if_missing: Annotated[
        bool, typer.Option("--if-missing", help="Do nothing if the right file is there already.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Fetch the default speaker model and install it."""
    folder = registry.models_folder(models_dir)
    if if_missing and pulling.is_current(folder):
        path, pulled = registry.find(folder, registry.DEFAULT_SPEAKER_MODEL), False
    else:
        path, pulled = _pull_showing_progress(folder), True
        load_model(path)
    if as_json:
        report = {"name": path.stem, "path": str(path), "sha256": sha256_of(path), "pulled": pulled}
        typer.echo(json.dumps(report))
    elif pulled:
        typer.echo(f"{path.stem} is installed: {path}")


@app.command()
def verify(*, models_dir: ModelsDir = None, as_json: AsJson = False) -> None:
    """Load every installed model and check its hash, card, shapes and calibration."""
    folder = registry.models_folder(models_dir)
    reports = [_verdict(entry) for entry in registry.known(folder)]
    if as_json:
        typer.echo(json.dumps(reports, indent=2))
    for report in reports:
        if not as_json and report["ok"]:
            typer.echo(f"{report['name']}: good, {report['sha256'][:12]}")
        if not report["ok"]:
            typer.echo(f"{report['name']}: {report['problem']}", err=True)
    if not all(report["ok"] for report in reports):
        raise typer.Exit(1)


@app.command()
def show(name: Name, *, models_dir: ModelsDir = None, as_json: AsJson = False) -> None:
    """Show the card of one model: what it is, what it was trained on, what it measures."""
    entries = registry.known(registry.models_folder(models_dir))
    entry = next((entry for entry in entries if entry.name == name), None)
    if entry is None:
        there = ", ".join(entry.name for entry in entries)
        raise ModelMissing(f"There is no model {name!r}; there are: {there}")
    facts = {**entry.card, **_summary(entry)}
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    for key, value in facts.items():
        # Plain lines: a hash or a path that a table breaks in two cannot be copied.
        typer.echo(f"{key:<14} " + _text(value).replace("\n", "\n" + 15 * " "))


def _pull_showing_progress(folder: Path) -> Path:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    console = Console(stderr=True)  # --json stays alone on stdout.
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task("", total=1.0)

        def show_step(step: str, share: float) -> None:
            progress.update(task, description=step, completed=share)

        return pulling.pull(folder, show_step)


def _summary(entry: registry.Listing) -> dict[str, Any]:
    return {
        "name": entry.name,
        **{key: entry.card.get(key, "") for key in ("kind", "licence", "source", "sha256")},
        "installed": entry.installed,
        "calibrated": all(
            beside_or_shipped(entry.path, calibration_suffix(output)) is not None
            for output in entry.card.get("outputs", "").split() or [""]
            if output != DISTANCE
        ),
        "path": str(entry.path),
        "measured": entry.card.get("measured", {}),
    }


def _verdict(entry: registry.Listing) -> dict[str, Any]:
    report = {"name": entry.name, "path": str(entry.path), "sha256": entry.card["sha256"]}
    try:
        load_model(entry.path)
    except ModelError as error:
        return {**report, "ok": False, "problem": str(error)}
    return {**report, "ok": True, "problem": None}


def _yes(*, yes: bool) -> str:
    return "yes" if yes else "no"


def _text(value: str | float | list[str] | dict[str, str]) -> str:
    """A member of a card, as it may stand in JSON, for reading."""
    if isinstance(value, dict):
        return "\n".join(f"{key}: {member}" for key, member in value.items()) or "nothing yet"
    if isinstance(value, list):
        return "\n".join(value)
    return str(value)
