"""Recordings in a bucket."""

import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import boto3.session
from botocore.exceptions import BotoCoreError, ClientError

from vivavoce.errors import InvalidRequest
from vivavoce.jobs.hearing import LARGEST_AUDIO_BYTES
from vivavoce.migration.recordings import Recording, is_recording, time_of
from vivavoce.objects.objects import Place
from vivavoce.objects.s3 import S3Objects


def in_bucket(uri: str, *, endpoint_url: str | None) -> Iterator[Recording]:
    """All recordings below `s3://bucket/prefix`, with the credentials of any AWS client.

    Args:
        uri: the bucket and the beginning of the keys.
        endpoint_url: another S3 than AWS's own.

    Raises:
        InvalidRequest: the bucket cannot be listed; says why.
    """
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    objects = S3Objects(endpoint_url=endpoint_url, region=None, roles="own")
    try:
        client: Any = cast("Any", boto3.session.Session()).client("s3", endpoint_url=endpoint_url)
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for page in pages:
            for found in page.get("Contents", []):
                key = found["Key"]
                if is_recording(key):
                    place = Place(bucket, key)
                    yield Recording(
                        uri=str(place),
                        size_bytes=found["Size"],
                        at_s=time_of(key, found["LastModified"].timestamp()),
                        open=partial(_copied, objects, place),
                    )
    except (BotoCoreError, ClientError) as error:
        raise InvalidRequest(f"{uri} cannot be listed: {error}") from error


@contextmanager
def _copied(objects: S3Objects, place: Place) -> Generator[Path]:
    with tempfile.TemporaryDirectory(prefix="vivavoce-") as folder:
        copy = Path(folder) / f"recording{Path(place.key).suffix.lower()}"
        objects.fetch(place, copy, role_arn="", limit_bytes=LARGEST_AUDIO_BYTES)
        yield copy
