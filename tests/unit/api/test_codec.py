import json
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.parsers import create_parser
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.api import description
from vivavoce.api.codec import Codec, encode_error, parse_object
from vivavoce.errors import RequestRefused

CODEC = Codec(description.load_service_model())
DOMAIN_ID = "UcUuCPFOsAjzg9xoByUatN"
CREATED_AT = datetime(2021, 10, 18, 23, 14, 47, 123000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"not json", "not JSON"),
        (b'{"a": 1} {"b": 2}', "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        ('{"DomainId": "x"}'.encode("utf-16"), "UTF-8"),
        (b'{"Name": "\xff\xfe"}', "UTF-8"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b'{"MaxResults": 1, "MaxResults": 2}', "repeated"),
        (b'{"Unknown": {"a": 1, "a": 2}}', "repeated"),
        (b'{"MaxResults": NaN}', "NaN is not a JSON number"),
        (b'{"MaxResults": -Infinity}', "-Infinity is not a JSON number"),
        (b'{"MaxResults": ' + b"9" * 10_000 + b"}", "not JSON"),
        (b'{"Deep": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "nested too deeply"),
        (b'{"Deep": ' * 200_000, "nested too deeply"),
    ],
    ids=lambda value: repr(value[:24]),
)
def test_a_body_that_cannot_be_read_is_refused(body, reason):
    with pytest.raises(RequestRefused, match=reason) as caught:
        CODEC.decode("ListDomains", body)
    assert caught.value.code == "SerializationException"


@given(st.binary(max_size=200))
def test_any_bytes_give_an_object_or_a_refusal(body):
    try:
        members = parse_object(body)
    except RequestRefused:
        return
    assert isinstance(members, dict)


def test_an_unknown_member_however_deep_is_ignored():
    body = b'{"New": ' + b"[" * 500 + b"]" * 500 + b', "NextToken": "t"}'
    assert CODEC.decode("ListDomains", body) == {"NextToken": "t"}


def test_timestamps_are_epoch_seconds_with_milliseconds():
    response = {"Domain": {"DomainId": DOMAIN_ID, "CreatedAt": CREATED_AT}}
    assert CODEC.encode("CreateDomain", response) == (
        b'{"Domain":{"DomainId":"UcUuCPFOsAjzg9xoByUatN","CreatedAt":1634598887.123}}'
    )


def test_absent_members_are_left_out_and_null_is_never_sent():
    response = {"Speaker": {"DomainId": DOMAIN_ID, "CustomerSpeakerId": None, "Status": "PENDING"}}
    assert json.loads(CODEC.encode("DescribeSpeaker", response)) == {
        "Speaker": {"DomainId": DOMAIN_ID, "Status": "PENDING"}
    }


@pytest.mark.parametrize("operation", ["DeleteSpeaker", "TagResource"])
def test_an_operation_without_output_answers_an_empty_object(operation):
    assert CODEC.encode(operation, None) == b"{}"


def test_a_response_that_the_description_does_not_know_is_our_own_failure():
    with pytest.raises(ValueError, match="Speaker has no member Age"):
        CODEC.encode("DescribeSpeaker", {"Speaker": {"Age": 3}})


def test_not_a_number_is_never_sent():
    progress = {"ReceivedSeconds": float("nan")}
    with pytest.raises(ValueError, match="not JSON compliant"):
        CODEC.encode("EvaluateSession", {"AudioProgress": progress})


def test_an_error_carries_its_type_and_extra_members_in_the_body():
    body = encode_error("ConflictException", "Busy", {"ConflictType": "ANOTHER_ACTIVE_STREAM"})
    assert json.loads(body) == {
        "__type": "ConflictException",
        "Message": "Busy",
        "ConflictType": "ANOTHER_ACTIVE_STREAM",
    }


def values(shape):
    """Anything that a handler may return for a shape."""
    match shape.type_name:
        case "structure":
            members = {name: values(member) for name, member in shape.members.items()}
            return st.fixed_dictionaries({}, optional=members)
        case "list":
            return st.lists(values(shape.member), max_size=2)
        case "timestamp":
            return st.integers(0, 4_000_000_000_000).map(
                lambda instant_ms: datetime.fromtimestamp(instant_ms / 1000, UTC)
            )
        case "integer":
            return st.integers(0, 100)
        case "double":
            return st.floats(0, 1e6)
        case "boolean":
            return st.booleans()
        case _:
            enum = shape.metadata.get("enum")
            return st.sampled_from(enum or ["plain", 'quo"ted\\', "日本 é", "🎙", "\x00"])


def responses():
    service: Any = description.load_service_model()
    for name in service.operation_names:
        if shape := service.operation_model(name).output_shape:
            yield st.tuples(st.just(name), values(shape))


@given(st.one_of(list(responses())))
def test_what_is_written_is_what_an_aws_client_reads(case):
    operation, response = case
    shape = description.load_service_model().operation_model(operation).output_shape
    body = CODEC.encode(operation, response)
    read = create_parser("json").parse({"status_code": 200, "headers": {}, "body": body}, shape)
    del read["ResponseMetadata"]
    assert read == response
