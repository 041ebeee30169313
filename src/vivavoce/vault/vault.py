"""The vault: the root key, and domain keys opened under customers' keys."""

import logging
import threading
import time
from collections import OrderedDict
from types import TracebackType

from vivavoce.errors import KeyServiceDown, KeyUnavailable
from vivavoce.vault.customer_keys import CustomerKeys
from vivavoce.vault.seal import SealingKey, new_key

_MAX_OPENED = 4096

_LEFT_ALONE_S = 5.0
"""A key service that did not answer is not asked again for so long."""

_REPEAT_S = 60.0
"""What keeps customers' keys from being used is logged again after so long, if it still does."""

_log = logging.getLogger(__name__)


class Vault:
    """Holds the root key; hands out the keys under it, and those under customers' keys."""

    def __init__(
        self, root_key: bytes, customer_keys: CustomerKeys, *, cache_s: float = 300.0
    ) -> None:
        """Put together.

        Args:
            root_key: 32 bytes.
            customer_keys: where customers' keys are.
            cache_s: how long an opened domain key is used before the customer's key is asked for
                again, in seconds: so long a key that was revoked at AWS KMS may still serve.
        """
        self.root = SealingKey(root_key)
        self._customer_keys = customer_keys
        self._cache_s = cache_s
        self._opened: OrderedDict[tuple[str, bytes], tuple[float, SealingKey]] = OrderedDict()
        self._down_until_s: dict[str, float] = {}
        self._lock = threading.Lock()
        self._troubles = _Troubles()

    def find_customer_key(self, key_id: str, *, region: str, account_id: str) -> str | None:
        """The ARN of a customer's key; None where its keeper would make it first.

        Raises:
            KeyDenied: it is unknown or disabled.
            KeyServiceDown: the key service does not answer.
        """
        with self._troubles:
            return self._customer_keys.find(key_id, region=region, account_id=account_id)

    def resolve_customer_key(self, key_id: str, *, region: str, account_id: str) -> str:
        """The ARN of a customer's key, which its keeper may make now.

        Raises:
            KeyDenied: it is unknown or disabled.
            KeyServiceDown: the key service does not answer.
        """
        with self._troubles:
            return self._customer_keys.resolve(key_id, region=region, account_id=account_id)

    def new_domain_key(self, kms_key_id: str, *, domain_arn: str) -> bytes:
        """A new data key for a domain, wrapped by a customer's key.

        Raises:
            KeyDenied: the customer's key cannot be used.
            KeyServiceDown: the key service does not answer.
        """
        with self._troubles:
            data_key = self._customer_keys.new_data_key(kms_key_id, domain_arn=domain_arn)
        self._remember((kms_key_id, data_key.wrapped), SealingKey(data_key.plain))
        return data_key.wrapped

    def domain_key(self, kms_key_id: str, wrapped: bytes, *, domain_arn: str) -> SealingKey:
        """Open a domain's key.

        Raises:
            KeyDenied: the customer's key cannot be used (any more).
            KeyServiceDown: the key service does not answer.
        """
        key = self.domain_key_at_hand(kms_key_id, wrapped)
        if key is not None:
            return key
        if time.monotonic() < self._down_until_s.get(kms_key_id, 0.0):
            raise KeyServiceDown("the key service did not answer a moment ago")
        try:
            with self._troubles:
                plain = self._customer_keys.open_data_key(
                    kms_key_id, wrapped, domain_arn=domain_arn
                )
        except KeyServiceDown:
            # Each question may take ten seconds, and every request of the domain would ask.
            self._down_until_s[kms_key_id] = time.monotonic() + _LEFT_ALONE_S
            raise
        self._down_until_s.pop(kms_key_id, None)
        return self._remember((kms_key_id, wrapped), SealingKey(plain))

    def domain_key_at_hand(self, kms_key_id: str, wrapped: bytes) -> SealingKey | None:
        """A domain's key that was opened a moment ago, if it may still be used."""
        with self._lock:
            opened_s, key = self._opened.get((kms_key_id, wrapped), (0.0, None))
        if key is None or time.monotonic() - opened_s >= self._cache_s:
            return None
        with self._troubles:
            return key if self._customer_keys.is_usable(kms_key_id) else None

    def new_key(self) -> bytes:
        """A new random key of 32 bytes, for one speaker or fraudster."""
        return new_key()

    def key(self, plain: bytes) -> SealingKey:
        """A key of 32 bytes, ready to seal with."""
        return SealingKey(plain)

    def _remember(self, name: tuple[str, bytes], key: SealingKey) -> SealingKey:
        with self._lock:
            self._opened[name] = (time.monotonic(), key)
            self._opened.move_to_end(name)
            while len(self._opened) > _MAX_OPENED:
                self._opened.popitem(last=False)
        return key


class _Troubles:
    """Logs what keeps customers' keys from being used: whoever asked is not told.

    The texts name files, services and keys, nothing personal.
    """

    def __init__(self) -> None:
        self._told_s: dict[str, float] = {}

    def __enter__(self) -> None:
        """Watch what is done."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, KeyUnavailable | KeyServiceDown):
            now_s, text = time.monotonic(), str(error)
            if now_s - self._told_s.get(text, -_REPEAT_S) >= _REPEAT_S:
                recent = {t: s for t, s in self._told_s.items() if now_s - s < _REPEAT_S}
                self._told_s = recent | {text: now_s}
                _log.error("%s", text)
