"""Events as a file of JSON lines: one envelope a line, oldest first.

A line is on the disk, not only in a cache, before its event counts as delivered. Whatever rotates
logs may rename or remove the file at any time: the next event begins a new one.
"""

import asyncio
import errno
import os
import stat
from pathlib import Path
from threading import Lock

from vivavoce.errors import DeliveryFailed, SettingsInvalid, SinkBusy

_BEGINNING = b'{"version"'  # of every envelope
_BLOCK_BYTES = 64 * 1024


class JsonLinesSink:
    """Appends events to a file that only its owner can read (mode 0600).

    A line that a crash cut off is taken away when the file is opened: its event was not delivered,
    so it will come again. If the line is none of ours, it is ended instead.
    """

    name = "file"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()  # held by the thread that writes: a task may be cancelled meanwhile
        self._handle: int | None = None

    def open(self) -> None:
        """Open the file now, to find out at start what would keep every event from it.

        Raises:
            SettingsInvalid: it cannot be written.
        """
        with self._lock:
            try:
                self._current()
            except OSError as error:
                raise SettingsInvalid(
                    f"setting events_file: {self._path} cannot be written: {error.strerror}; "
                    "name a file in a folder that exists and that this user may write to"
                ) from error

    async def deliver(self, event_id: str, body: str) -> None:
        """Append an event; it is on the disk when this returns.

        Raises:
            DeliveryFailed: the envelope is more than one line.
            SinkBusy: the file cannot be written; its disk may be full.
        """
        del event_id  # the envelope holds it
        if "\n" in body or "\r" in body:
            raise DeliveryFailed("an event has to be one line of JSON", is_final=True)
        await asyncio.to_thread(self._append, f"{body}\n".encode())

    async def close(self) -> None:
        """Close the file."""
        await asyncio.to_thread(self._close_locked)

    def _append(self, line: bytes) -> None:
        with self._lock:
            try:
                _write_whole(self._current(), line)
            except OSError as error:
                # Nobody knows what of it is on the disk; opening anew finds out and mends it.
                self._close()
                raise SinkBusy(f"{self._path} cannot be written: {error.strerror}") from error

    def _current(self) -> int:
        """The file that has the name now."""
        if self._handle is not None and not _has_name(self._handle, self._path):
            self._close()
        if self._handle is None:
            self._handle = _open(self._path)
        return self._handle

    def _close_locked(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._handle is not None:
            handle, self._handle = self._handle, None
            os.close(handle)


def _has_name(handle: int, path: Path) -> bool:
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(handle))


def _open(path: Path) -> int:
    is_new = not path.exists()
    # Not waiting: a pipe without a reader would hold up the thread for ever.
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    handle = os.open(path, flags, 0o600)
    try:
        _require_file(handle)
        _mend(handle)
        if is_new:
            _sync_folder(path.parent)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _require_file(handle: int) -> None:
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        raise OSError(errno.EINVAL, "it is not a file")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)  # the name itself survives a power cut
    finally:
        os.close(handle)


def _mend(handle: int) -> None:
    """Make sure that the file ends with a whole line."""
    size = os.fstat(handle).st_size
    end = _end_of_last_line(handle, size)
    if end == size:
        return
    torn = os.pread(handle, len(_BEGINNING), end)
    # A power cut may leave zeros in place of what was not written yet.
    is_ours = _BEGINNING.startswith(torn.rstrip(b"\0"))
    if is_ours:
        os.ftruncate(handle, end)
    else:
        os.write(handle, b"\n")
    os.fsync(handle)


def _end_of_last_line(handle: int, size: int) -> int:
    """Where the last line break ends; 0 if there is none."""
    position = size
    while position > 0:
        start = max(0, position - _BLOCK_BYTES)
        found = os.pread(handle, position - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        position = start
    return 0


def _write_whole(handle: int, line: bytes) -> None:
    """Append a line and see it onto the disk, or leave the file as it was.

    Raises:
        OSError: it cannot be written.
    """
    size = os.fstat(handle).st_size
    try:
        rest = memoryview(line)
        while rest:
            rest = rest[os.write(handle, rest) :]
        os.fsync(handle)
    except OSError:
        os.ftruncate(handle, size)
        raise
