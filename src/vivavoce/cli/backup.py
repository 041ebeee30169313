"""`vivavoce backup`: a copy of the database and of the keys that open it."""

from pathlib import Path
from typing import Annotated

import typer

from vivavoce.cli.options import DataDir
from vivavoce.errors import StoreError
from vivavoce.foundation import DATABASE_FILE, ROOT_KEY_FILE, open_data, open_keyring
from vivavoce.settings import Settings, read_settings
from vivavoce.store.store import Store
from vivavoce.vault.keyfile import sync_folder, write_private
from vivavoce.vault.keyring import KEYRING_FILE


def backup(
    folder: Annotated[
        Path, typer.Argument(help="Where the copy goes: a new or empty folder.", show_default=False)
    ],
    *,
    data_dir: DataDir = None,
) -> None:
    """Copy the database, root.key and keyring.json into a new folder; the server may run.

    The copy holds the keys to everything in it: keep it where nobody else can read it. Prints
    where the audit log ends in it, for `vivavoce audit verify --expect`.

    Example: vivavoce backup /mnt/safe/$(date +%F)
    """
    settings = read_settings({"data_dir": data_dir})
    with open_data(settings.data_dir, read_only=True) as store:
        _claim(folder)
        try:
            _copy(settings, store, folder)
            # Opened once, it is known to open.
            with open_data(folder, read_only=True) as copy:
                head = copy.read_now(lambda tx: tx.audit.head())
            sync_folder(folder)
        except BaseException:
            for path in folder.iterdir():  # it was empty: all of it is ours
                path.unlink()
            raise
    typer.echo(f"{folder} holds the keys to what is in it: keep it from others", err=True)
    typer.echo(f"head {head}")


def _claim(folder: Path) -> None:
    """Make the folder, for this user alone."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise StoreError(f"{folder} is not empty; name a new folder")
        folder.chmod(0o700)
    except OSError as error:
        raise StoreError(f"{folder} cannot be made: {error.strerror}") from error


def _copy(settings: Settings, store: Store, folder: Path) -> None:
    store.back_up(folder / DATABASE_FILE)
    # After the database, as a key is in the keyring before any domain names it.
    keyring = settings.data_dir / KEYRING_FILE
    if settings.kms == "local" or keyring.exists():
        open_keyring(settings.data_dir).all_keys()  # a damaged one would be no backup
        write_private(folder / KEYRING_FILE, keyring.read_text(encoding="utf-8"))
    root_key = (settings.data_dir / ROOT_KEY_FILE).read_text(encoding="ascii")
    write_private(folder / ROOT_KEY_FILE, root_key)
