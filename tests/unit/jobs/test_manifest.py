import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.errors import JobFailed
from vivavoce.jobs.manifest import AudioFile, Entry, read_manifest
from vivavoce.store.records import JobKind

FILE = {"S3Uri": "s3://calls/a/b.wav", "ChannelId": 1}
ENTRY = {"RequestId": "r1", "SpeakerId": "customer-1", "AudioSpecifications": [FILE]}


def enrolment(*entries, **members):
    return json.dumps({"Version": "1.0", "SpeakerEnrollmentRequests": entries, **members}).encode()


def read(content, kind: JobKind = "speaker-enrollment"):
    return read_manifest(content, kind)


def test_an_enrolment_is_read():
    (entry,) = read(enrolment(ENTRY))
    assert entry == Entry(
        request_id="r1",
        speaker_id="customer-1",
        files=(AudioFile(uri="s3://calls/a/b.wav", channel=1),),
    )
    assert Entry.from_json(entry.to_json()) == entry


def test_a_registration_needs_no_speaker():
    entries = [{"RequestId": "f1", "AudioSpecifications": [FILE, FILE]}]
    manifest = json.dumps({"Version": "1.0", "FraudsterRegistrationRequests": entries}).encode()
    (entry,) = read(manifest, "fraudster-registration")
    assert (entry.speaker_id, len(entry.files), entry.refusal) == (None, 2, None)


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (b"", 400, "not JSON"),
        (b"{", 400, "not JSON"),
        (b"\xff\xfe", 400, "UTF-8"),
        (b"[" * 100_000, 400, "nested too deeply"),
        (b"[]", 400, "must be a JSON object"),
        (enrolment(ENTRY, Version="2.0"), 400, "speaker enrollment job's input file version"),
        (enrolment(ENTRY, Version=1.0), 400, "version is invalid"),
        (b'{"Version": "1.0"}', 400, "a list SpeakerEnrollmentRequests"),
        (enrolment(), 400, "is empty"),
        (enrolment("r1"), 400, r"SpeakerEnrollmentRequests\[0\] must be a JSON object"),
        (enrolment(ENTRY, {**ENTRY, "RequestId": ""}), 400, r"\[1\] needs a RequestId"),
        (enrolment(ENTRY, {**ENTRY, "RequestId": 7}), 400, r"\[1\] needs a RequestId"),
        (enrolment(ENTRY, ENTRY), 400, r"\[1\] has the RequestId of entry 0"),
    ],
)
def test_what_is_no_manifest_fails_the_job(content, code, message):
    with pytest.raises(JobFailed, match=message) as refused:
        read(content)
    assert refused.value.code == code


def test_a_quota_of_entries_is_kept():
    entries = [{**ENTRY, "RequestId": f"r{number}"} for number in range(4)]
    with pytest.raises(JobFailed, match=r"has 4 entries; .* at most 3") as refused:
        read_manifest(enrolment(*entries), "speaker-enrollment", most=3)
    assert refused.value.code == 402
    assert len(read_manifest(enrolment(*entries), "speaker-enrollment", most=4)) == 4


def test_a_file_may_begin_with_a_mark_and_names_may_be_any_text():
    entry = {**ENTRY, "RequestId": "\ud800 \u00e4 " + "x" * 1000}
    (read_entry,) = read(b"\xef\xbb\xbf" + enrolment(entry))
    assert read_entry.request_id == entry["RequestId"]
    assert Entry.from_json(read_entry.to_json()) == read_entry


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"SpeakerId": None}, "needs a SpeakerId"),
        ({"SpeakerId": "id#1234567890123456789012"}, "generated ids do not serve"),
        ({"SpeakerId": "a b"}, "letters, digits"),
        ({"SpeakerId": "a\n"}, "letters, digits"),
        ({"SpeakerId": "x" * 257}, "letters, digits"),
        ({"AudioSpecifications": {}}, "needs a list AudioSpecifications"),
        ({"AudioSpecifications": []}, "has 0 files"),
        ({"AudioSpecifications": [FILE] * 11}, "has 11 files"),
        ({"AudioSpecifications": ["s3://a"]}, r"\[0\] must be a JSON object"),
        ({"AudioSpecifications": [FILE, {**FILE, "S3Uri": "http://x"}]}, r"\[1\] needs an S3Uri"),
        ({"AudioSpecifications": [{**FILE, "S3Uri": 5}]}, "needs an S3Uri"),
        ({"AudioSpecifications": [{**FILE, "S3Uri": f"s3://abc/{'x' * 1024}"}]}, "needs an S3Uri"),
        ({"AudioSpecifications": [{**FILE, "ChannelId": 2}]}, "needs a ChannelId"),
        ({"AudioSpecifications": [{**FILE, "ChannelId": "0"}]}, "needs a ChannelId"),
        ({"AudioSpecifications": [{**FILE, "ChannelId": True}]}, "needs a ChannelId"),
        ({"AudioSpecifications": [{**FILE, "ChannelId": 1.0}]}, "needs a ChannelId"),
        ({"AudioSpecifications": [{"S3Uri": "s3://calls/a"}]}, "needs a ChannelId"),
    ],
)
def test_what_is_wrong_with_an_entry_is_its_own_matter(changes, message):
    bad, good = read(enrolment({**ENTRY, **changes}, {**ENTRY, "RequestId": "r2"}))
    assert bad.request_id == "r1"
    assert re.search(message, bad.refusal or "")
    assert (good.request_id, good.refusal) == ("r2", None)
    assert Entry.from_json(bad.to_json()) == bad


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=5) | st.floats(-1, 2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(
    entries=st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "RequestId": json_values,
                "SpeakerId": json_values,
                "AudioSpecifications": json_values
                | st.lists(
                    st.fixed_dictionaries(
                        {}, optional={"S3Uri": json_values, "ChannelId": json_values}
                    ),
                    max_size=3,
                ),
            },
        ),
        max_size=3,
    )
)
def test_whatever_is_in_a_manifest_it_is_read_or_refused(entries):
    try:
        read_entries = read(enrolment(*entries))
    except JobFailed:
        return
    assert len(read_entries) == len(entries)


@given(content=st.binary(max_size=200))
def test_whatever_a_manifest_is_it_is_read_or_refused(content):
    with pytest.raises(JobFailed):
        read(content)
