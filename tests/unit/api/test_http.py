import asyncio
import json
import logging
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from vivavoce import errors
from vivavoce.api import description
from vivavoce.api.http import Fault, Limits, VoiceIdEndpoint, fault_of
from vivavoce.clock import SystemClock

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


def endpoint(seen=None, *, handlers=None, access_keys=None, limits=None):
    return VoiceIdEndpoint(
        handlers or {"DescribeDomain": describe_domain, "DeleteDomain": delete_domain},
        service=description.load_service_model(),
        services=Services(seen if seen is not None else []),
        access_keys=access_keys,
        account_id="123456789012",
        clock=SystemClock(),
        limits=limits,
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


class NoKeys:
    def secret_of(self, access_key_id):
        return None


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
    assert (context.account_id, context.region) == ("123456789012", "us-east-1")
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
    response = ask(endpoint(access_keys=NoKeys()), b"not json", target="VoiceID.Nonsense")
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
            errors.StoreError("disk /var/lib is full"),
            Fault(code="InternalServerException", message="Internal Server Error", status=500),
        ),
    ],
)
def test_each_error_has_its_place_in_the_table(error, fault):
    assert fault_of(error) == fault
