"""Objects behind any S3 API.

A job names a role; whose rights are used is a setting: the server's own (`own`), those of a profile
of the AWS configuration that is called like the role (`profile`), or the role's, which AWS STS
lends (`assume`).
"""

import contextlib
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast

import boto3.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ProfileNotFound

from vivavoce.errors import ObjectError, ObjectsDown, RoleRefused
from vivavoce.objects.objects import Place

Roles = Literal["own", "profile", "assume"]

_BLOCK_BYTES = 1 << 20
_MOST_ROLES = 32
"""Clients kept; jobs name roles."""

# A server that stops waits for what is under way: less than half a minute. Jobs try again anyhow.
_CONFIG = Config(
    connect_timeout=3,
    read_timeout=10,
    retries={"mode": "standard", "total_max_attempts": 2},
    # Other S3s than AWS's refuse the checksums that boto3 adds of its own accord.
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)
_SESSION_NAME = "vivavoce"

_LENT_S = 3600
"""How long a role's credentials are lent; they are borrowed anew at half of it."""

# Source: the S3 API reference's list of error codes. HEAD gives statuses in place of codes.
_MISSING = frozenset({"NoSuchKey", "NoSuchBucket", "404", "NoSuchVersion"})
# Credentials that are renewed, and what a server says that is busy.
_PASSING = frozenset(
    {"ExpiredToken", "InvalidToken", "RequestTimeTooSkewed", "RequestTimeout", "SlowDown"}
    | {"RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequests"}
)
_PASSING_STATUSES = frozenset({408, 429})
_FORBIDDEN_STATUSES = frozenset({401, 403})
_CLIENT_ERRORS = range(400, 500)


class S3Objects:
    """Reads and writes objects through boto3."""

    def __init__(self, *, endpoint_url: str | None, region: str | None, roles: Roles) -> None:
        """No connection is made yet.

        Args:
            endpoint_url: another S3 than AWS's own; None: AWS's.
            region: where the buckets are; None: as the AWS configuration says.
            roles: whose rights to use.
        """
        self._endpoint_url = endpoint_url
        self._region = region
        self._roles = roles
        self._making = threading.Lock()
        self._client_of = lru_cache(maxsize=_MOST_ROLES)(self._new_client)

    def fetch(self, place: Place, file: Path, *, role_arn: str, limit_bytes: int) -> None:
        """Copy an object into a file: one request, so all of it is of one version.

        Raises:
            ObjectError: it is missing, forbidden, too large, or breaks off.
            ObjectsDown: S3 cannot be reached for now, or the disk fails.
        """
        with _refusals(place):
            answer = self._client(role_arn).get_object(Bucket=place.bucket, Key=place.key)
            copied = 0
            with contextlib.closing(answer["Body"]) as body, file.open("wb") as copy:
                for block in body.iter_chunks(_BLOCK_BYTES):
                    copied += copy.write(block)
                    if copied > limit_bytes:
                        size_bytes = answer.get("ContentLength", copied)
                        raise ObjectError(
                            f"{place} has {size_bytes / 1e6:.1f} MB; at most"
                            f" {limit_bytes / 1e6:.0f} MB are taken",
                            code=400,
                        )

    def store(
        self, place: Place, file: Path, *, role_arn: str, kms_key_id: str | None = None
    ) -> None:
        """Write a file's content as an object.

        Raises:
            ObjectError: it is forbidden, or there is no such bucket.
            ObjectsDown: S3 cannot be reached for now.
        """
        encryption: Mapping[str, str] = (
            {}
            if kms_key_id is None
            else {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key_id}
        )
        with _refusals(place), file.open("rb") as content:
            self._client(role_arn).put_object(
                Bucket=place.bucket, Key=place.key, Body=content, **encryption
            )

    def _client(self, role_arn: str) -> Any:  # noqa: ANN401 - boto3 has no types
        if self._roles == "own":
            return self._client_of("", 0)
        return self._client_of(role_arn, int(time.monotonic() // (_LENT_S / 2)))

    def _new_client(self, role_arn: str, _half: int) -> Any:  # noqa: ANN401 - boto3 has no types
        with self._making:  # boto3's clients may be shared by threads, making them may not
            return cast("Any", self._session(role_arn)).client(
                "s3", region_name=self._region, endpoint_url=self._endpoint_url, config=_CONFIG
            )

    def _session(self, role_arn: str) -> boto3.session.Session:
        if self._roles == "own":
            return boto3.session.Session()
        if self._roles == "profile":
            name = role_arn.rpartition("/")[2]
            try:
                return boto3.session.Session(profile_name=name)
            except ProfileNotFound as error:
                raise RoleRefused(f"the server has no profile {name} for the role") from error
        try:
            lent = self._borrow(role_arn)
        except ClientError as error:
            code = cast("dict[str, Any]", error.response).get("Error", {}).get("Code", "")
            if code in _PASSING:
                raise
            raise RoleRefused(f"the role {role_arn} cannot be assumed: {code}") from error
        return boto3.session.Session(
            aws_access_key_id=lent["AccessKeyId"],
            aws_secret_access_key=lent["SecretAccessKey"],
            aws_session_token=lent["SessionToken"],
        )

    def _borrow(self, role_arn: str) -> Mapping[str, str]:
        """Credentials of a role, as AWS STS lends them."""
        sts: Any = cast("Any", boto3.session.Session()).client(
            "sts", region_name=self._region, config=_CONFIG
        )
        return sts.assume_role(
            RoleArn=role_arn, RoleSessionName=_SESSION_NAME, DurationSeconds=_LENT_S
        )["Credentials"]


@contextmanager
def _refusals(place: Place) -> Generator[None]:
    """Tell what boto3 raises in the words of objects."""
    try:
        yield
    except ClientError as error:
        raise _refusal(place, error) from error
    except BotoCoreError as error:
        raise ObjectsDown(f"{place} cannot be reached: {error}") from error
    except OSError as error:
        raise ObjectsDown(f"{place}: {error.strerror or error}") from error


def _refusal(place: Place, error: ClientError) -> ObjectError | ObjectsDown:
    response = cast("dict[str, Any]", error.response)
    code = str(response.get("Error", {}).get("Code", ""))
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _MISSING:
        what = "there is no such bucket" if code == "NoSuchBucket" else "does not exist"
        return ObjectError(f"{place}: {what}" if "bucket" in what else f"{place} {what}", code=404)
    if code not in _PASSING and status not in _PASSING_STATUSES:
        # Errors of AWS KMS, which S3 passes on, are bad requests.
        if status in _FORBIDDEN_STATUSES or code.startswith("KMS."):
            return ObjectError(f"{place} may not be used: {code or status}", code=403)
        if status in _CLIENT_ERRORS:
            return ObjectError(f"{place} is refused: {code or status}", code=400)
    return ObjectsDown(f"{place} cannot be reached: {code or status}")
