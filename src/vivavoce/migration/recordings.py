"""An enrolment manifest from call recordings, and what will come of it before anything runs.

Amazon Connect names the recording of a call by the contact's id, such as
`.../CallRecordings/2025/03/14/<ContactId>_20250314T09:26_UTC.wav`, and puts the customer into the
left channel. Which customer a contact was is for a table to say.

Source: Amazon Connect Administrator Guide, "When, what, and where for contact recordings".
"""

import contextlib
import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vivavoce.audio.arrays import CALL_RATE_HZ
from vivavoce.audio.recording import iter_recording
from vivavoce.call.machine import ENROLLMENT_S, ENROLLMENT_SAMPLES
from vivavoce.call.speech import FrameDetector, SpeechCollector
from vivavoce.errors import AudioError, InvalidRequest, ObjectError, ObjectsDown
from vivavoce.ids import is_customer_id
from vivavoce.jobs.hearing import LARGEST_AUDIO_BYTES
from vivavoce.jobs.manifest import MOST_FILES, VERSION

CUSTOMER_CHANNEL = 0

MOST_CUSTOMERS = 10_000
"""In a manifest: what Amazon's service took. Source: voice-id-behaviour.md, section 11.1."""

_CONTACT = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
)
_TIME = re.compile(r"_(\d{4})(\d{2})(\d{2})T(\d{2})[:_-]?(\d{2})")
_SUFFIXES = frozenset({".wav", ".mp3", ".ogg", ".opus", ".flac", ".m4a", ".webm", ".au"})
_CONTACT_COLUMNS = ("contactid", "contact_id", "contact id")
_SPEAKER_COLUMNS = ("speakerid", "speaker_id", "customerspeakerid", "speaker id")

_LEAST_S = 3.0
"""Net speech of a call that is worth a place among a customer's ten. Not documented; chosen so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A recording somewhere.

    Attributes:
        uri: what the manifest calls it.
        size_bytes: of the file.
        at_s: when the call was, by its name, or else when the file was written; seconds since the
            epoch.
        open: brings it to this machine, for as long as it is needed.
    """

    uri: str
    size_bytes: int
    at_s: float
    open: Callable[[], AbstractContextManager[Path]] = field(repr=False)


def in_folder(folder: Path, uri: str) -> Iterator[Recording]:
    """All recordings below a folder, in the order of their names.

    Args:
        folder: the folder.
        uri: what it is called in the manifest, such as `s3://bucket/recordings`.

    Raises:
        InvalidRequest: there is no such folder.
    """
    if not folder.is_dir():
        raise InvalidRequest(f"{folder} is not a folder")
    for path in sorted(folder.rglob("*")):
        if is_recording(path.name) and path.is_file():
            told = path.stat()
            yield Recording(
                uri=f"{uri.rstrip('/')}/{path.relative_to(folder).as_posix()}",
                size_bytes=told.st_size,
                at_s=time_of(path.name, told.st_mtime),
                open=lambda path=path: contextlib.nullcontext(path),
            )


def time_of(name: str, written_s: float) -> float:
    """When a call was: a copy of its recording may be newer than the call by years."""
    found = _TIME.search(name)
    try:
        return datetime(*map(int, found.groups()), tzinfo=UTC).timestamp() if found else written_s
    except ValueError:
        return written_s


def is_recording(name: str) -> bool:
    """Whether a file's name says that it is a recording."""
    return Path(name).suffix.lower() in _SUFFIXES


@dataclass(slots=True, kw_only=True)
class Plan:
    """What a manifest will do.

    Attributes:
        recordings: of each customer who will be enrolled, those to take.
        short_s: customers with too little speech, and how many seconds they have.
        skipped: recordings that are not taken, by why.
        unreadable: recordings that cannot be read, and why.
    """

    recordings: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    short_s: dict[str, float] = field(default_factory=dict[str, float])
    skipped: dict[str, int] = field(default_factory=dict[str, int])
    unreadable: list[str] = field(default_factory=list[str])

    def skip(self, why: str) -> None:
        """Count a recording that is not taken."""
        self.skipped[why] = self.skipped.get(why, 0) + 1

    def manifests(self, *, channel: int) -> list[dict[str, Any]]:
        """The manifests, of `MOST_CUSTOMERS` each."""
        entries = [
            {
                "RequestId": f"r{number}",
                "SpeakerId": customer,
                "AudioSpecifications": [{"S3Uri": uri, "ChannelId": channel} for uri in uris],
            }
            for number, (customer, uris) in enumerate(self.recordings.items())
        ]
        return [
            {
                "Version": VERSION,
                "SpeakerEnrollmentRequests": entries[first : first + MOST_CUSTOMERS],
            }
            for first in range(0, len(entries), MOST_CUSTOMERS)
        ]


