"""Options that several commands have in common."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from vivavoce.errors import VivavoceError
from vivavoce.settings import read_settings

DataDir = Annotated[
    Path | None,
    typer.Option(
        help="The server's data folder; VIVAVOCE_DATA_DIR or vivavoce-data if not given.",
        show_default=False,
        file_okay=False,
    ),
]


def read_small(file: str, *, most_bytes: int, error: type[VivavoceError]) -> bytes:
    """What a small file holds; `-` is standard input.

    Args:
        file: its path.
        most_bytes: more cannot be what is wanted.
        error: raised if it cannot be read, or is longer.
    """
    try:
        if file == "-":
            raw = sys.stdin.buffer.read(most_bytes + 1)
        else:
            with Path(file).open("rb") as opened:
                raw = opened.read(most_bytes + 1)
    except OSError as failure:
        raise error(f"{file} cannot be read: {failure.strerror}") from failure
    if len(raw) > most_bytes:
        raise error(f"{file} is longer than {most_bytes} bytes")
    return raw


def data_folder(data_dir: Path | None) -> Path:
    """The data folder in force: the one given by `--data-dir`, else the one of the settings.

    Raises:
        SettingsInvalid: a setting has a name or a value that is none.
    """
    return read_settings({"data_dir": data_dir}).data_dir
