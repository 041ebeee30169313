"""Manifests: what a job is to do, one entry a speaker or fraudster.

What is wrong with the document as a whole fails the job; what is wrong with an entry fails that
entry, and the others go on.

Source: voice-id-behaviour.md, sections 11.2 to 11.5.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self, cast

from vivavoce.errors import EntryFailed, JobFailed
from vivavoce.ids import is_customer_id
from vivavoce.objects.objects import S3_URI
from vivavoce.store.records import JobKind

VERSION = "1.0"

LARGEST_BYTES = 16 << 20
"""Of a manifest: 10,000 entries of ten files with names of 100 letters. Not documented; chosen so
that calls are not held up while it is parsed, some 100 ms."""

MOST_FILES = 10
"""Of an entry. Source: section 11.2."""

_LISTS: Mapping[JobKind, str] = {
    "speaker-enrollment": "SpeakerEnrollmentRequests",
    "fraudster-registration": "FraudsterRegistrationRequests",
}
_WHAT: Mapping[JobKind, str] = {
    "speaker-enrollment": "speaker enrollment",
    "fraudster-registration": "fraudster registration",
}

_LONGEST_URI = 1024
"""Source: the service description's S3Uri."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioFile:
    """One recording of an entry.

    Attributes:
        uri: of the object.
        channel: which of its channels to take, 0 or 1.
    """

    uri: str
    channel: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is asked for one speaker or fraudster.

    Attributes:
        request_id: by which the output names it.
        speaker_id: the customer's id; None for a fraudster, and where `refusal` says why.
        files: the recordings.
        refusal: what is wrong with the entry; None where nothing is.
    """

    request_id: str
    speaker_id: str | None = field(default=None, repr=False)
    files: tuple[AudioFile, ...] = field(default=(), repr=False)
    refusal: str | None = None

    def to_json(self) -> str:
        """Written down; `from_json` reads it."""
        files = [[file.uri, file.channel] for file in self.files]
        return json.dumps([self.request_id, self.speaker_id, files, self.refusal])

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` has written."""
        request_id, speaker_id, files, refusal = json.loads(text)
        return cls(
            request_id=request_id,
            speaker_id=speaker_id,
            files=tuple(AudioFile(uri=uri, channel=channel) for uri, channel in files),
            refusal=refusal,
        )


def read_manifest(content: bytes, kind: JobKind, *, most: int | None = None) -> list[Entry]:
    """The entries of a manifest, in their order; those that cannot be served say why.

    Args:
        content: the document.
        kind: of the job.
        most: entries that it may have; None: any number.

    Raises:
        JobFailed: it is no manifest of this kind; says where.
    """
    document = _object(_parse(content), "The manifest")
    if document.get("Version") != VERSION:
        # The words of Amazon's service.
        raise JobFailed(400, f"The given {_WHAT[kind]} job's input file version is invalid.")
    requests = document.get(_LISTS[kind])
    if not isinstance(requests, list):
        raise JobFailed(400, f"The manifest must have a list {_LISTS[kind]}.")
    entries = cast("list[Any]", requests)
    if not entries:
        raise JobFailed(400, f"The manifest's list {_LISTS[kind]} is empty.")
    if most is not None and len(entries) > most:
        raise JobFailed(
            402,
            f"The manifest has {len(entries)} entries; a {_WHAT[kind]} job takes at most {most}."
            " Split it into several jobs.",
        )
    seen: dict[str, int] = {}
    read: list[Entry] = []
    for number, each in enumerate(entries):
        request_id = _request_id(each, place := f"{_LISTS[kind]}[{number}]")
        if request_id in seen:
            raise JobFailed(
                400, f"{place} has the RequestId of entry {seen[request_id]}; each needs its own."
            )
        seen[request_id] = number
        read.append(_entry(request_id, each, kind))
    return read


def _parse(content: bytes) -> Any:  # noqa: ANN401 - whatever the customer wrote
    try:
        return json.loads(content.decode("utf-8-sig"))  # some editors begin a file with a mark
    except UnicodeDecodeError:
        raise JobFailed(400, "The manifest is not UTF-8.") from None
    except RecursionError:
        raise JobFailed(400, "The manifest is nested too deeply.") from None
    except ValueError as error:
        message = f"The manifest is not JSON: {error}."
        raise JobFailed(400, message) from None


def _object(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise JobFailed(400, f"{what} must be a JSON object.")
    return cast("Mapping[str, Any]", value)


def _request_id(entry: object, place: str) -> str:
    request_id = _object(entry, place).get("RequestId")
    if not isinstance(request_id, str) or not request_id:
        raise JobFailed(400, f"{place} needs a RequestId, a text that is not empty.")
    return request_id


def _entry(request_id: str, given: Mapping[str, Any], kind: JobKind) -> Entry:
    try:
        speaker_id = _speaker_id(given) if kind == "speaker-enrollment" else None
        return Entry(request_id=request_id, speaker_id=speaker_id, files=_files(given))
    except EntryFailed as error:
        return Entry(request_id=request_id, refusal=str(error))


def _speaker_id(given: Mapping[str, Any]) -> str:
    speaker_id = given.get("SpeakerId")
    if not isinstance(speaker_id, str):
        raise EntryFailed("The entry needs a SpeakerId.")
    if speaker_id.startswith("id#"):
        raise EntryFailed(
            "The SpeakerId must be your own id of the customer; generated ids do not serve."
        )
    if not is_customer_id(speaker_id):
        raise EntryFailed(
            "The SpeakerId must have 1 to 256 letters, digits, hyphens and underscores, and begin"
            " with a letter or digit.",
        )
    return speaker_id


def _files(given: Mapping[str, Any]) -> tuple[AudioFile, ...]:
    specifications = given.get("AudioSpecifications")
    if not isinstance(specifications, list):
        raise EntryFailed("The entry needs a list AudioSpecifications.")
    files = cast("list[Any]", specifications)
    if not 0 < len(files) <= MOST_FILES:
        raise EntryFailed(
            f"AudioSpecifications has {len(files)} files; 1 to {MOST_FILES} are taken."
        )
    return tuple(_file(each, number) for number, each in enumerate(files))


def _file(given: object, number: int) -> AudioFile:
    place = f"AudioSpecifications[{number}]"
    if not isinstance(given, dict):
        raise EntryFailed(f"{place} must be a JSON object.")
    members = cast("Mapping[str, Any]", given)
    uri, channel = members.get("S3Uri"), members.get("ChannelId")
    if not isinstance(uri, str) or len(uri) > _LONGEST_URI or not S3_URI.fullmatch(uri):
        raise EntryFailed(f"{place} needs an S3Uri such as s3://bucket/folder/call.wav.")
    # True is an integer to Python.
    if not isinstance(channel, int) or isinstance(channel, bool) or channel not in (0, 1):
        raise EntryFailed(f"{place} needs a ChannelId, 0 or 1.")
    return AudioFile(uri=uri, channel=channel)
