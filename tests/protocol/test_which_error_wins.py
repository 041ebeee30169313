"""A request that is wrong in two ways gets the error that comes first.

Signature, operation, parsing, validation, access, domain, child, state: nobody learns of a later
one who does not get past the earlier ones.
"""

import contextlib
import itertools
import json
import sqlite3
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.protocol.clients import (
    ANNA,
    NOBODY,
    NOTHING,
    Caller,
    add_session,
    furnish,
    make_keys,
    policy,
    requests_in,
    speech_of,
)
from vivavoce.api.handlers import HANDLERS
from vivavoce.foundation import open_data

MISSING_LIST = {"FraudDetectionConfiguration": {"WatchlistId": NOTHING}}

INVALID = {
    "AssociateFraudster": {"WatchlistId": "short"},
    "CreateDomain": {"Name": "no spaces"},
    "CreateWatchlist": {"Name": "no spaces"},
    "DeleteDomain": {"DomainId": "short"},
    "DeleteFraudster": {"FraudsterId": "short"},
    "DeleteSpeaker": {"SpeakerId": "b@d"},
    "DeleteWatchlist": {"WatchlistId": "short"},
    "DescribeDomain": {"DomainId": "short"},
    "DescribeFraudster": {"FraudsterId": "short"},
    "DescribeFraudsterRegistrationJob": {"JobId": "short"},
    "DescribeSession": {"SessionNameOrId": "b@d"},
    "DescribeSpeaker": {"SpeakerId": "b@d"},
    "DescribeSpeakerEnrollmentJob": {"JobId": "short"},
    "DescribeWatchlist": {"WatchlistId": "short"},
    "DisassociateFraudster": {"WatchlistId": "short"},
    "EndSession": {"SessionNameOrId": "b@d"},
    "EnrollBySession": {"SessionNameOrId": "b@d"},
    "EvaluateSession": {"SessionNameOrId": "b@d"},
    "ListDomains": {"MaxResults": 0},
    "ListFraudsterRegistrationJobs": {"JobStatus": "BOGUS"},
    "ListFraudsters": {"MaxResults": 0},
    "ListSessions": {"MaxResults": 101},
    "ListSpeakerEnrollmentJobs": {"MaxResults": "ten"},
    "ListSpeakers": {"MaxResults": 0},
    "ListTagsForResource": {"ResourceArn": "short"},
    "ListWatchlists": {"MaxResults": 0},
    "OptOutSpeaker": {"SpeakerId": "b@d"},
    "RegisterFraudsterBySession": {"WatchlistIds": []},
    "StartFraudsterRegistrationJob": {"JobName": "no spaces"},
    "StartSession": {"AudioSource": "Pigeon"},
    "StartSpeakerEnrollmentJob": {"JobName": "no spaces"},
    "TagResource": {"Tags": [{"Key": "semi;colon", "Value": ""}]},
    "UntagResource": {"TagKeys": ["semi;colon"]},
    "UpdateDomain": {"Name": "no spaces"},
    "UpdateSession": {"AuthenticationConfiguration": {"AcceptanceThreshold": 101}},
    "UpdateWatchlist": {"Name": "no spaces"},
}
"""What breaks the description, of every operation."""

