import json
import time
from typing import Any

import pytest
from botocore.serialize import create_serializer
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.api import description, validation
from vivavoce.errors import InvalidRequest

SERVICE: Any = description.load_service_model()
DOMAIN_ID = "UcUuCPFOsAjzg9xoByUatN"
SPEAKER_ID_PATTERN = r"^(id#[a-zA-Z0-9]{22}|[a-zA-Z0-9][a-zA-Z0-9_-]*)$"
JOB = {
    "DomainId": DOMAIN_ID,
    "DataAccessRoleArn": "arn:aws:iam::123456789012:role/jobs",
    "InputDataConfig": {"S3Uri": "s3://bucket/manifest.json"},
    "OutputDataConfig": {"S3Uri": "s3://bucket/out"},
}


def read(operation, request):
    return validation.read(request, SERVICE.operation_model(operation).input_shape)


def message(operation, request):
    with pytest.raises(InvalidRequest) as caught:
        read(operation, request)
    return str(caught.value)


def test_a_good_request_comes_back_as_it_is():
    request = {
        "Name": "contact-centre",
        "Description": "Zürich: 100% öffentlich",
        "ServerSideEncryptionConfiguration": {"KmsKeyId": "alias/x"},
        "Tags": [{"Key": "team", "Value": ""}],
        "ClientToken": "9571171d-4dc9-492d-9c0e-100612e5c981",
    }
    assert read("CreateDomain", request) == request


def test_unknown_members_and_nulls_are_left_out_at_every_level():
    request = JOB | {
        "Colour": "red",
        "JobName": None,
        "RegistrationConfig": {"FraudsterSimilarityThreshold": None, "Mood": [1, {"x": None}]},
    }
    assert read("StartFraudsterRegistrationJob", request) == JOB | {"RegistrationConfig": {}}


def test_one_violation_is_worded_as_aws_words_it():
    assert message("DescribeDomain", {"DomainId": DOMAIN_ID + "x"}) == (
        f"1 validation error detected: Value '{DOMAIN_ID}x' at 'domainId' failed to satisfy "
        "constraint: Member must have length less than or equal to 22"
    )


def test_several_violations_are_counted_and_joined():
    enrolment = {
        "ExistingEnrollmentAction": "BOGUS",
        "FraudDetectionConfig": {"RiskThreshold": 101},
    }
    request = JOB | {"EnrollmentConfig": enrolment}
    assert message("StartSpeakerEnrollmentJob", request) == (
        "2 validation errors detected: "
        "Value 'BOGUS' at 'enrollmentConfig.existingEnrollmentAction' failed to satisfy "
        "constraint: Member must satisfy enum value set: [SKIP, OVERWRITE]; "
        "Value '101' at 'enrollmentConfig.fraudDetectionConfig.riskThreshold' failed to satisfy "
        "constraint: Member must have value less than or equal to 100"
    )


@pytest.mark.parametrize("value", [{}, {"DomainId": None}])
def test_a_missing_member_is_named(value):
    assert message("DescribeDomain", value) == (
        "1 validation error detected: Value null at 'domainId' failed to satisfy constraint: "
        "Member must not be null"
    )


def test_a_sensitive_value_is_not_repeated():
    assert message("DescribeSpeaker", {"DomainId": DOMAIN_ID, "SpeakerId": "b@d"}) == (
        "1 validation error detected: Value at 'speakerId' failed to satisfy constraint: "
        f"Member must satisfy regular expression pattern: {SPEAKER_ID_PATTERN}"
    )


@pytest.mark.parametrize("tags", [[{"Key": "secret?", "Value": "v"}], ["secret?"], "secret?"])
def test_nothing_sensitive_is_repeated_from_inside_a_list(tags):
    request = {"ResourceArn": f"arn:aws:voiceid:r:123456789012:domain/{DOMAIN_ID}", "Tags": tags}
    text = message("TagResource", request)
    assert "'tags" in text
    assert "secret?" not in text


def test_a_path_counts_list_members_from_one():
    request = {
        "ResourceArn": f"arn:aws:voiceid:r:123456789012:domain/{DOMAIN_ID}",
        "Tags": [{"Key": "good", "Value": "v"}, {"Key": "<bad>", "Value": "v"}],
    }
    assert "'tags.2.member.key'" in message("TagResource", request)


@pytest.mark.parametrize(
    ("member", "value", "constraint"),
    [
        ("DomainId", 5, "Member must be a string"),
        ("DomainId", ["x"], "Member must be a string"),
        ("DomainId", True, "Member must be a string"),
        ("MaxResults", True, "Member must be an integer"),
        ("MaxResults", 1.0, "Member must be an integer"),
        ("MaxResults", "1", "Member must be an integer"),
        ("MaxResults", 0, "Member must have value greater than or equal to 1"),
        ("MaxResults", 101, "Member must have value less than or equal to 100"),
        ("MaxResults", -(10**30), "Member must have value greater than or equal to 1"),
        ("NextToken", "é", r"Member must satisfy regular expression pattern: ^\p{ASCII}{0,8192}$"),
        ("NextToken", "t" * 8193, "Member must have length less than or equal to 8192"),
    ],
)
def test_each_limit_is_enforced(member, value, constraint):
    request = {"DomainId": DOMAIN_ID} | {member: value}
    assert message("ListSpeakers", request).endswith(constraint)


