"""Verifies AWS Signature Version 4 in the `Authorization` header. Pure: no socket, no clock.

The signature is recomputed by botocore's own signer, so both ends of the wire run the same code.
Refusals carry the codes of AWS's front door.

Source: AWS's documentation of SigV4 for the form and the five minutes. The wording of refusals is
what AWS's JSON services answer; it is not documented.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import cast

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials

from vivavoce.errors import SignatureError

ALLOWED_SKEW = timedelta(minutes=5)

_ALGORITHM = "AWS4-HMAC-SHA256"
_SERVICE = "voiceid"
_TERMINATOR = "aws4_request"
_TIMESTAMP = "%Y%m%dT%H%M%SZ"
_PARAMETERS = ("Credential", "SignedHeaders", "Signature")

_INCOMPLETE = "IncompleteSignatureException"
_INVALID = "InvalidSignatureException"
_UNKNOWN_KEY = "UnrecognizedClientException"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRequest:
    """What a signature of a `POST /` covers.

    Attributes:
        headers: in the order of arrival; names in lower case, as ASGI gives them.
        query: the raw query string; the service has none.
        body: as received.
    """

    headers: Sequence[tuple[str, str]]
    query: str
    body: bytes

    def header(self, name: str) -> str | None:
        """A header's value; None where it is absent.

        Raises:
            SignatureError: the header is repeated, so it has no one value.
        """
        values = [value for given, value in self.headers if given == name]
        if len(values) > 1:
            raise SignatureError(_INCOMPLETE, f"The header '{name}' is repeated")
        return values[0] if values else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who signed a request, and for which region."""

    access_key_id: str
    region: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """What an `Authorization` header claims; nothing in it is verified yet."""

    caller: Caller
    date: str
    signed_headers: frozenset[str]
    signature: str


def verify(
    request: SignedRequest, *, secret_of: Callable[[str], str | None], now: datetime
) -> Caller:
    """The caller whose secret signed the request.

    Args:
        request: the request as it came from the wire.
        secret_of: the secret of an access key id; None for a key that is unknown or revoked.
        now: an aware datetime; signatures more than five minutes from it are refused.

    Raises:
        SignatureError: with AWS's code for what is wrong.
    """
    authorization = claimed(request)
    timestamp = _signed_at(request, authorization)
    _check_coverage(request, authorization)
    secret = secret_of(authorization.caller.access_key_id)
    # Temporary credentials do not exist here, so a session token belongs to some other service.
    if secret is None or request.header("x-amz-security-token") is not None:
        raise SignatureError(_UNKNOWN_KEY, "The security token included in the request is invalid.")
    _check_freshness(timestamp, now)
    expected = _signature(request, authorization, timestamp, secret)
    if not hmac.compare_digest(expected.encode(), authorization.signature.encode()):
        raise SignatureError(
            _INVALID,
            "The request signature we calculated does not match the signature you provided. "
            "Check your secret access key and signing method.",
        )
    return authorization.caller


def claimed(request: SignedRequest) -> Authorization:
    """What the request's `Authorization` header claims.

    Raises:
        SignatureError: there is none, or it is not of the form that AWS's clients send.
    """
    header = request.header("authorization")
    if header is None or request.query:
        raise SignatureError(
            "MissingAuthenticationTokenException",
            "Missing Authentication Token: sign in the Authorization header",
        )
    algorithm, _, rest = header.partition(" ")
    if algorithm != _ALGORITHM:
        raise SignatureError(_INCOMPLETE, f"The Authorization header must begin with {_ALGORITHM}")
    given: dict[str, str] = {}
    for part in rest.split(","):
        name, _, value = part.strip().partition("=")
        given[name] = value
    missing = [name for name in _PARAMETERS if not given.get(name)]
    if missing:
        wants = " ".join(f"Authorization header requires '{name}' parameter." for name in missing)
        raise SignatureError(_INCOMPLETE, wants)
    caller, date = _scope(given["Credential"])
    return Authorization(
        caller=caller,
        date=date,
        signed_headers=frozenset(given["SignedHeaders"].split(";")),
        signature=given["Signature"],
    )