MISSING = {
    "AssociateFraudster": [
        ({"FraudsterId": NOBODY}, "FRAUDSTER"),
        ({"WatchlistId": NOTHING}, "WATCHLIST"),
    ],
    "DeleteFraudster": [({"FraudsterId": NOBODY}, "FRAUDSTER")],
    "DeleteSpeaker": [({"SpeakerId": "nobody"}, "SPEAKER"), ({"SpeakerId": NOBODY}, "SPEAKER")],
    "DeleteWatchlist": [({"WatchlistId": NOTHING}, "WATCHLIST")],
    "DescribeFraudster": [({"FraudsterId": NOBODY}, "FRAUDSTER")],
    "DescribeFraudsterRegistrationJob": [({"JobId": NOTHING}, "BATCH_JOB")],
    "DescribeSession": [({"SessionNameOrId": "nobody"}, "SESSION")],
    "DescribeSpeaker": [({"SpeakerId": "nobody"}, "SPEAKER"), ({"SpeakerId": NOBODY}, "SPEAKER")],
    "DescribeSpeakerEnrollmentJob": [({"JobId": NOTHING}, "BATCH_JOB")],
    "DescribeWatchlist": [({"WatchlistId": NOTHING}, "WATCHLIST")],
    "DisassociateFraudster": [
        ({"FraudsterId": NOBODY}, "FRAUDSTER"),
        ({"WatchlistId": NOTHING}, "WATCHLIST"),
    ],
    "EndSession": [({"SessionNameOrId": NOBODY}, "SESSION")],
    "EnrollBySession": [({"SessionNameOrId": NOBODY}, "SESSION")],
    "EvaluateSession": [
        ({"SessionNameOrId": "nobody"}, "SESSION"),
        ({"SessionNameOrId": NOBODY}, "SESSION"),
    ],
    "ListFraudsters": [({"WatchlistId": NOTHING}, "WATCHLIST")],
    "OptOutSpeaker": [({"SpeakerId": NOBODY}, "SPEAKER")],
    "RegisterFraudsterBySession": [
        ({"SessionNameOrId": NOBODY}, "SESSION"),
        ({"WatchlistIds": [NOTHING]}, "WATCHLIST"),
    ],
    "StartFraudsterRegistrationJob": [
        ({"RegistrationConfig": {"WatchlistIds": [NOTHING]}}, "WATCHLIST")
    ],
    "StartSession": [(MISSING_LIST, "WATCHLIST"), ({"SpeakerId": NOBODY}, "SPEAKER")],
    "StartSpeakerEnrollmentJob": [
        ({"EnrollmentConfig": {"FraudDetectionConfig": {"WatchlistIds": [NOTHING]}}}, "WATCHLIST")
    ],
    "UpdateSession": [
        ({"SessionNameOrId": NOBODY}, "SESSION"),
        (MISSING_LIST, "WATCHLIST"),
        ({"SpeakerId": NOBODY}, "SPEAKER"),
    ],
    "UpdateWatchlist": [({"WatchlistId": NOTHING}, "WATCHLIST")],
}
"""What is not there, of every operation that names something within a domain."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A request in the making, and what it should be answered."""

    members: dict[str, Any]
    caller: str = "owner"
    has_wrong_secret: bool = False
    target: str | None = None
    is_torn: bool = False
    expected: tuple[str, str | None] = ("OK", None)
    wrong: tuple[str, ...] = field(default=())


def but(attempt, **members):
    return replace(attempt, members={**attempt.members, **members})


def spoilers(operation, place):
    """How to make a request wrong, by level, in their order; each way with its answer."""
    by_arn = operation in ("ListTagsForResource", "TagResource", "UntagResource")
    has_domain = operation not in ("CreateDomain", "ListDomains")
    no_domain = {"ResourceArn": f"{place.arn[:-22]}{NOTHING}"} if by_arn else {"DomainId": NOTHING}
    children = MISSING.get(operation, [])
    return {
        "signature": [
            (lambda a: replace(a, has_wrong_secret=True), ("InvalidSignatureException", None))
        ],
        "operation": [
            (lambda a: replace(a, target="VoiceID.Nothing"), ("UnknownOperationException", None))
        ],
        "parse": [(lambda a: replace(a, is_torn=True), ("SerializationException", None))],
        "validation": [(lambda a: but(a, **INVALID[operation]), ("ValidationException", None))],
        "access": [(lambda a: replace(a, caller="stranger"), ("AccessDeniedException", None))],
        "domain": [(lambda a: but(a, **no_domain), ("ResourceNotFoundException", "DOMAIN"))]
        if has_domain
        else [],
        "child": [
            (lambda a, missing=missing: but(a, **missing), ("ResourceNotFoundException", kind))
            for missing, kind in children
        ],
    }


@pytest.fixture(scope="module")
def place(_shared_server, client):
    return furnish(_shared_server, client)


@pytest.fixture(scope="module")
def callers(_shared_server):
    (nobody,) = make_keys(_shared_server, policy("s3:GetObject"))
    return {"owner": Caller(_shared_server), "stranger": Caller(_shared_server, nobody)}


@pytest.fixture
def answer_to(server, callers):
    def send(operation, attempt):
        caller = callers[attempt.caller]
        if attempt.has_wrong_secret:
            caller = caller.with_secret("guessed")
        body = json.dumps(attempt.members).encode()
        answer = caller.send(
            operation, body[:-1] if attempt.is_torn else body, target=attempt.target
        )
        return answer.code, answer.document.get("ResourceType") or answer.document.get(
            "ConflictType"
        )

    return send


def test_every_operation_can_be_made_wrong():
    assert INVALID.keys() == HANDLERS.keys()
    assert MISSING.keys() <= HANDLERS.keys()


@pytest.mark.parametrize("operation", sorted(HANDLERS))
def test_of_two_errors_the_earlier_one_is_answered(answer_to, place, operation):
    right = Attempt(members=requests_in(place)[operation])
    ways = [
        (level, spoil, expected)
        for level, spoilt in spoilers(operation, place).items()
        for spoil, expected in spoilt
    ]
    for level, spoil, expected in ways:
        assert answer_to(operation, spoil(right)) == expected, level
    for (first, spoil, expected), (second, spoil_too, _) in itertools.combinations(ways, 2):
        if first == second:
            continue
        # The later one is spoilt first: where both want the same member, the earlier one has it.
        assert answer_to(operation, spoil(spoil_too(right))) == expected, (first, second)


