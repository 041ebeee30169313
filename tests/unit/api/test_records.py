import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.api import description
from vivavoce.api.codec import Codec
from vivavoce.api.handlers import HANDLERS
from vivavoce.api.records import HIDDEN, READ_ONLY, ApiCall, CallRecorder
from vivavoce.errors import InvalidRequest

SERVICE: Any = description.load_service_model()
RECORDER = CallRecorder(SERVICE)
DOMAIN_ID = "UcUuCPFOsAjzg9xoByUatN"
ARN = f"arn:aws:voiceid:eu-west-2:111122223333:domain/{DOMAIN_ID}"
SENSITIVE = {
    "CustomerSpeakerId",
    "Description",
    "DomainName",
    "FraudsterId",
    "JobName",
    "SpeakerId",
    "StreamUrl",
    "TagKey",
    "TagValue",
    "WatchlistDescription",
    "WatchlistName",
}
MARK = "Zq7"  # stands in every sensitive value that a test makes, and nowhere else


def call(operation="DescribeDomain", request=None, **changes):
    facts: dict[str, Any] = {
        "operation": operation,
        "request_id": "5f6c3a3e-0000-4000-8000-000000000001",
        "at_ms": 1634598887123,
        "account_id": "111122223333",
        "region": "eu-west-2",
        "access_key_id": "VV0123456789",
        "user_name": "batch",
        "source_ip": "192.0.2.7",
        "user_agent": "aws-cli/1.42",
        "request": {"DomainId": DOMAIN_ID} if request is None else request,
    }
    return ApiCall(**{**facts, **changes})


def test_the_record_of_a_call_has_the_fields_of_cloudtrail():
    record = RECORDER.record(call())
    event_id = record.pop("eventID")
    assert isinstance(event_id, str)
    assert len(event_id) == 36
    assert record == {
        "eventVersion": "1.08",
        "eventSource": "voiceid.amazonaws.com",
        "eventName": "DescribeDomain",
        "eventTime": "2021-10-18T23:14:47Z",
        "awsRegion": "eu-west-2",
        "sourceIPAddress": "192.0.2.7",
        "userAgent": "aws-cli/1.42",
        "userIdentity": {
            "type": "IAMUser",
            "principalId": "VV0123456789",
            "arn": "arn:aws:iam::111122223333:user/batch",
            "accountId": "111122223333",
            "accessKeyId": "VV0123456789",
            "userName": "batch",
        },
        "requestParameters": {"domainId": DOMAIN_ID},
        "responseElements": None,
        "requestID": "5f6c3a3e-0000-4000-8000-000000000001",
        "readOnly": True,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "eventCategory": "Management",
        "recipientAccountId": "111122223333",
        "resources": [{"accountId": "111122223333", "type": "AWS::VoiceID::Domain", "ARN": ARN}],
    }


def test_creating_a_domain_is_recorded_as_cloudtrail_did():
    record = RECORDER.record(
        call(
            "CreateDomain",
            {
                "Name": "claims",
                "Description": "of claims",
                "ServerSideEncryptionConfiguration": {"KmsKeyId": "alias/voice"},
                "Tags": [{"Key": "team", "Value": "fraud"}],
                "ClientToken": "t-1",
            },
            response={
                "Domain": {
                    "Arn": ARN,
                    "DomainId": DOMAIN_ID,
                    "Name": "claims",
                    "DomainStatus": "ACTIVE",
                    "CreatedAt": 1634598887.123,
                    "UpdatedAt": datetime(2021, 10, 18, 23, 14, 47, tzinfo=UTC),
                    "Description": None,
                }
            },
        )
    )
    assert record["readOnly"] is False
    assert record["requestParameters"] == {
        "name": HIDDEN,
        "description": HIDDEN,
        "serverSideEncryptionConfiguration": {"kmsKeyId": "alias/voice"},
        "tags": [{"key": HIDDEN, "value": HIDDEN}],
        "clientToken": "t-1",
    }
    assert record["responseElements"] == {
        "domain": {
            "arn": ARN,
            "domainId": DOMAIN_ID,
            "name": HIDDEN,
            "domainStatus": "ACTIVE",
            "createdAt": "2021-10-18T23:14:47Z",
            "updatedAt": "2021-10-18T23:14:47Z",
        }
    }
    assert record["resources"] == [
        {"accountId": "111122223333", "type": "AWS::VoiceID::Domain", "ARN": ARN}
    ]


def test_reading_and_writing_operations_are_told_apart_as_iam_does():
    reading = {name for name in SERVICE.operation_names if name.startswith(("Describe", "List"))}
    assert reading == READ_ONLY


def test_every_operation_that_is_served_can_be_recorded():
    for operation in HANDLERS:
        assert RECORDER.record(call(operation, {}))["eventName"] == operation


def test_what_is_no_operation_is_not_recorded():
    with pytest.raises(KeyError):
        RECORDER.record(call("DropTables"))


