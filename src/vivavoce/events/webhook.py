"""Events to a web server: POST, signed as Standard Webhooks wants it.

Source: Standard Webhooks specification, version 1: headers, symmetric signature, meaning of status
codes, no redirects, `whsec_` secrets of 24 to 64 random bytes. Several secrets give several
signatures, so that a secret can be changed without losing an event.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import math
from contextlib import suppress
from datetime import UTC
from email.utils import parsedate_to_datetime
from ipaddress import ip_address

import httpx

import vivavoce
from vivavoce.clock import Clock, to_datetime
from vivavoce.errors import DeliveryFailed, SettingsInvalid, SinkBusy

_SECRET_PREFIX = "whsec_"  # noqa: S105 - what marks a secret, not one
_SECRET_BYTES = range(24, 65)
_GONE = 410
_LAST_PORT = 65535
# These answer for the one event; any other refusal says something about the receiver.
_EVENT_REFUSED = frozenset({400, 409, 413, 422})
_LONGEST_PAUSE_S = 3600.0
"""A receiver may ask for a pause, but not for an endless one."""

_ANSWER_BYTES = 64 * 1024
_ANSWER_S = 1.0
"""So much of an answer is read, and so long, to use its connection again; nobody needs its text."""


class WebhookSink:
    """Posts events to a URL."""

    name = "webhook"

    def __init__(
        self,
        url: str,
        secret: str,
        *,
        clock: Clock,
        timeout_s: float = 15.0,
        allows_http: bool = False,
    ) -> None:
        """Put together; nothing is sent yet.

        Args:
            url: where to; https, or http to this machine itself.
            secret: `whsec_` and 24 to 64 bytes in base64; or several, separated by blanks.
            clock: the time.
            timeout_s: for one delivery altogether, in seconds.
            allows_http: let http go to other machines, too: anybody on the way can read along.

        Raises:
            SettingsInvalid: the URL or a secret is not one.
        """
        self._url = _checked_url(url, allows_http=allows_http)
        self._keys = [_key(part) for part in secret.split()]
        if not self._keys:
            raise SettingsInvalid("the webhook's secret is missing")
        self._clock = clock
        self._timeout_s = timeout_s
        self._client: httpx.AsyncClient | None = None

    async def deliver(self, event_id: str, body: str) -> None:
        """Post an event; it was taken when this returns.

        Raises:
            DeliveryFailed: the receiver refuses it.
            SinkBusy: the receiver is not reached, or takes nothing now.
        """
        content = body.encode()
        headers = {
            "content-type": "application/json",
            "user-agent": f"vivavoce/{vivavoce.__version__}",
            **self._signature_headers(event_id, content),
        }
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._post(content, headers)
        except TimeoutError as error:
            raise SinkBusy(f"no answer within {self._timeout_s:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # Its text may hold the URL, and the URL a password.
            raise SinkBusy(f"not reached: {type(error).__name__}") from error

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()

    async def _post(self, content: bytes, headers: dict[str, str]) -> None:
        if self._client is None:
            # Its own time limits are for the parts; the whole has one above.
            self._client = httpx.AsyncClient(follow_redirects=False, timeout=self._timeout_s)
        request = self._client.build_request("POST", self._url, content=content, headers=headers)
        response = await self._client.send(request, stream=True)
        try:
            self._judge(response)
            with suppress(httpx.HTTPError, TimeoutError):  # it was taken: the rest is courtesy
                async with asyncio.timeout(_ANSWER_S):
                    await _drain(response)
        finally:
            await response.aclose()

    def _judge(self, response: httpx.Response) -> None:
        status = response.status_code
        if response.is_success:
            return
        reason = f"answered {status}"
        if status == _GONE:
            raise DeliveryFailed(f"{reason}: it wants no more events", is_final=True)
        if response.is_redirect:
            reason = f"{reason}, a redirect; those are not followed: set the URL to the new place"
        if status in _EVENT_REFUSED:
            raise DeliveryFailed(reason)
        raise SinkBusy(reason, after_s=self._pause_s(response.headers.get("retry-after")))

    def _pause_s(self, retry_after: str | None) -> float | None:
        """What `Retry-After` asks for, in seconds: a number of them, or an instant."""
        if retry_after is None:
            return None
        try:
            wanted_s = float(retry_after)
        except ValueError:
            try:
                until = parsedate_to_datetime(retry_after)
            except ValueError:
                return None
            now = to_datetime(self._clock.now_ms())
            wanted_s = (until.replace(tzinfo=until.tzinfo or UTC) - now).total_seconds()
        if math.isnan(wanted_s):
            return None
        return min(max(0.0, wanted_s), _LONGEST_PAUSE_S)

    def _signature_headers(self, event_id: str, content: bytes) -> dict[str, str]:
        timestamp = str(self._clock.now_ms() // 1000)  # of the attempt, not of the event
        signed = f"{event_id}.{timestamp}.".encode() + content
        signatures = [
            "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
            for key in self._keys
        ]
        return {
            "webhook-id": event_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": " ".join(signatures),
        }


async def _drain(response: httpx.Response) -> None:
    read_bytes = 0
    async for chunk in response.aiter_raw():
        read_bytes += len(chunk)
        if read_bytes > _ANSWER_BYTES:
            return


def _checked_url(url: str, *, allows_http: bool) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError, UnicodeError) as error:
        raise SettingsInvalid("the webhook's URL is not a URL") from error
    if parsed.scheme not in ("https", "http") or not parsed.host or (parsed.port or 1) > _LAST_PORT:
        raise SettingsInvalid("the webhook's URL has to begin with https:// and name a host")
    if parsed.scheme == "http" and not (allows_http or _is_this_machine(parsed.host)):
        raise SettingsInvalid("the webhook's URL has to be https, or lead to this machine itself")
    return parsed


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _key(secret: str) -> bytes:
    encoded = secret.removeprefix(_SECRET_PREFIX)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if encoded == secret or len(key) not in _SECRET_BYTES:
        raise SettingsInvalid(
            "the webhook's secret has to be whsec_ and 24 to 64 random bytes in base64; "
            'make one with: echo "whsec_$(head -c 32 /dev/urandom | base64)"'
        )
    return key