def _scope(credential: str) -> tuple[Caller, str]:
    parts = credential.split("/")
    if len(parts) != 5 or not parts[0]:
        raise SignatureError(
            _INCOMPLETE,
            "Credential must have exactly 5 slash-delimited elements: "
            f"key id, date, region, {_SERVICE}, {_TERMINATOR}",
        )
    access_key_id, date, region, service, terminator = parts
    if service != _SERVICE:
        raise SignatureError(
            _INVALID, f"Credential should be scoped to correct service: '{_SERVICE}'."
        )
    if terminator != _TERMINATOR:
        raise SignatureError(
            _INVALID, f"Credential should be scoped with a valid terminator: '{_TERMINATOR}'."
        )
    # Any region is served, but its name becomes part of ARNs.
    if not re.fullmatch("[a-zA-Z0-9-]{1,64}", region):
        raise SignatureError(_INVALID, "Credential should be scoped to a valid region.")
    return Caller(access_key_id=access_key_id, region=region), date


def _signed_at(request: SignedRequest, authorization: Authorization) -> str:
    timestamp = request.header("x-amz-date")
    if timestamp is None:
        raise SignatureError(
            _INCOMPLETE, "Authorization header requires existence of an 'X-Amz-Date' header."
        )
    if timestamp[:8] != authorization.date:
        raise SignatureError(
            _INVALID, "Date in Credential scope does not match the date of X-Amz-Date."
        )
    return timestamp


def _check_coverage(request: SignedRequest, authorization: Authorization) -> None:
    """Everything that steers the answer must be under the signature."""
    steering = {
        name for name, _ in request.headers if name == "content-type" or name.startswith("x-amz-")
    }
    for name in sorted({"host", "x-amz-date"} | steering):
        if name not in authorization.signed_headers:
            raise SignatureError(
                _INVALID, f"'{name}' must be a 'SignedHeader' in the AWS Authorization."
            )
    digest = request.header("x-amz-content-sha256")
    if digest is not None and digest != hashlib.sha256(request.body).hexdigest():
        raise SignatureError(
            _INVALID, "The value of X-Amz-Content-SHA256 is not the SHA-256 of the body."
        )


def _check_freshness(timestamp: str, now: datetime) -> None:
    try:
        signed_at = datetime.strptime(timestamp, _TIMESTAMP).replace(tzinfo=UTC)
    except ValueError:
        raise SignatureError(
            _INCOMPLETE, "X-Amz-Date must be in ISO-8601 'basic format': 20260131T235959Z"
        ) from None
    now = now.astimezone(UTC)
    earliest, latest = now - ALLOWED_SKEW, now + ALLOWED_SKEW
    if signed_at < earliest:
        raise SignatureError(
            _INVALID,
            f"Signature expired: {timestamp} is now earlier than {earliest:{_TIMESTAMP}} "
            f"({now:{_TIMESTAMP}} - 5 min.)",
        )
    if signed_at > latest:
        raise SignatureError(
            _INVALID,
            f"Signature not yet current: {timestamp} is still later than {latest:{_TIMESTAMP}} "
            f"({now:{_TIMESTAMP}} + 5 min.)",
        )


def _signature(
    request: SignedRequest, authorization: Authorization, timestamp: str, secret: str
) -> str:
    caller = authorization.caller
    signer = _Signer(Credentials(caller.access_key_id, secret), _SERVICE, caller.region)
    # The host in this URL is not used: the signed one is among the headers.
    rebuilt = AWSRequest(method="POST", url="https://host/", data=request.body)
    for name, value in request.headers:
        if name in authorization.signed_headers:
            rebuilt.headers[name] = value  # adds: a repeated header keeps all its values
    rebuilt.context["timestamp"] = timestamp
    text = signer.string_to_sign(rebuilt, signer.canonical_request(rebuilt))
    return cast("str", signer.signature(text, rebuilt))


class _Signer(SigV4Auth):
    """Signs exactly the headers it is given; other clients sign some that botocore leaves out."""

    def headers_to_sign(self, request: AWSRequest) -> HTTPHeaders:
        return request.headers
