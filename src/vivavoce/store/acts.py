"""What the audit log keeps of an act that is no call of the API: a command's, or the server's own.

As in a decision's record, nothing in it names a customer. Where CloudTrail has a name for the act,
it is the act's name here.

Source: AWS's "CloudTrail record contents"; `VivavoceService` stands where CloudTrail has
`AwsServiceEvent`, which is what AWS did on its own.
"""

import json
import os
import pwd
import uuid
from typing import Any, cast

from vivavoce.clock import iso_utc
from vivavoce.store.access_keys import AccessKeyRecord

_HIDDEN = "HIDDEN_DUE_TO_SECURITY_REASONS"
"""CloudTrail's words, as in the records of calls."""


def command_record(name: str, *, at_ms: int, **facts: Any) -> dict[str, Any]:  # noqa: ANN401
    """The record of what somebody did by a command of this program.

    Args:
        name: what was done, such as `CreateAccessKey`.
        at_ms: when.
        facts: more of the record's members.
    """
    who = {"type": "OperatingSystemUser", "userName": _user()}
    return _record(name, "VivavoceCommand", at_ms, {"userIdentity": who, **facts})


def service_record(name: str, *, at_ms: int, **facts: Any) -> dict[str, Any]:  # noqa: ANN401
    """The record of what the server did on its own.

    Args:
        name: what was done, such as `ExpireSpeaker`.
        at_ms: when.
        facts: more of the record's members.
    """
    who = {"type": "Service", "invokedBy": "vivavoce"}
    return _record(name, "VivavoceService", at_ms, {"userIdentity": who, **facts})


def access_key_facts(made: AccessKeyRecord) -> dict[str, Any]:
    """What the record of a new access key says of it: all but its secrets.

    The values of its policy's conditions are hidden: they may be tags, which customers choose.
    """
    document = json.loads(made.policy)
    given = document["Statement"]
    statements = cast("list[dict[str, Any]]", given if isinstance(given, list) else [given])
    shown = [each | {"Condition": _HIDDEN} if "Condition" in each else each for each in statements]
    return {
        "requestParameters": {
            "userName": made.name,
            "policyDocument": document | {"Statement": shown},
            "expiration": None if made.expires_ms is None else iso_utc(made.expires_ms),
        },
        "responseElements": {"accessKeyId": made.access_key_id},
    }


def _record(name: str, kind: str, at_ms: int, facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "eventVersion": "1.08",
        "eventSource": "vivavoce",
        "eventType": kind,
        "eventName": name,
        "eventTime": iso_utc(at_ms),
        "eventID": str(uuid.uuid4()),
        "readOnly": False,
        "managementEvent": True,
        "eventCategory": "Management",
        **facts,
    }


def _user() -> str:
    """The user of the operating system; in a container one may have no name."""
    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
