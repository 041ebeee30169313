"""The command line: one module a command; the only reader of argv."""

import os
import sys
from typing import Annotated

# Before numpy is loaded: its matrix products here are small, and a pool of threads that wait for
# one another made them 20 times slower on a busy machine. Parallelism comes from calls.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import typer

import vivavoce
from vivavoce.cli import audit, connectors, events, jobs, keyring, keys, migrate, models
from vivavoce.cli.backup import backup
from vivavoce.cli.call import call
from vivavoce.cli.demo import demo
from vivavoce.cli.score import score
from vivavoce.cli.sdk_path import sdk_path
from vivavoce.cli.serve import serve
from vivavoce.cli.trials import trials
from vivavoce.errors import SettingsInvalid, VivavoceError

app = typer.Typer(
    name="vivavoce",
    help="Authenticate callers by voice and catch fraud, with the API of Amazon Connect Voice ID.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(demo)
app.command()(serve)
app.command()(backup)
app.command()(call)
app.command()(score)
app.command()(trials)
app.command("sdk-path")(sdk_path)
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")
app.add_typer(keyring.app, name="keyring")
app.add_typer(connectors.app, name="connectors")
app.add_typer(jobs.app, name="jobs")
app.add_typer(migrate.app, name="migrate")
app.add_typer(events.app, name="events")
app.add_typer(audit.app, name="audit")


@app.callback(invoke_without_command=True)
def _root(  # pyright: ignore[reportUnusedFunction]
    *, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    if version:
        typer.echo(f"vivavoce {vivavoce.__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; what vivavoce raises on purpose is one line on stderr and exit 1."""
    try:
        app()
    except VivavoceError as error:
        sys.stderr.write(f"vivavoce: {error}\n")
        sys.exit(2 if isinstance(error, SettingsInvalid) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