# --- what is there, but in a state that forbids it: all else comes first


@pytest.fixture
def states(server, client, place):
    """Requests of what is forbidden, by operation: members, and the answer."""
    domain = {"DomainId": place.domain_id}
    with open_data(server.data_dir) as store:
        short = store.write_now(
            lambda tx: tx.sessions.put_speech(
                add_session(tx, place.domain_id, "short", watchlist_id=place.default_watchlist_id),
                speech_of(ANNA, seconds=1),
                seconds=1.0,
            )
        )
    live = client.start_session(**domain)["Session"]
    enrolling = client.start_session(**domain, SpeakerId="enrolling")["Session"]
    enrolling = {**domain, "SessionNameOrId": enrolling["SessionId"]}
    client.enroll_by_session(**enrolling)
    fixed = "CANNOT_CHANGE_SPEAKER_AFTER_ENROLLMENT"
    on_list = {**domain, "FraudsterId": place.fraudster_id}
    default = {**domain, "WatchlistId": place.default_watchlist_id}
    return {
        "DeleteWatchlist": (default, ("ValidationException", None)),
        "DisassociateFraudster": (
            {**on_list, **default},
            ("ConflictException", "FRAUDSTER_MUST_BELONG_TO_AT_LEAST_ONE_WATCHLIST"),
        ),
        "EnrollBySession": (enrolling, ("ConflictException", "ENROLLMENT_ALREADY_EXISTS")),
        "RegisterFraudsterBySession": (
            {**domain, "SessionNameOrId": short.session_id},
            ("ValidationException", None),
        ),
        "StartSession": (
            {**domain, "SessionName": live["SessionName"]},
            ("ConflictException", "ANOTHER_ACTIVE_STREAM"),
        ),
        "UpdateSession": (
            {**enrolling, "SpeakerId": "somebody-else"},
            ("ConflictException", fixed),
        ),
        "UpdateWatchlist": ({**default, "Name": "mine"}, ("ValidationException", None)),
    }


def test_a_forbidding_state_is_answered_last(answer_to, place, states):
    for operation, (members, expected) in states.items():
        forbidden = Attempt(members=members)
        assert answer_to(operation, forbidden) == expected, operation
        for level, spoilt in spoilers(operation, place).items():
            for spoil, earlier in spoilt:
                assert answer_to(operation, spoil(forbidden)) == earlier, (operation, level)


def test_a_domain_that_is_not_active_is_not_changed(server, client, answer_to):
    place = furnish(server, client)

    def suspend(status):
        with contextlib.closing(sqlite3.connect(server.data_dir / "vivavoce.db")) as database:
            database.execute(
                "UPDATE domains SET status = ? WHERE domain_id = ?", (status, place.domain_id)
            )
            database.commit()

    reading = ("Describe", "List")
    elsewhere = ("CreateDomain",)
    still = ("EndSession", "DeleteDomain")  # what only ends something
    for status in ("SUSPENDED", "PENDING"):
        suspend(status)
        for operation, members in requests_in(place).items():
            if operation in (*elsewhere, *still):
                continue
            expected = ("OK", None)
            if not operation.startswith(reading):
                expected = ("ConflictException", "DOMAIN_NOT_ACTIVE")
            assert answer_to(operation, Attempt(members=members)) == expected, operation
    shown = client.describe_domain(DomainId=place.domain_id)["Domain"]["DomainStatus"]
    assert shown == "PENDING"
    for operation in still:
        assert answer_to(operation, Attempt(members=requests_in(place)[operation]))[0] == "OK"


def test_a_key_that_is_not_named_as_keys_are_is_told_to_those_who_may_name_one(answer_to, place):
    odd = {"ServerSideEncryptionConfiguration": {"KmsKeyId": "not a key"}}
    for operation in ("CreateDomain", "UpdateDomain"):
        members = {**requests_in(place)[operation], **odd}
        refused = ("ValidationException", None)
        assert answer_to(operation, Attempt(members=members)) == refused
        denied = ("AccessDeniedException", None)
        assert answer_to(operation, Attempt(members=members, caller="stranger")) == denied
    gone = {**requests_in(place)["UpdateDomain"], **odd, "DomainId": NOTHING}
    assert answer_to("UpdateDomain", Attempt(members=gone)) == (
        "ResourceNotFoundException",
        "DOMAIN",
    )
