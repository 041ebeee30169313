"""The root key's file."""

import os
import stat
from pathlib import Path

from vivavoce.errors import KeyUnavailable
from vivavoce.vault.seal import KEY_BYTES, new_key

_HEADER = "vivavoce root key v1 "


def load_or_create_root_key(path: Path, *, may_create: bool) -> bytes:
    """Read the root key; at the very first start, make it.

    Args:
        path: the key file, mode 0600.
        may_create: False where a database exists already: a new key could never open it, so a
            lost key file must be an error rather than a fresh start.

    Raises:
        KeyUnavailable: missing with a database beside it, readable by others, or not a key file.
    """
    try:
        text = path.read_text(encoding="ascii")
    except FileNotFoundError:
        if not may_create:
            raise KeyUnavailable(
                f"{path} is missing, but there is a database that was sealed with it; "
                "restore the key file from your backup"
            ) from None
        return _create(path)
    except (OSError, UnicodeDecodeError) as error:
        raise KeyUnavailable(f"{path} cannot be read as a key file: {error}") from error
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise KeyUnavailable(f"{path} can be read by others; run: chmod 600 {path}")
    return _parse(text, path)


def _create(path: Path) -> bytes:
    key = new_key()
    write_private(path, f"{_HEADER}{key.hex()}\n")
    return key


def _parse(text: str, path: Path) -> bytes:
    try:
        key = bytes.fromhex(text.removeprefix(_HEADER).strip()) if text.startswith(_HEADER) else b""
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise KeyUnavailable(f"{path} is not a vivavoce root key file, or it is damaged")
    return key


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read (mode 0600), whole or not at all.

    Raises:
        KeyUnavailable: the folder cannot be written.
    """
    try:
        _write_private(path, text)
    except OSError as error:
        raise KeyUnavailable(f"{path} cannot be written: {error.strerror}") from error


def _write_private(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
