import asyncio
import json
import logging
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.endpoint import ACCOUNT_ID, build_endpoint, policy
from tests.fakes import FakeAccessKeys, FakeDirectory, RecordingAudit, RecordingMeter
from vivavoce import errors
from vivavoce.api.http import Fault, Limits, fault_of
from vivavoce.api.keys import AccessKey

DOMAIN_ID = "UcUuCPFOsAjzg9xoByUatN"
JSON = "application/x-amz-json-1.0"


@dataclass(frozen=True)
class Services:
    seen: list[Any]


async def describe_domain(context, request):
    context.services.seen.append((context, request))
    return {"Domain": {"DomainId": request["DomainId"]}}


async def delete_domain(context, request):
    raise KeyError(request["DomainId"])


def endpoint(seen=None, *, handlers=None, **parts):
    return build_endpoint(
        handlers or {"DescribeDomain": describe_domain, "DeleteDomain": delete_domain},
        Services(seen if seen is not None else []),
        **parts,
    )


def ask(app, body=b"{}", *, method="POST", target="VoiceID.DescribeDomain", headers=None):
    async def one():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://voice:8470") as client:
            return await client.request(
                method, "/", content=body, headers={"X-Amz-Target": target} | (headers or {})
            )

    return asyncio.run(one())


def code(response):
    assert response.headers["x-amzn-errortype"] == response.json()["__type"]
    assert response.headers["content-type"] == JSON
    assert response.json()["Message"]
    return response.status_code, response.json()["__type"]


def test_a_handler_gets_its_context_and_answers():
    seen = []
    response = ask(endpoint(seen), json.dumps({"DomainId": DOMAIN_ID, "New": 1}).encode())
    assert response.status_code == 200
    assert response.json() == {"Domain": {"DomainId": DOMAIN_ID}}
    assert response.headers["content-type"] == JSON
    assert "x-amzn-query-error" not in response.headers
    [(context, request)] = seen
    assert request == {"DomainId": DOMAIN_ID}
    assert response.headers["x-amzn-requestid"] == context.request_id
    assert (context.account_id, context.region) == (ACCOUNT_ID, "us-east-1")
    assert (context.host, context.access_key_id) == ("voice:8470", "")


def test_in_a_sandbox_the_region_is_the_one_that_the_client_signed_for():
    seen = []
    ask(
        endpoint(seen),
        json.dumps({"DomainId": DOMAIN_ID}).encode(),
        headers={
            "Authorization": "AWS4-HMAC-SHA256 SignedHeaders=host, Signature=00, "
            "Credential=a/20260101/eu-west-2/voiceid/aws4_request"
        },
    )
    assert seen[0][0].region == "eu-west-2"


def test_an_unsigned_request_is_refused_before_anything_else_is_looked_at():
    response = ask(endpoint(keys=FakeAccessKeys()), b"not json", target="VoiceID.Nonsense")
    assert code(response) == (400, "MissingAuthenticationTokenException")


@pytest.mark.parametrize(
    "target", ["", "DescribeDomain", "VoiceID.CreateDomain", "VoiceID.Nonsense", "Other.X"]
)
def test_an_operation_that_is_not_served_is_unknown(target):
    assert code(ask(endpoint(), b"not json", target=target)) == (400, "UnknownOperationException")


def test_a_body_that_is_not_json_cannot_be_serialised():
    assert code(ask(endpoint(), b"not json")) == (400, "SerializationException")


def test_a_broken_limit_is_a_validation_error():
    assert code(ask(endpoint(), b'{"DomainId": "short"}')) == (400, "ValidationException")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_not_allowed(method):
    response = ask(endpoint(), method=method)
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"


def test_a_body_of_exactly_the_limit_is_read_and_one_byte_more_is_not():
    app = endpoint(limits=Limits(body_bytes=64))
    body = json.dumps({"DomainId": DOMAIN_ID}).encode().ljust(64)
    assert ask(app, body).status_code == 200
    response = ask(app, body + b" ")
    assert code(response) == (413, "RequestEntityTooLargeException")
    assert response.headers["connection"] == "close"


def call(app, chunks, *, delay_s=0.0):
    """Feeds an ASGI app chunk by chunk; returns the status and how many chunks it took."""
    sent = []
    taken = 0

    async def receive():
        nonlocal taken
        await asyncio.sleep(delay_s)
        taken += 1
        chunk = next(chunks, None)
        if chunk is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunk, "more_body": True}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": []}
    asyncio.run(app(scope, receive, send))
    return (sent[0]["status"] if sent else None), taken


def test_an_endless_body_is_given_up_on():
    app = endpoint(limits=Limits(body_bytes=100, drained_bytes=1000))
    assert call(app, iter(lambda: b"x" * 100, None)) == (413, 11)


def test_a_body_that_does_not_come_is_given_up_on():
    app = endpoint(limits=Limits(body_s=0.02))
    assert call(app, iter(lambda: b"x", None), delay_s=0.015) == (408, 1)


