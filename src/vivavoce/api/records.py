"""What the audit log keeps of an API call: the record that CloudTrail would have written.

The log is never erased, so nothing that a customer may want erased can be in it: members that the
service description marks as sensitive (customer ids, names, descriptions, tags, stream URLs) are
hidden, and so is an error message that repeats one.

Source: voice-id-behaviour.md section 14.3; for the fields, AWS's "CloudTrail record contents",
where responses are kept of calls that change something.
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias, cast

from botocore.model import ListShape, ServiceModel, Shape, StructureShape

from vivavoce.clock import to_datetime
from vivavoce.ids import domain_arn

HIDDEN = "HIDDEN_DUE_TO_SECURITY_REASONS"

# Source: voice-id-behaviour.md section 14.1, access levels Read and List; and our own operations.
READ_ONLY = frozenset(
    {
        "DescribeDomain",
        "DescribeFraudster",
        "DescribeFraudsterRegistrationJob",
        "DescribeSession",
        "DescribeSpeaker",
        "DescribeSpeakerEnrollmentJob",
        "DescribeWatchlist",
        "ListDomains",
        "ListFraudsterRegistrationJobs",
        "ListFraudsters",
        "ListSessions",
        "ListSpeakerEnrollmentJobs",
        "ListSpeakers",
        "ListTagsForResource",
        "ListWatchlists",
    }
)

_LONGEST_CHARACTERS = 1024

_Writer: TypeAlias = Callable[[Any, list[str]], object]
"""Gives a value as the log has it, and adds what it hid to a list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiCall:
    """One call of the API, answered.

    Attributes:
        access_key_id: who signed; empty in a sandbox without authentication.
        user_name: the access key's name.
        request: the decoded input; None where it was refused before it could be decoded.
        response: what was answered; None after an error, or where there is no output.
        error_code: as the wire has it; None where the call succeeded.
        error_message: as the wire has it.
    """

    operation: str
    request_id: str
    at_ms: int
    account_id: str
    region: str
    access_key_id: str
    user_name: str
    source_ip: str
    user_agent: str
    request: Mapping[str, Any] | None = field(repr=False)
    response: Mapping[str, Any] | None = field(default=None, repr=False)
    error_code: str | None = None
    error_message: str | None = field(default=None, repr=False)


class CallRecorder:
    """Writes the records of one service's calls.

    Args:
        service: the description, which says what is sensitive.
    """

    def __init__(self, service: ServiceModel) -> None:
        writers: dict[str, _Writer] = {}
        self._operations: dict[str, tuple[_Writer, _Writer]] = {}
        for name in cast("list[str]", service.operation_names):
            operation = service.operation_model(name)
            output = cast("Shape | None", operation.output_shape)
            self._operations[name] = (
                _writer(cast("Shape | None", operation.input_shape), writers),
                _writer(None if name in READ_ONLY else output, writers),
            )

    def record(self, call: ApiCall) -> dict[str, object]:
        """The record of a call, ready for the log.

        Raises:
            KeyError: the service has no such operation; what is no operation is not recorded.
        """
        write_request, write_response = self._operations[call.operation]
        hidden: list[str] = []
        record: dict[str, object] = {
            "eventVersion": "1.08",
            "eventSource": "voiceid.amazonaws.com",
            "eventName": call.operation,
            "eventTime": _instant(to_datetime(call.at_ms)),
            "awsRegion": call.region,
            "sourceIPAddress": _shortened(call.source_ip),
            "userAgent": _shortened(call.user_agent),
            "userIdentity": _identity(call),
            "requestParameters": write_request(call.request, hidden),
            "responseElements": write_response(call.response, hidden),
            "requestID": call.request_id,
            "eventID": str(uuid.uuid4()),
            "readOnly": call.operation in READ_ONLY,
            "eventType": "AwsApiCall",
            "managementEvent": True,
            "eventCategory": "Management",
            "recipientAccountId": call.account_id,
        }
        if (arn := _domain_arn(call)) is not None:
            record["resources"] = [
                {"accountId": call.account_id, "type": "AWS::VoiceID::Domain", "ARN": arn}
            ]
        if call.error_code is not None:
            record["errorCode"] = call.error_code
            record["errorMessage"] = _message(call, hidden)
        return record


def _message(call: ApiCall, hidden: list[str]) -> str:
    message = call.error_message or ""
    # A request that breaks a limit is quoted back to its caller, whatever it holds in which member.
    quotes = call.request is None and call.error_code == "ValidationException"
    return HIDDEN if quotes or any(text in message for text in hidden) else _shortened(message)


def _identity(call: ApiCall) -> dict[str, str]:
    if not call.access_key_id:
        return {"type": "Unknown", "accountId": call.account_id}
    return {
        "type": "IAMUser",
        "principalId": call.access_key_id,
        "arn": f"arn:aws:iam::{call.account_id}:user/{call.user_name}",
        "accountId": call.account_id,
        "accessKeyId": call.access_key_id,
        "userName": call.user_name,
    }


def _domain_arn(call: ApiCall) -> str | None:
    """The domain that a call is about; of `CreateDomain` the one that it made."""
    request = call.request or {}
    if "ResourceArn" in request:
        return cast("str", request["ResourceArn"])
    if "DomainId" in request:
        return domain_arn(request["DomainId"], region=call.region, account_id=call.account_id)
    made = cast("Mapping[str, str]", (call.response or {}).get("Domain") or {})
    return made.get("Arn")


def _writer(shape: Shape | None, known: dict[str, _Writer]) -> _Writer:
    """How values of a shape are written; made once a shape."""
    if shape is None:
        return _nothing
    if shape.name not in known:
        known[shape.name] = _new_writer(shape, known)
    return known[shape.name]


def _new_writer(shape: Shape, known: dict[str, _Writer]) -> _Writer:
    if "sensitive" in cast("Mapping[str, Any]", shape.metadata):
        return _hide
    if isinstance(shape, StructureShape):
        members = cast("Mapping[str, Shape]", shape.members)
        return _structure_writer(
            {
                name: (name[0].lower() + name[1:], _writer(member, known))
                for name, member in members.items()
            }
        )
    if isinstance(shape, ListShape):
        return _list_writer(_writer(cast("Shape", shape.member), known))
    kind = cast("str", shape.type_name)
    return {"string": _write_text, "timestamp": _write_instant}.get(kind, _write_plain)


def _structure_writer(members: Mapping[str, tuple[str, _Writer]]) -> _Writer:
    def write(value: Mapping[str, Any] | None, hidden: list[str]) -> object:
        if value is None:
            return None
        record: dict[str, object] = {}
        for name, member in value.items():
            if member is not None:
                written_as, write_member = members[name]
                record[written_as] = write_member(member, hidden)
        return record

    return write


def _list_writer(write_item: _Writer) -> _Writer:
    return lambda items, hidden: [write_item(item, hidden) for item in items]


def _nothing(_: object, __: list[str]) -> None:
    return None


def _hide(value: object, hidden: list[str]) -> str:
    if isinstance(value, str) and value:
        hidden.append(value)
    return HIDDEN


def _write_text(text: str, _: list[str]) -> str:
    return _shortened(text)


def _write_instant(instant: datetime | float, _: list[str]) -> str:
    moment = instant if isinstance(instant, datetime) else datetime.fromtimestamp(instant, UTC)
    return _instant(moment)


def _write_plain(value: object, _: list[str]) -> object:
    return value


def _instant(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_CHARACTERS else text[: _LONGEST_CHARACTERS - 1] + "…"
