"""What jobs read and write: objects by `s3://bucket/key`.

There is no listing and no deletion: a job reads what its manifest names and writes its output.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from vivavoce.errors import ObjectError

S3_URI = re.compile(r"s3://[a-z0-9][.\-a-z0-9]{1,61}[a-z0-9](/.*)?", re.DOTALL)
"""Source: the service description's pattern of S3Uri."""

_LONGEST_KEY_BYTES = 1024
"""Source: Amazon S3 User Guide, "Creating object key names"."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an object is.

    Attributes:
        bucket: the bucket.
        key: the object's name in it; not empty.
    """

    bucket: str
    key: str

    @classmethod
    def of(cls, uri: str) -> Self:
        """Read an `s3://` URI.

        Raises:
            ObjectError: it is none, or names no object.
        """
        if not S3_URI.fullmatch(uri):
            raise ObjectError(f"{uri} is no S3 URI such as s3://bucket/folder/name", code=400)
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        if not key or key.endswith("/"):
            raise ObjectError(f"{uri} names a folder, not an object", code=400)
        try:
            encoded = key.encode()
        except UnicodeEncodeError:
            raise ObjectError(f"{uri!r} is no text", code=400) from None
        if len(encoded) > _LONGEST_KEY_BYTES:
            raise ObjectError(f"{uri[:80]}... has a key of more than 1024 bytes", code=400)
        return cls(bucket, key)

    def __str__(self) -> str:
        """The URI."""
        return f"s3://{self.bucket}/{self.key}"


class Objects(Protocol):
    """Reads and writes objects; blocking."""

    def fetch(self, place: Place, file: Path, *, role_arn: str, limit_bytes: int) -> None:
        """Copy an object into a file, all of it or nothing that is kept.

        Args:
            place: the object.
            file: a new file.
            role_arn: whose rights to use, where that is known.
            limit_bytes: a larger object is refused.

        Raises:
            ObjectError: it is missing, forbidden, too large, or changes while it is read.
            ObjectsDown: it cannot be reached for now.
        """
        ...

    def store(
        self, place: Place, file: Path, *, role_arn: str, kms_key_id: str | None = None
    ) -> None:
        """Write a file's content as an object, in place of an earlier one.

        Args:
            place: the object.
            file: the content.
            role_arn: whose rights to use, where that is known.
            kms_key_id: to encrypt it with, at the other end.

        Raises:
            ObjectError: it is forbidden, or there is no such bucket.
            ObjectsDown: it cannot be reached for now.
        """
        ...