def test_a_client_that_vanishes_gets_no_answer_and_leaves_no_trace(caplog):
    assert call(endpoint(), iter([b"{"])) == (None, 2)
    assert caplog.records == []


def test_a_failure_of_ours_is_logged_with_its_place_but_without_its_text(caplog):
    body = json.dumps({"DomainId": DOMAIN_ID}).encode()
    with caplog.at_level(logging.DEBUG):
        response = ask(endpoint(), body, target="VoiceID.DeleteDomain")
    assert code(response) == (500, "InternalServerException")
    assert response.json()["Message"] == "Internal Server Error"
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert response.headers["x-amzn-requestid"] in record.getMessage()
    assert "in delete_domain" in record.getMessage()
    assert "KeyError" in record.getMessage()
    assert DOMAIN_ID not in caplog.text


@pytest.mark.parametrize("error", [errors.KeyUnavailable("gone"), errors.KeyServiceDown("slow")])
def test_a_key_service_that_fails_does_not_fill_the_log_with_traces(caplog, error):
    async def describe(context, request):
        raise error

    app = endpoint(handlers={"DescribeDomain": describe})
    body = json.dumps({"DomainId": DOMAIN_ID}).encode()
    assert code(ask(app, body)) == (500, "InternalServerException")
    assert caplog.records == []  # the vault's log has the reason


def test_a_response_that_breaks_the_description_is_our_failure():
    async def describe(context, request):
        return {"Domian": {}}

    app = endpoint(handlers={"DescribeDomain": describe})
    body = json.dumps({"DomainId": DOMAIN_ID}).encode()
    assert code(ask(app, body)) == (500, "InternalServerException")


def test_a_request_that_is_cancelled_at_shutdown_ends_without_an_answer():
    async def wait(context, request):
        raise asyncio.CancelledError

    app = endpoint(handlers={"DescribeDomain": wait})
    sent = []

    async def receive():
        body = json.dumps({"DomainId": DOMAIN_ID}).encode()
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "query_string": b"",
        "headers": [(b"x-amz-target", b"VoiceID.DescribeDomain")],
    }
    asyncio.run(app(scope, receive, send))
    assert sent == []


def test_a_handler_for_no_operation_is_found_at_start():
    with pytest.raises(ValueError, match="no such operation: CreateDomian"):
        endpoint(handlers={"CreateDomian": describe_domain})


# --- who may do what, and who is told of it


SECRET = "a-secret-of-some-length"
BODY = json.dumps({"DomainId": DOMAIN_ID}).encode()


def key(effect="Allow", action="voiceid:*"):
    return AccessKey(
        access_key_id="AKIDEXAMPLE", name="ann", secret=SECRET, policy=policy(effect, action)
    )


def ask_signed(app, body=BODY, *, target="VoiceID.DescribeDomain", secret=SECRET):
    request = AWSRequest("POST", "http://voice:8470/", data=body, headers={"X-Amz-Target": target})
    SigV4Auth(Credentials("AKIDEXAMPLE", secret), "voiceid", "eu-west-2").add_auth(request)
    return ask(app, body, target=target, headers=dict(request.headers))


def test_a_signed_request_is_answered_in_its_own_region():
    seen = []
    keys = FakeAccessKeys({"AKIDEXAMPLE": key()})
    assert ask_signed(endpoint(seen, keys=keys)).status_code == 200
    assert (seen[0][0].region, seen[0][0].access_key_id) == ("eu-west-2", "AKIDEXAMPLE")


def test_a_key_that_was_made_a_moment_ago_is_found():
    keys = FakeAccessKeys(new={"AKIDEXAMPLE": key()})
    assert ask_signed(endpoint(keys=keys)).status_code == 200


@pytest.mark.parametrize(
    ("wrong", "answer"),
    [
        ({"body": b"not json", "target": "VoiceID.Nonsense", "secret": "guess"},
         "InvalidSignatureException"),
        ({"body": b"not json", "target": "VoiceID.Nonsense"}, "UnknownOperationException"),
        ({"body": b"not json"}, "SerializationException"),
        ({"body": b'{"DomainId": "short"}'}, "ValidationException"),
        ({}, "AccessDeniedException"),
    ],
)  # fmt: skip
def test_the_first_refusal_ends_it(wrong, answer):
    seen = []
    app = endpoint(
        seen,
        keys=FakeAccessKeys({"AKIDEXAMPLE": key("Deny")}),
        tps={"DescribeDomain": 0.0},
        directory=FakeDirectory({DOMAIN_ID}),
    )
    assert code(ask_signed(app, **wrong))[1] == answer
    assert seen == []


