import os
from typing import Any
from uuid import UUID

import numpy as np
import pytest
import soundfile

from tests.fakes import LoudDetector, silence, voice
from vivavoce.errors import InvalidRequest
from vivavoce.migration.recordings import in_folder, plan, read_contacts


def contact(number):
    return str(UUID(int=number))


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "recordings"
    (folder / "2025" / "03").mkdir(parents=True)
    return folder


def record(folder, number, seconds, *, age_s=0, suffix=".wav"):
    """A call: the customer speaks in the left channel, the agent all the time in the right one."""
    path = folder / "2025" / "03" / f"{contact(number)}{suffix}"
    customer = np.concatenate([voice(3, seconds), silence(5)])
    soundfile.write(path, np.stack([customer, voice(5, seconds + 5)], axis=1), 8000)
    os.utime(path, (1_000_000 - age_s, 1_000_000 - age_s))
    return path


def planned(folder, contacts, **options):
    recordings = in_folder(folder, "s3://bank/calls/")
    asked: dict[str, Any] = {"channel": 0, **options}
    return plan(recordings, contacts, new_detector=LoudDetector, **asked)


def test_a_customer_is_enrolled_from_the_newest_calls_until_there_is_enough(folder):
    record(folder, 1, 40, age_s=300)
    record(folder, 2, 20, age_s=100)
    record(folder, 3, 20, age_s=200)
    found = planned(folder, {contact(number): "anna" for number in (1, 2, 3)})
    assert found.recordings == {
        "anna": [f"s3://bank/calls/2025/03/{contact(number)}.wav" for number in (2, 3)]
    }
    assert found.skipped == {"not needed": 1}
    (manifest,) = found.manifests(channel=0)
    (entry,) = manifest["SpeakerEnrollmentRequests"]
    assert (entry["RequestId"], entry["SpeakerId"]) == ("r0", "anna")
    assert [file["ChannelId"] for file in entry["AudioSpecifications"]] == [0, 0]


def test_who_has_too_little_speech_is_told_apart(folder):
    record(folder, 1, 12)
    record(folder, 2, 2)
    found = planned(folder, {contact(1): "anna", contact(2): "ben"})
    assert found.recordings == {}
    assert found.short_s == {"anna": pytest.approx(12, abs=0.2), "ben": 0}
    assert found.skipped == {"less than 3 s of speech": 1}


def test_only_the_customers_channel_counts(folder):
    record(folder, 1, 2)
    assert planned(folder, {contact(1): "anna"}, channel=1).short_s == {
        "anna": pytest.approx(7, abs=0.2)
    }


def test_what_cannot_be_used_is_counted_by_why(folder):
    record(folder, 1, 40)
    record(folder, 2, 40)
    record(folder, 3, 1, suffix=".txt.wav")
    (folder / "greeting.wav").write_bytes(b"x")
    (folder / f"{contact(4)}.wav").write_bytes(b"no recording")
    (folder / "notes.txt").write_bytes(b"x")
    with (folder / f"{contact(5)}.wav").open("wb") as large:
        large.truncate(20_000_001)
    record(folder, 6, 1)
    contacts = {contact(number): f"customer-{number}" for number in (1, 4, 5)} | {contact(6): None}
    found = planned(folder, contacts)
    assert list(found.recordings) == ["customer-1"]
    assert found.skipped == {
        "contact not in the table": 2,
        "no contact id in the name": 1,
        "no SpeakerId in the table that can be one": 1,
        "over 20 MB": 1,
    }
    (line,) = found.unreadable
    assert "is not a recording" in line


def test_progress_is_told(folder):
    seen = []
    for number in (1, 2, 3):
        record(folder, number, 31)
    contacts = {contact(1): "anna", contact(2): "anna", contact(3): "ben"}
    planned(folder, contacts, on_progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (3, 3)


def test_the_newest_call_is_so_by_its_name_whenever_it_was_copied(folder):
    record(folder, 1, 40, suffix="_20240314T09:26_UTC.wav")
    record(folder, 2, 40, age_s=999, suffix="_20250314T09:26_UTC.wav")
    record(folder, 3, 40, age_s=999, suffix="_20249914T09:26_UTC.wav")  # no such month
    found = planned(folder, dict.fromkeys(map(contact, (1, 2, 3)), "anna"))
    assert contact(2) in found.recordings["anna"][0]


def test_over_ten_thousand_customers_there_are_several_manifests(folder):
    found = planned(folder, {})
    found.recordings = {f"customer-{number}": ["s3://bank/x.wav"] for number in range(10_001)}
    sizes = [len(each["SpeakerEnrollmentRequests"]) for each in found.manifests(channel=0)]
    assert sizes == [10_000, 1]


def test_a_folder_that_is_none_is_said(tmp_path):
    with pytest.raises(InvalidRequest, match="is not a folder"):
        list(in_folder(tmp_path / "none", "s3://bank"))


def table(tmp_path, text):
    path = tmp_path / "contacts.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("head", ["ContactId,SpeakerId", "speaker_id,contact_id"])
def test_contacts_are_read_by_the_names_of_columns(tmp_path, head):
    values = {"contactid": "ABC", "contact_id": "ABC", "speakerid": "anna", "speaker_id": "anna"}
    line = ",".join(values[name.lower()] for name in head.split(","))
    assert read_contacts(table(tmp_path, f"\ufeff{head}\n{line}\n")) == {"abc": "anna"}


def test_contacts_whose_customer_is_not_known_are_none(tmp_path):
    text = "ContactId,SpeakerId\na,\nb\nc,no id\nd,anna\n"
    assert read_contacts(table(tmp_path, text)) == {"a": None, "b": None, "c": None, "d": "anna"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs a first line"),
        ("ContactId,Name\nx,y\n", "a column SpeakerId"),
        ("Contact,SpeakerId\nx,y\n", "a column ContactId"),
        ("ContactId,SpeakerId\n", "names no contacts"),
        (b"ContactId,SpeakerId\n\xff,a\n", "not a CSV file in UTF-8"),
    ],
)
def test_a_table_that_does_not_serve_says_why(tmp_path, text, message):
    with pytest.raises(InvalidRequest, match=message):
        read_contacts(table(tmp_path, text))
