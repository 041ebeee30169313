"""The vault: opens domain keys under the root key."""

from functools import lru_cache

from vivavoce.vault.seal import SealingKey, new_key


class Vault:
    """Holds the root key; hands out the keys under it."""

    def __init__(self, root_key: bytes) -> None:
        self.root = SealingKey(root_key)
        # A domain's key is needed at every request; opening it costs a decryption and two HKDFs.
        self._opened = lru_cache(maxsize=1024)(self._open)

    def new_domain_key(self, domain_id: str) -> bytes:
        """A new random data key, sealed under the root key for this domain."""
        return self.root.seal(new_key(), place=_place(domain_id))

    def domain_key(self, domain_id: str, sealed_key: bytes) -> SealingKey:
        """Open a domain's key.

        Raises:
            SealBroken: it was sealed under another root key or for another domain.
        """
        return self._opened(domain_id, sealed_key)

    def _open(self, domain_id: str, sealed_key: bytes) -> SealingKey:
        return SealingKey(self.root.unseal(sealed_key, place=_place(domain_id)))


def _place(domain_id: str) -> str:
    return f"domain/{domain_id}/key"