def test_a_policy_refuses_before_the_rate_and_the_rate_before_the_domain():
    allowed = FakeAccessKeys({"AKIDEXAMPLE": key()})
    nowhere = FakeDirectory({DOMAIN_ID})
    app = endpoint(keys=allowed, tps={"DescribeDomain": 1.0}, directory=nowhere)
    missing = ask_signed(app)
    assert code(missing) == (400, "ResourceNotFoundException")
    assert missing.json()["ResourceType"] == "DOMAIN"
    assert code(ask_signed(app)) == (400, "ThrottlingException")
    denied = FakeAccessKeys({"AKIDEXAMPLE": key(action="voiceid:List*")})
    app = endpoint(keys=denied, tps={"DescribeDomain": 1.0}, directory=nowhere)
    for _ in range(2):  # what is denied uses up nobody's rate
        refused = ask_signed(app)
        assert code(refused) == (400, "AccessDeniedException")
        assert f"arn:aws:iam::{ACCOUNT_ID}:user/ann is not authorized" in refused.json()["Message"]


def test_a_call_is_recorded_with_who_made_it_and_what_came_of_it():
    audit = RecordingAudit()
    keys = FakeAccessKeys({"AKIDEXAMPLE": key()})
    app = endpoint(keys=keys, audit=audit)
    answers = [ask_signed(app), ask_signed(app, target="VoiceID.DeleteDomain")]
    assert [call.operation for call in audit.calls] == ["DescribeDomain", "DeleteDomain"]
    for call, answer in zip(audit.calls, answers, strict=True):
        assert (call.user_name, call.access_key_id) == ("ann", "AKIDEXAMPLE")
        assert (call.region, call.account_id) == ("eu-west-2", ACCOUNT_ID)
        assert call.request_id == answer.headers["x-amzn-requestid"]
        assert call.request == {"DomainId": DOMAIN_ID}
    done, failed = audit.calls
    assert (done.response, done.error_code) == ({"Domain": {"DomainId": DOMAIN_ID}}, None)
    assert (failed.response, failed.error_code) == (None, "InternalServerException")


def test_what_is_only_read_is_recorded_where_it_was_denied():
    audit = RecordingAudit(unwanted={"DescribeDomain"})
    keys = FakeAccessKeys({"AKIDEXAMPLE": key()})
    app = endpoint(keys=keys, audit=audit)
    ask_signed(app)
    ask_signed(app, b'{"DomainId": "short"}')
    assert audit.calls == []
    keys.keys["AKIDEXAMPLE"] = key("Deny")
    ask_signed(app)
    assert [call.error_code for call in audit.calls] == ["AccessDeniedException"]


def test_what_cannot_be_recorded_is_not_answered_as_if_it_were():
    app = endpoint(audit=RecordingAudit(failure=errors.StoreError("the disk is full")))
    assert code(ask(app, BODY)) == (500, "InternalServerException")


def test_every_answer_is_counted_under_its_operation():
    meter = RecordingMeter()
    app = endpoint(meter=meter)
    ask(app, BODY)
    ask(app, b"not json")
    ask(app, BODY, target="VoiceID.DeleteDomain")
    ask(app, BODY, target="VoiceID.Nonsense")
    ask(app, method="GET")
    assert meter.answers == [
        ("DescribeDomain", None),
        ("DescribeDomain", "SerializationException"),
        ("DeleteDomain", "InternalServerException"),
        (None, "UnknownOperationException"),
        (None, "MethodNotAllowedException"),
    ]


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (errors.InvalidRequest("no"), Fault(code="ValidationException", message="no")),
        (
            errors.NotEnoughSpeech(needed_s=30, got_s=4),
            Fault(
                code="ValidationException",
                message="30 s of net speech are needed, 4.0 s were heard",
            ),
        ),
        (
            errors.NotFound("SPEAKER"),
            Fault(
                code="ResourceNotFoundException",
                message="The requested speaker does not exist",
                members={"ResourceType": "SPEAKER"},
            ),
        ),
        (
            errors.Conflict("SPEAKER_NOT_SET", "no"),
            Fault(
                code="ConflictException",
                message="no",
                members={"ConflictType": "SPEAKER_NOT_SET"},
            ),
        ),
        (
            errors.AtCapacity("no place"),
            Fault(
                code="ServiceQuotaExceededException",
                message="no place",
            ),
        ),
        (
            errors.QuotaExceeded("The quota of 3 domains is used up"),
            Fault(
                code="ServiceQuotaExceededException", message="The quota of 3 domains is used up"
            ),
        ),
        (errors.Throttled(), Fault(code="ThrottlingException", message="Rate exceeded")),
        (errors.AccessDenied("no"), Fault(code="AccessDeniedException", message="no")),
        (
            errors.KeyDenied("alias/k", "it is disabled"),
            Fault(
                code="AccessDeniedException",
                message="The key alias/k cannot be used: it is disabled",
            ),
        ),
        (
            errors.KeyServiceDown("no answer from 10.0.0.1"),
            Fault(code="InternalServerException", message="Internal Server Error", status=500),
        ),
        (
            errors.StoreError("disk /var/lib is full"),
            Fault(code="InternalServerException", message="Internal Server Error", status=500),
        ),
    ],
)
def test_each_error_has_its_place_in_the_table(error, fault):
    assert fault_of(error) == fault