def test_a_call_that_only_reads_leaves_no_answer_in_the_log():
    summaries = [{"DomainId": DOMAIN_ID, "GeneratedSpeakerId": "id#1", "Status": "ENROLLED"}]
    record = RECORDER.record(call("ListSpeakers", response={"SpeakerSummaries": summaries}))
    assert record["responseElements"] is None


def test_the_tag_operations_are_about_the_domain_they_name():
    record = RECORDER.record(call("UntagResource", {"ResourceArn": ARN, "TagKeys": ["team"]}))
    assert record["requestParameters"] == {"resourceArn": ARN, "tagKeys": [HIDDEN]}
    assert isinstance(record["resources"], list)
    assert record["resources"][0]["ARN"] == ARN


def test_a_call_about_no_domain_names_no_resource():
    assert "resources" not in RECORDER.record(call("ListDomains", {}))


def test_an_unsigned_call_has_an_unknown_caller():
    record = RECORDER.record(call(access_key_id="", user_name=""))
    assert record["userIdentity"] == {"type": "Unknown", "accountId": "111122223333"}


def test_an_error_is_recorded_by_code_and_message():
    record = RECORDER.record(
        call(error_code="ResourceNotFoundException", error_message="The requested domain is gone")
    )
    assert record["errorCode"] == "ResourceNotFoundException"
    assert record["errorMessage"] == "The requested domain is gone"
    assert "errorCode" not in RECORDER.record(call())


def test_a_message_that_repeats_a_sensitive_value_is_hidden():
    record = RECORDER.record(
        call(
            "DescribeSpeaker",
            {"DomainId": DOMAIN_ID, "SpeakerId": "caller-7"},
            error_code="ConflictException",
            error_message="The speaker caller-7 is busy",
        )
    )
    assert record["errorMessage"] == HIDDEN


def test_a_message_about_a_request_that_was_not_decoded_is_hidden():
    body = json.dumps({"DomainId": f"{MARK} in the wrong place", "SpeakerId": MARK}).encode()
    with pytest.raises(InvalidRequest, match=MARK) as caught:
        Codec(SERVICE).decode("DescribeSpeaker", body)
    refused = replace(
        call("DescribeSpeaker"),
        request=None,
        error_code="ValidationException",
        error_message=str(caught.value),
    )
    record = RECORDER.record(refused)
    assert MARK not in json.dumps(record)
    assert record["requestParameters"] is None


def test_long_texts_are_shortened():
    record = RECORDER.record(
        call(
            "ListSpeakers",
            {"DomainId": DOMAIN_ID, "NextToken": "n" * 8192},
            user_agent="u" * 100_000,
            source_ip="s" * 100_000,
            error_code="ValidationException",
            error_message="m" * 100_000,
        )
    )
    assert len(json.dumps(record)) < 6000
    assert str(record["userAgent"]).endswith("u…")


def values(shape):
    """Anything that a request or a response may hold for a shape; what is sensitive is marked."""
    match shape.type_name:
        case "structure":
            members = {name: values(member) for name, member in shape.members.items()}
            return st.fixed_dictionaries({}, optional=members)
        case "list":
            return st.lists(values(shape.member), max_size=3)
        case "timestamp":
            return st.floats(0, 4_000_000_000) | st.just(datetime(2021, 10, 18, tzinfo=UTC))
        case "integer":
            return st.integers(0, 100)
        case "double":
            return st.floats(0, 1e6)
        case "boolean":
            return st.booleans()
        case _ if shape.name in SENSITIVE:
            return st.text(max_size=300).map(lambda text: f"{MARK}{text}")
        case _:
            return st.sampled_from([DOMAIN_ID, ARN, "id#1", "日本", "\x00", "x" * 5000])


def calls():
    for name in SERVICE.operation_names:
        operation = SERVICE.operation_model(name)
        answer = values(operation.output_shape) if operation.output_shape else st.none()
        yield st.tuples(st.just(name), values(operation.input_shape), answer, st.booleans())


@given(st.one_of(list(calls())), st.data())
def test_nothing_sensitive_is_ever_in_a_record(case, data):
    operation, request, response, failed = case
    hidden = sorted(sensitive_in(SERVICE.operation_model(operation).input_shape, request))
    error: dict[str, Any] = {"response": response}
    if failed:
        repeated = data.draw(st.sampled_from(["", *hidden]))
        error = {"error_code": "ConflictException", "error_message": f"No: {repeated}!"}
    record = RECORDER.record(call(operation, request, **error))
    assert MARK not in json.dumps(record, allow_nan=False)
    parameters = record["requestParameters"]
    assert isinstance(parameters, dict)
    assert len(parameters) == len(request)


def sensitive_in(shape, value):
    match shape.type_name:
        case "structure":
            for name, member in value.items():
                yield from sensitive_in(shape.members[name], member)
        case "list":
            for item in value:
                yield from sensitive_in(shape.member, item)
        case _ if shape.name in SENSITIVE:
            yield value
        case _:
            pass


def test_the_description_marks_what_is_sensitive():
    shapes = description.load_description()["shapes"]
    assert {name for name, shape in shapes.items() if shape.get("sensitive")} == SENSITIVE
