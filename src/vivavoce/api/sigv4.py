"""Verifies AWS Signature Version 4 in the `Authorization` header. Pure: no socket, no clock.

The tests hold it against botocore's own signer. Refusals carry the codes of AWS's front door.

AWS remembers no signatures, and neither does this: boto3 signs two equal requests within a second
alike, so a signature that comes twice is no sign of a replay. What limits a replay is the five
minutes for which a signature holds; what makes one harmless are client tokens.

Source: AWS's documentation of SigV4 for the form and the five minutes. The wording of refusals is
what AWS's JSON services answer; it is not documented.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from vivavoce.api.keys import AccessKey
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
_EXPIRED = "ExpiredTokenException"

# ASCII only, where \d would take the digits of every script.
_IS_TIMESTAMP = re.compile("[0-9]{8}T[0-9]{6}Z").fullmatch
_IS_REGION = re.compile("[a-zA-Z0-9-]{1,64}").fullmatch
_IS_SIGNATURE = re.compile("[0-9a-f]{64}").fullmatch

# Trimming knows HTTP's white space only: to `str.split` a no-break space is one too, and then one
# signature would serve two texts.
_WHITE_SPACE = " \t"
_HAS_RUN = re.compile(r"\t|  ").search
_RUN = re.compile(r"[ \t]+")

_SIGNING_KEYS = 1024
"""Signing keys held, one for each access key, day and region."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRequest:
    """What a signature of a `POST /` covers.

    Attributes:
        headers: in the order of arrival; names in lower case, as ASGI gives them; values decoded as
            Latin-1, so that each character is one byte of the wire.
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
    """Who signed a request, and for which region.

    Attributes:
        access_key_id: the key that is named; empty in a sandbox without authentication.
        region: of the credential scope.
        key: the key, once the signature is verified; None before that, and in a sandbox.
    """

    access_key_id: str
    region: str
    key: AccessKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """What an `Authorization` header claims; nothing in it is verified yet."""

    caller: Caller
    date: str
    signed_headers: frozenset[str]
    signature: str


def verify(
    request: SignedRequest, authorization: Authorization, *, key: AccessKey | None, now: datetime
) -> Caller:
    """The caller, if the key's secret signed the request.

    Args:
        request: the request as it came from the wire.
        authorization: what it claims.
        key: the access key that it names; None for one that is unknown or revoked.
        now: an aware datetime; signatures more than five minutes from it are refused.

    Raises:
        SignatureError: with AWS's code for what is wrong.
    """
    headers = _merged(request)
    timestamp = _signed_at(headers, authorization)
    payload_hash = hashlib.sha256(request.body).hexdigest()
    _check_coverage(headers, authorization, payload_hash)
    if key is None or not _has_its_token(headers, key):
        raise SignatureError(_UNKNOWN_KEY, "The security token included in the request is invalid.")
    _check_freshness(timestamp, now)
    expected = _signature(headers, authorization, key, timestamp, payload_hash)
    given = authorization.signature
    if not _IS_SIGNATURE(given) or not hmac.compare_digest(expected, given):
        raise SignatureError(
            _INVALID,
            "The request signature we calculated does not match the signature you provided. "
            "Check your secret access key and signing method.",
        )
    # Last: whether a key has expired is for its holder to know.
    if key.expires_ms is not None and now.timestamp() * 1000 >= key.expires_ms:
        raise SignatureError(_EXPIRED, "The security token included in the request is expired")
    return Caller(access_key_id=key.access_key_id, region=authorization.caller.region, key=key)


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
        name, _, value = part.strip(_WHITE_SPACE).partition("=")
        if name in given:
            raise SignatureError(_INCOMPLETE, "The Authorization header repeats a parameter.")
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
    if not _IS_REGION(region):
        raise SignatureError(_INVALID, "Credential should be scoped to a valid region.")
    return Caller(access_key_id=access_key_id, region=region), date


def _merged(request: SignedRequest) -> dict[str, str]:
    """The headers by name, in canonical form: trimmed, a repeated one's values joined by commas.

    Raises:
        SignatureError: one that steers the answer is repeated, so it has no one value.
    """
    merged: dict[str, str] = {}
    for name, value in request.headers:
        text = value.strip(_WHITE_SPACE)
        if _HAS_RUN(text):
            text = _RUN.sub(" ", text)
        if name in merged:
            if _steers(name):
                raise SignatureError(_INCOMPLETE, f"The header '{name}' is repeated")
            text = f"{merged[name]},{text}"
        merged[name] = text
    return merged


def _steers(name: str) -> bool:
    """Whether the answer depends on this header."""
    return name.startswith("x-amz-") or name in ("host", "content-type")


def _signed_at(headers: dict[str, str], authorization: Authorization) -> str:
    timestamp = headers.get("x-amz-date")
    if timestamp is None:
        raise SignatureError(
            _INCOMPLETE, "Authorization header requires existence of an 'X-Amz-Date' header."
        )
    if timestamp[:8] != authorization.date:
        raise SignatureError(
            _INVALID, "Date in Credential scope does not match the date of X-Amz-Date."
        )
    return timestamp


def _check_coverage(
    headers: dict[str, str], authorization: Authorization, payload_hash: str
) -> None:
    """Everything that steers the answer must be under the signature."""
    needed = {name for name in headers if _steers(name)}
    needed |= {"host", "x-amz-date"}
    if not needed <= authorization.signed_headers:
        name = min(needed - authorization.signed_headers)
        raise SignatureError(
            _INVALID, f"'{name}' must be a 'SignedHeader' in the AWS Authorization."
        )
    if headers.get("x-amz-content-sha256", payload_hash) != payload_hash:
        raise SignatureError(
            _INVALID, "The value of X-Amz-Content-SHA256 is not the SHA-256 of the body."
        )
    if not authorization.signed_headers <= headers.keys():
        raise SignatureError(_INVALID, "A header that SignedHeaders names is not in the request.")


def _has_its_token(headers: dict[str, str], key: AccessKey) -> bool:
    """A temporary key comes with its session token, a permanent one without any."""
    token = headers.get("x-amz-security-token")
    if token is None or key.session_token is None:
        return token is key.session_token
    return hmac.compare_digest(token.encode(), key.session_token.encode())


def _check_freshness(timestamp: str, now: datetime) -> None:
    signed_at = _instant(timestamp)
    now = now.astimezone(UTC)
    if signed_at is None:
        raise SignatureError(
            _INCOMPLETE, "X-Amz-Date must be in ISO-8601 'basic format': 20260131T235959Z"
        )
    if abs(now - signed_at) <= ALLOWED_SKEW:
        return
    earliest, latest = now - ALLOWED_SKEW, now + ALLOWED_SKEW
    if signed_at < earliest:
        raise SignatureError(
            _INVALID,
            f"Signature expired: {timestamp} is now earlier than {earliest:{_TIMESTAMP}} "
            f"({now:{_TIMESTAMP}} - 5 min.)",
        )
    raise SignatureError(
        _INVALID,
        f"Signature not yet current: {timestamp} is still later than {latest:{_TIMESTAMP}} "
        f"({now:{_TIMESTAMP}} + 5 min.)",
    )


@lru_cache(maxsize=64)
def _instant(timestamp: str) -> datetime | None:
    """The instant that `X-Amz-Date` names; under load many requests name the same second."""
    if not _IS_TIMESTAMP(timestamp):
        return None
    try:
        return datetime.strptime(timestamp, _TIMESTAMP).replace(tzinfo=UTC)
    except ValueError:
        return None


def _signature(
    headers: dict[str, str],
    authorization: Authorization,
    key: AccessKey,
    timestamp: str,
    payload_hash: str,
) -> str:
    names = sorted(authorization.signed_headers)
    lines = "".join(f"{name}:{headers[name]}\n" for name in names)
    # Method, path, query: the service has one route.
    canonical = f"POST\n/\n\n{lines}\n{';'.join(names)}\n{payload_hash}"
    date, region = authorization.date, authorization.caller.region
    to_sign = (
        f"{_ALGORITHM}\n{timestamp}\n{date}/{region}/{_SERVICE}/{_TERMINATOR}\n"
        f"{hashlib.sha256(canonical.encode('latin-1')).hexdigest()}"
    )
    signing_key = _signing_key(key.secret, date, region)
    return hmac.digest(signing_key, to_sign.encode(), "sha256").hex()


@lru_cache(maxsize=_SIGNING_KEYS)
def _signing_key(secret: str, date: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (date, region, _SERVICE, _TERMINATOR):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