def read_contacts(path: Path) -> dict[str, str | None]:
    """Customers by contact id, from a CSV file with a column for each.

    Of a contact who was never identified, or whose customer's id can be none, it is None.

    Raises:
        InvalidRequest: it cannot be read, or lacks a column; says which.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            contact = _column(table.fieldnames, _CONTACT_COLUMNS, path, "ContactId")
            speaker = _column(table.fieldnames, _SPEAKER_COLUMNS, path, "SpeakerId")
            found: dict[str, str | None] = {}
            for row in table:
                speaker_id = (row[speaker] or "").strip()
                contact_id = (row[contact] or "").strip().lower()
                found[contact_id] = speaker_id if is_customer_id(speaker_id) else None
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidRequest(f"{path} is not a CSV file in UTF-8: {error}") from None
    if not found:
        raise InvalidRequest(f"{path} names no contacts")
    return found


def plan(
    recordings: Iterable[Recording],
    contacts: Mapping[str, str | None],
    *,
    channel: int,
    new_detector: Callable[[], FrameDetector],
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Plan:
    """Choose recordings for each customer, the newest first, until there is enough speech.

    Args:
        recordings: all that there are.
        contacts: customers by contact id.
        channel: which channel the customer is in.
        new_detector: makes a voice activity detector.
        on_progress: told how many recordings of how many were looked at.
    """
    planned = Plan()
    by_customer: dict[str, list[Recording]] = {}
    for recording in recordings:
        found = _CONTACT.search(recording.uri.rpartition("/")[2])
        contact = found[0].lower() if found else ""
        customer = contacts.get(contact)
        if not contact:
            planned.skip("no contact id in the name")
        elif contact not in contacts:
            planned.skip("contact not in the table")
        elif customer is None:
            planned.skip("no SpeakerId in the table that can be one")
        elif recording.size_bytes > LARGEST_AUDIO_BYTES:
            planned.skip(f"over {LARGEST_AUDIO_BYTES / 1e6:.0f} MB")
        else:
            by_customer.setdefault(customer, []).append(recording)
    done, total = 0, sum(len(theirs) for theirs in by_customer.values())
    for customer, theirs in by_customer.items():
        theirs.sort(key=lambda recording: recording.at_s, reverse=True)
        _choose(planned, customer, theirs, channel, new_detector)
        on_progress(done := done + len(theirs), total)
    return planned


def _choose(
    planned: Plan,
    customer: str,
    theirs: list[Recording],
    channel: int,
    new_detector: Callable[[], FrameDetector],
) -> None:
    chosen: list[str] = []
    total_s = 0.0
    for recording in theirs:
        if total_s >= ENROLLMENT_S or len(chosen) == MOST_FILES:
            planned.skip("not needed")
            continue
        try:
            with recording.open() as path:
                seconds = net_speech_s(path, channel=channel, detector=new_detector())
        except (AudioError, ObjectError, ObjectsDown) as error:
            planned.unreadable.append(f"{recording.uri}: {error}")
            continue
        if seconds < _LEAST_S:
            planned.skip(f"less than {_LEAST_S:g} s of speech")
            continue
        chosen.append(recording.uri)
        total_s += seconds
    if total_s >= ENROLLMENT_S:
        planned.recordings[customer] = chosen
    else:
        planned.short_s[customer] = total_s


def net_speech_s(path: Path, *, channel: int, detector: FrameDetector) -> float:
    """Net speech of a recording, in seconds; no more is looked for than an enrolment takes.

    Raises:
        AudioError: it cannot be read, or has no such channel.
    """
    collector, samples = SpeechCollector(detector), 0
    for block in iter_recording(path, channel=channel):
        for start in range(0, len(block), CALL_RATE_HZ):
            found = collector.push(block[start : start + CALL_RATE_HZ])
            samples += sum(len(speech.samples) for speech in found)
            if samples >= ENROLLMENT_SAMPLES:
                return ENROLLMENT_S
    samples += sum(len(speech.samples) for speech in collector.finish())
    return samples / CALL_RATE_HZ


def _column(names: Iterable[str] | None, wanted: tuple[str, ...], path: Path, what: str) -> str:
    for name in names or ():
        if name.strip().lower() in wanted:
            return name
    raise InvalidRequest(f"{path} needs a first line that names a column {what}")