@pytest.mark.parametrize(
    ("operation", "request_", "constraint"),
    [
        ("CreateDomain", {"ServerSideEncryptionConfiguration": "alias/x"}, "must be an object"),
        ("CreateDomain", {"Tags": {"Key": "a"}}, "must be a list"),
        ("CreateDomain", {"Tags": [None]}, "must be an object"),
        ("CreateDomain", {"Name": "-x"}, "regular expression"),
        ("CreateDomain", {"Name": "x\n"}, "regular expression"),
        ("CreateDomain", {"Description": "tab\there"}, "regular expression"),
        ("StartSession", {"AuthenticationEnabled": 1}, "must be a boolean"),
        ("StartSession", {"AudioSource": "Carrier pigeon"}, "regular expression"),
        ("StartSession", {"StartFragmentNumber": "-1"}, "regular expression"),
        (
            "StartSession",
            {"StreamingConfiguration": {"AuthenticationMinimumSpeechInSeconds": 4}},
            "greater than or equal to 5",
        ),
        ("StartSession", {"AuthenticationConfiguration": {}}, "must not be null"),
        (
            "RegisterFraudsterBySession",
            {"WatchlistIds": [DOMAIN_ID, DOMAIN_ID]},
            "length less than or equal to 1",
        ),
        (
            "RegisterFraudsterBySession",
            {"WatchlistIds": []},
            "length greater than or equal to 1",
        ),
        ("StartSpeakerEnrollmentJob", {"InputDataConfig": {"S3Uri": "http://x"}}, "^s3://"),
        ("TagResource", {"ResourceArn": "arn:aws:s3:::bucket"}, "voiceid"),
    ],
)
def test_limits_of_structures_and_lists_are_enforced(operation, request_, constraint):
    assert constraint in message(operation, request_)


@pytest.mark.parametrize("length", [1, 256])
def test_the_boundaries_of_a_length_are_inside(length):
    request = {"DomainId": DOMAIN_ID, "SpeakerId": "s" * length}
    assert read("DescribeSpeaker", request) == request


@pytest.mark.parametrize("length", [0, 257])
def test_one_beyond_the_boundaries_of_a_length_is_outside(length):
    assert "length" in message(
        "DescribeSpeaker", {"DomainId": DOMAIN_ID, "SpeakerId": "s" * length}
    )


@pytest.mark.parametrize("value", [1, 10, 100])
def test_list_domains_takes_the_page_sizes_that_the_prose_promised(value):
    assert read("ListDomains", {"MaxResults": value}) == {"MaxResults": value}


@pytest.mark.parametrize("text", ["\ud800", "arn:aws:iam::123456789012:role/\udfff"])
def test_half_of_a_surrogate_pair_is_refused_even_where_a_pattern_would_take_it(text):
    job = JOB | {
        "DataAccessRoleArn": text,
        "OutputDataConfig": {"S3Uri": "s3://b12", "KmsKeyId": text},
    }
    answer = message("StartSpeakerEnrollmentJob", job)
    assert answer.startswith("2 validation errors")
    assert answer.encode()


def test_a_long_value_is_shortened_in_the_message():
    text = message("DescribeDomain", {"DomainId": "x" * 1_000_000})
    assert len(text) < 300


def test_a_list_that_is_too_long_is_not_looked_into():
    tags = [{"Key": "<bad>", "Value": "v"}] * 50_000
    text = message("CreateDomain", {"Name": "n", "Tags": tags})
    assert "'tags' failed to satisfy constraint: Member must have length" in text
    assert "tags.1" not in text


@pytest.mark.parametrize(
    "hostile",
    [
        "arn:aws" + "-a" * 500 + ":voiceid",
        "arn:aws:voiceid" + ":000000000000" * 76,
        "arn:aws-:voiceid" + "voiceid:" * 120,
    ],
)
def test_no_pattern_takes_long_on_a_hostile_value(hostile):
    started_s = time.perf_counter()
    message("TagResource", {"ResourceArn": hostile[:1011], "Tags": []})
    assert time.perf_counter() - started_s < 0.1


def junk():
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
    return st.recursive(
        scalars,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6)
        ),
        max_leaves=20,
    )


OPERATIONS = sorted(SERVICE.operation_names)
NAMES = sorted({m for o in OPERATIONS for m in SERVICE.operation_model(o).input_shape.members})


@given(st.sampled_from(OPERATIONS), st.dictionaries(st.sampled_from(NAMES), junk(), max_size=6))
def test_any_object_is_read_or_refused(operation, request_):
    try:
        members = read(operation, request_)
    except InvalidRequest:
        return
    assert members.keys() <= request_.keys()


def test_what_aws_clients_send_is_read_unchanged():
    serializer: Any = create_serializer("json", include_validation=False)
    model = SERVICE.operation_model("StartSpeakerEnrollmentJob")
    body = serializer.serialize_to_request(JOB, model)["body"]
    assert read("StartSpeakerEnrollmentJob", json.loads(body)) == JOB


def kinds(shape):
    yield shape.type_name
    inner = [shape.member] if shape.type_name == "list" else getattr(shape, "members", {}).values()
    for member in inner:
        yield from kinds(member)


def test_every_kind_of_member_that_requests_have_can_be_read():
    found = {kind for o in OPERATIONS for kind in kinds(SERVICE.operation_model(o).input_shape)}
    assert found == {"structure", "list", "string", "integer", "boolean"}
