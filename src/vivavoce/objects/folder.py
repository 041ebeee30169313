"""Objects in a folder: `s3://bucket/key` is the file `bucket/key` below it.

So a manifest that was written for S3 works on a laptop unchanged. Roles and keys are not asked for:
whoever can write to the folder is trusted with it.
"""

import errno
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from vivavoce.errors import ObjectError, ObjectsDown
from vivavoce.objects.objects import Place

_BLOCK_BYTES = 1 << 20

_NAMES_REFUSED = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, errno.ELOOP)


class FolderObjects:
    """Reads and writes objects below a folder."""

    def __init__(self, folder: Path) -> None:
        """Nothing is read yet.

        Args:
            folder: has a folder for each bucket.
        """
        self._folder = folder

    def fetch(self, place: Place, file: Path, *, role_arn: str, limit_bytes: int) -> None:  # noqa: ARG002 - of the Protocol
        """Copy an object into a file.

        Raises:
            ObjectError: it is missing, unreadable, no file, too large, or changes while it is read.
            ObjectsDown: the disk fails.
        """
        with _refusals(place):
            path = self._path(place)
            if path.exists() and not path.is_file():  # a pipe would be waited for
                raise IsADirectoryError
        with _refusals(place), path.open("rb") as source, file.open("wb") as copy:
            before = os.fstat(source.fileno())
            _require_size(place, before.st_size, limit_bytes)
            copied = _copy(source, copy, limit_bytes)
            after = os.fstat(source.fileno())
        if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, copied):
            raise ObjectError(f"{place} changed while it was read; try again", code=400)

    def store(
        self,
        place: Place,
        file: Path,
        *,
        role_arn: str,  # noqa: ARG002 - of the Protocol
        kms_key_id: str | None = None,  # noqa: ARG002 - of the Protocol
    ) -> None:
        """Write a file's content as an object; who reads it meanwhile sees the one before.

        Raises:
            ObjectError: it cannot be written there.
            ObjectsDown: the disk fails, or is full.
        """
        with _refusals(place):
            path = self._path(place)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._require_inside(place, path.parent)
            with tempfile.NamedTemporaryFile(
                dir=path.parent, prefix=".writing-", delete=False
            ) as copy:
                try:
                    with file.open("rb") as source:
                        _copy(source, copy, None)
                    copy.flush()
                    os.fsync(copy.fileno())
                    Path(copy.name).replace(path)
                except BaseException:
                    Path(copy.name).unlink(missing_ok=True)
                    raise

    def _path(self, place: Place) -> Path:
        parts = place.key.split("/")
        if "\\" in place.key or any(part in ("", ".", "..") for part in parts):
            # S3 allows such keys; here they would lead elsewhere, or to the same file as others.
            raise ObjectError(f"{place} has a key that no file can have", code=400)
        path = self._folder / place.bucket / place.key
        self._require_inside(place, path)
        return path

    def _require_inside(self, place: Place, path: Path) -> None:
        """A link may lead out of the folder, wherever its target is."""
        bucket = (self._folder / place.bucket).resolve()
        if not path.resolve().is_relative_to(bucket):
            raise ObjectError(f"{place} leads out of its bucket's folder", code=403)


def _require_size(place: Place, size_bytes: int, limit_bytes: int) -> None:
    if size_bytes > limit_bytes:
        raise ObjectError(
            f"{place} has {size_bytes / 1e6:.1f} MB; at most {limit_bytes / 1e6:.0f} MB are taken",
            code=400,
        )


def _copy(source: IO[bytes], copy: IO[bytes], limit_bytes: int | None) -> int:
    """Copy up to a little more than the limit; gives how much."""
    copied = 0
    while block := source.read(_BLOCK_BYTES):
        copied += len(block)
        copy.write(block)
        if limit_bytes is not None and copied > limit_bytes:
            break
    return copied


@contextmanager
def _refusals(place: Place) -> Generator[None]:
    """Tell what the file system refuses in the words of objects."""
    try:
        yield
    except FileNotFoundError:
        raise ObjectError(f"{place} does not exist", code=404) from None
    except IsADirectoryError:
        raise ObjectError(f"{place} is no file", code=404) from None
    except (PermissionError, NotADirectoryError) as error:
        raise ObjectError(f"{place}: {error.strerror}", code=403) from None
    except (ValueError, RuntimeError) as error:  # a zero byte; a link that leads to itself
        raise ObjectError(f"{place!s:.200} has a key that no file can have", code=400) from error
    except OSError as error:
        if error.errno in _NAMES_REFUSED:
            raise ObjectError(f"{place!s:.200}: {error.strerror}", code=400) from None
        raise ObjectsDown(f"{place}: {error.strerror or error}") from error
