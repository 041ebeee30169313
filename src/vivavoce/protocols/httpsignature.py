"""HTTP message signatures as Genesys makes them: HMAC-SHA256 over some headers; sans I/O.

`Signature-Input` names what was signed and how, `Signature` holds the result. The signed text has a
line for each component, `"name": value`, and as the last one the parameters themselves.

Source: draft-ietf-httpbis-message-signatures-11, which became RFC 9421: section 2.2 for derived
components, 2.5 for the signed text, 3.2 for verifying, 3.3.3 for HMAC. What AudioHook asks beyond
it (components, nonce, age) is in the authenticator of Genesys's reference implementation
(purecloudlabs/audiohook-reference-implementation).
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import http_sf

from vivavoce.errors import CallRefused

MAX_AGE_S = 10
_CLOCK_SKEW_S = 3
"""A clock that is ahead of ours by so much is not taken for a forgery. Source: as in Genesys's own
authenticator."""

_SHORTEST_NONCE_CHARACTERS = 22
"""128 bits in base64. Source: Genesys's authenticator."""

_ALGORITHM = "hmac-sha256"
_TARGET, _AUTHORITY = "@request-target", "@authority"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRequest:
    """A request as far as a signature may cover it.

    Attributes:
        target: path and query, as the request line has them.
        headers: by lower-case name; `host` is the authority.
    """

    target: str
    headers: Mapping[str, str]

    def component(self, name: str) -> str:
        """What a signature over this component covers.

        Raises:
            CallRefused: the request does not have it.
        """
        if name == _TARGET:
            return self.target
        value = self.headers.get("host" if name == _AUTHORITY else name)
        if value is None:
            raise CallRefused(f"The signature covers {name}, which the request does not have")
        return value.strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signature:
    """One signature: what it covers, its parameters, and the bytes."""

    components: tuple[str, ...]
    parameters: Mapping[str, Any]
    declared: str  # components and parameters, as they are signed
    value: bytes


class SignatureChecker:
    """Checks the signatures of requests, and that none is used twice."""

    def __init__(self, required: frozenset[str]) -> None:
        """Prepare.

        Args:
            required: components that every signature must cover.
        """
        self._required = required
        self._used: dict[str, float] = {}  # when each nonce may be forgotten, oldest first

    def check(
        self, request: SignedRequest, *, secret_of: Callable[[str], bytes | None], now_s: float
    ) -> str:
        """Make sure that a request is genuine; gives the key that signed it.

        Args:
            request: the request.
            secret_of: the secret of a key, by its id; None where there is no such key.
            now_s: the time, in seconds since the epoch.

        Raises:
            CallRefused: it is not signed, not by a known key, not in time, or not what was signed.
        """
        signature = _read(request)
        if missing := self._required - set(signature.components):
            raise CallRefused(f"The signature does not cover {', '.join(sorted(missing))}")
        _check_times(signature.parameters, now_s)
        key_id, nonce = _names(signature.parameters)
        lines = [f'"{name}": {request.component(name)}' for name in signature.components]
        signed = "\n".join([*lines, f'"@signature-params": {signature.declared}'])
        # An unknown key is tried as well, so that it takes as long as a known one.
        secret = secret_of(key_id)
        right = hmac.new(secret or b"\0", signed.encode(), hashlib.sha256).digest()
        if not hmac.compare_digest(right, signature.value) or not secret:
            raise CallRefused("The signature is not one of a known key over this request")
        self._use(nonce, now_s)
        return key_id

    def _use(self, nonce: str, now_s: float) -> None:
        """Note a nonce, of a request that was genuine: strangers take no memory."""
        while self._used and (oldest := next(iter(self._used))) and self._used[oldest] < now_s:
            del self._used[oldest]
        if nonce in self._used:
            raise CallRefused("The signature was used before")
        self._used[nonce] = now_s + MAX_AGE_S + _CLOCK_SKEW_S


def _read(request: SignedRequest) -> _Signature:
    """The one signature of a request."""
    declared, values = _dictionary(request, "signature-input"), _dictionary(request, "signature")
    if len(declared) != 1 or declared.keys() != values.keys():
        raise CallRefused("A request must have one signature, and its input")
    (label,) = declared
    (value, _), (items, parameters) = values[label], declared[label]
    names = [name for name, _ in cast("list[Any]", items)] if isinstance(items, list) else []
    if not isinstance(value, bytes) or not all(isinstance(name, str) for name in names):
        raise CallRefused("The signature is not bytes over a list of names")
    return _Signature(
        components=tuple(names),
        parameters=parameters,
        declared=http_sf.ser({label: declared[label]}).removeprefix(f"{label}="),
        value=value,
    )


def _dictionary(request: SignedRequest, name: str) -> dict[str, Any]:
    text = request.headers.get(name)
    if text is None:
        raise CallRefused(f"The request has no {name}")
    try:
        return cast("dict[str, Any]", http_sf.parse(text.encode(), tltype="dictionary"))
    except (http_sf.StructuredFieldError, ValueError, UnicodeError):
        raise CallRefused(f"{name} is not as RFC 9421 has it") from None


def _check_times(parameters: Mapping[str, Any], now_s: float) -> None:
    created, expires = parameters.get("created"), parameters.get("expires", now_s)
    if not isinstance(created, int) or not isinstance(expires, int | float):
        raise CallRefused("The signature does not say when it was made")
    if created > now_s + _CLOCK_SKEW_S:
        raise CallRefused("The signature was made in the future; are the clocks right?")
    if now_s - created > MAX_AGE_S or expires < now_s:
        raise CallRefused("The signature has expired; are the clocks right?")


def _names(parameters: Mapping[str, Any]) -> tuple[str, str]:
    """The key and the nonce."""
    key_id, nonce = parameters.get("keyid"), parameters.get("nonce")
    if parameters.get("alg", _ALGORITHM) != _ALGORITHM:
        raise CallRefused(f"The signature's algorithm is not {_ALGORITHM}")
    if not isinstance(key_id, str):
        raise CallRefused("The signature does not name its key")
    if not isinstance(nonce, str) or len(nonce) < _SHORTEST_NONCE_CHARACTERS:
        raise CallRefused(f"A nonce has at least {_SHORTEST_NONCE_CHARACTERS} characters")
    return key_id, nonce
