"""Options that several commands have in common."""

from pathlib import Path
from typing import Annotated

import typer

from vivavoce.settings import read_settings

DataDir = Annotated[
    Path | None,
    typer.Option(
        help="The server's data folder; VIVAVOCE_DATA_DIR or vivavoce-data if not given.",
        show_default=False,
        file_okay=False,
    ),
]


def data_folder(data_dir: Path | None) -> Path:
    """The data folder in force: the one given by `--data-dir`, else the one of the settings.

    Raises:
        SettingsInvalid: a setting has a name or a value that is none.
    """
    return read_settings({"data_dir": data_dir}).data_dir
