"""Authenticated encryption of one value for one place.

A sealed value is `version (1) | nonce (12) | ciphertext and tag`, AES-256-GCM with the place as
associated data: a value moved to another row, column or domain does not open.

Source: NIST SP 800-38D. With random 96-bit nonces a key must seal fewer than 2^32 values (section
8.3); a domain seals a few a speaker and a few a call.
"""

import secrets
from functools import cached_property

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from vivavoce.errors import SealBroken

KEY_BYTES = 32
_VERSION = b"\x01"
_NONCE_BYTES = 12


class SealingKey:
    """One 256-bit key that seals values and signs texts."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise SealBroken(f"a key has {len(key)} bytes, {KEY_BYTES} are needed")
        self._key = key
        self._cipher = AESGCM(key)

    def seal(self, value: bytes, *, place: str) -> bytes:
        """Encrypt a value so that it opens only at this place."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _VERSION + nonce + self._cipher.encrypt(nonce, value, place.encode())

    def unseal(self, sealed: bytes, *, place: str) -> bytes:
        """Decrypt a value.

        Raises:
            SealBroken: it was changed, sealed under another key, or for another place.
        """
        nonce, ciphertext = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        if sealed[:1] != _VERSION or len(nonce) != _NONCE_BYTES:
            raise SealBroken("a sealed value is damaged or of an unknown version")
        try:
            return self._cipher.decrypt(nonce, ciphertext, place.encode())
        except InvalidTag as error:
            raise SealBroken(
                "a sealed value does not open: it was changed, or sealed under another key"
            ) from error

    def blind_index(self, text: str) -> bytes:
        """A keyed fingerprint, 32 bytes: equal texts are found without storing them."""
        return _mac(self._index_key, text.encode())

    def sign(self, message: bytes) -> bytes:
        """A signature of 32 bytes (HMAC-SHA256) over a message."""
        return _mac(self._signing_key, message)

    # Most keys only seal; deriving these costs more than a seal does.
    @cached_property
    def _index_key(self) -> bytes:
        return _derive(self._key, b"vivavoce blind index v1")

    @cached_property
    def _signing_key(self) -> bytes:
        return _derive(self._key, b"vivavoce signature v1")


def new_key() -> bytes:
    """A new random 256-bit key."""
    return secrets.token_bytes(KEY_BYTES)


def _derive(key: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=None, info=purpose).derive(key)


def _mac(key: bytes, message: bytes) -> bytes:
    mac = hmac.HMAC(key, hashes.SHA256())
    mac.update(message)
    return mac.finalize()
