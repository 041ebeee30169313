"""How the store seals what it writes. The keys come from outside, through these Protocols.

What a domain's key seals begins with that key's number (two bytes, big-endian): while a domain is
re-encrypted it has two keys, and every value says which of them opens it.
"""

import hmac
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Protocol, TypeAlias

import numpy as np
from sqlalchemy import Connection, bindparam, select

from vivavoce.audio.arrays import Floats, Samples
from vivavoce.errors import NotFound, SealBroken, VaultError
from vivavoce.store import places, tables
from vivavoce.store.lookup import LookUp

_NUMBER_BYTES = 2

_KEYS_OF_DOMAIN = LookUp(
    select(
        tables.domains.c.arn,
        tables.domains.c.status,
        tables.domains.c.sealed_index_key,
        tables.domain_keys.c.number,
        tables.domain_keys.c.kms_key_id,
        tables.domain_keys.c.wrapped_key,
    )
    .join(tables.domain_keys, tables.domain_keys.c.domain_id == tables.domains.c.domain_id)
    .where(
        tables.domains.c.domain_id == bindparam("domain_id"),
        tables.domains.c.deleted_ms.is_(None),
    )
)


class SealingKey(Protocol):
    """Seals values for a place; a value moved elsewhere does not open."""

    def seal(self, value: bytes, *, place: str) -> bytes:
        """Encrypt."""
        ...

    def unseal(self, sealed: bytes, *, place: str) -> bytes:
        """Decrypt; raises `SealBroken`."""
        ...

    def blind_index(self, text: str) -> bytes:
        """A keyed fingerprint of 32 bytes."""
        ...

    def sign(self, message: bytes) -> bytes:
        """A signature of 32 bytes."""
        ...


class Keys(Protocol):
    """Where keys come from."""

    @property
    def root(self) -> SealingKey:
        """The key over everything that belongs to no customer's key."""
        ...

    def domain_key(self, kms_key_id: str, wrapped: bytes, *, domain_arn: str) -> SealingKey:
        """Open a domain's key; raises `KeyDenied`, `KeyServiceDown`."""
        ...

    def domain_key_at_hand(self, kms_key_id: str, wrapped: bytes) -> SealingKey | None:
        """The same without waiting: None where the key service would have to be asked."""
        ...

    def new_key(self) -> bytes:
        """A new random key of 32 bytes."""
        ...

    def key(self, plain: bytes) -> SealingKey:
        """A key of 32 bytes, ready to seal with."""
        ...


class KeyNotAtHand(Exception):
    """A transaction that must not wait needs a key that the key service has to be asked for.

    Attributes:
        name: the customer's key, and the domain's key wrapped by it.
        domain_arn: to which that is bound.
    """

    def __init__(self, name: tuple[str, bytes], domain_arn: str) -> None:
        super().__init__("a key has to be opened first")
        self.name = name
        self.domain_arn = domain_arn


Found: TypeAlias = dict[tuple[str, bytes], "SealingKey | VaultError"]
"""What came of asking the key service: by name, a key, or why there is none."""


class Sealer(ABC):
    """Seals and opens values of several kinds."""

    @abstractmethod
    def seal(self, value: bytes, place: str) -> bytes:
        """Encrypt for a place."""

    @abstractmethod
    def open(self, sealed: bytes, place: str) -> bytes:
        """Decrypt; raises `SealBroken`, `KeyDenied`, `KeyServiceDown`."""

    def seal_text(self, text: str, place: str) -> bytes:
        """Encrypt a text."""
        return self.seal(text.encode(), place)

    def open_text(self, sealed: bytes, place: str) -> str:
        """Decrypt a text."""
        return self.open(sealed, place).decode()

    def seal_vector(self, vector: Floats, place: str) -> bytes:
        """Encrypt a vector, shape (dimension,)."""
        return self.seal(vector.astype("<f4").tobytes(), place)

    def open_vector(self, sealed: bytes, place: str) -> Floats:
        """Decrypt a vector."""
        return np.frombuffer(self.open(sealed, place), dtype="<f4")

    def seal_speech(self, speech: Samples, place: str) -> bytes:
        """Encrypt speech, shape (n,)."""
        return self.seal(speech.astype("<i2").tobytes(), place)

    def open_speech(self, sealed: bytes, place: str) -> Samples:
        """Decrypt speech."""
        return np.frombuffer(self.open(sealed, place), dtype="<i2")


class OwnerSealer(Sealer):
    """Seals and opens what belongs to one speaker or fraudster."""

    def __init__(self, key: SealingKey) -> None:
        self._key = key

    def seal(self, value: bytes, place: str) -> bytes:
        """Encrypt for a place."""
        return self._key.seal(value, place=place)

    def open(self, sealed: bytes, place: str) -> bytes:
        """Decrypt; raises `SealBroken`."""
        return self._key.unseal(sealed, place=place)


class DomainSealer(Sealer):
    """Seals and opens the values of one domain.

    Args:
        keys: opens keys.
        domain_id: the domain.
        arn: its ARN, to which its keys are bound.
        status: of the domain.
        wrapped: its keys by number, each with the customer's key that wraps it; new values are
            sealed under the highest number.
        sealed_index_key: of the blind index; None for a domain that is being made, which gets one.
        found: what the key service said before; what is not in it and not at hand either raises
            `KeyNotAtHand`. None: the key service may be asked, and waited for.
    """

    def __init__(
        self,
        keys: Keys,
        *,
        domain_id: str,
        arn: str,
        status: str,
        wrapped: dict[int, tuple[str, bytes]],
        sealed_index_key: bytes | None,
        found: Found | None = None,
    ) -> None:
        self._keys = keys
        self._domain_id = domain_id
        self._arn = arn
        self.status = status
        self._wrapped = wrapped
        self._found = found
        self._opened: dict[int, SealingKey] = {}
        self.number = max(wrapped)
        self.sealed_index_key = sealed_index_key or self.seal(
            keys.new_key(), places.DOMAIN_INDEX_KEY
        )

    def seal(self, value: bytes, place: str) -> bytes:
        """Encrypt for a place within the domain.

        Raises:
            KeyDenied: the customer's key cannot be used.
            KeyServiceDown: the key service does not answer.
        """
        sealed = self._key(self.number).seal(value, place=self._place(place))
        return self.number.to_bytes(_NUMBER_BYTES, "big") + sealed

    def open(self, sealed: bytes, place: str) -> bytes:
        """Decrypt.

        Raises:
            SealBroken: it was changed, or belongs elsewhere.
            KeyDenied: the customer's key cannot be used.
            KeyServiceDown: the key service does not answer.
        """
        return self._key(number_of(sealed)).unseal(sealed[_NUMBER_BYTES:], place=self._place(place))

    def index(self, customer_id: str) -> bytes:
        """By which a customer's id is found without being stored."""
        text = f"{self._domain_id}/{customer_id}"
        return hmac.digest(self._index_key, text.encode(), "sha256")

    def new_owner(self, owner_id: str) -> tuple[OwnerSealer, bytes]:
        """A new speaker's or fraudster's sealer, and its sealed key."""
        plain = self._keys.new_key()
        return OwnerSealer(self._keys.key(plain)), self.seal(plain, places.owner_key(owner_id))

    def owner(self, owner_id: str, sealed_key: bytes) -> OwnerSealer:
        """The sealer of a speaker or fraudster."""
        return OwnerSealer(self._keys.key(self.open(sealed_key, places.owner_key(owner_id))))

    def require_key(self) -> None:
        """Make sure that the newest key can be used, though nothing may have to be opened.

        Raises:
            KeyDenied: the customer's key cannot be used.
            KeyServiceDown: the key service does not answer.
        """
        self._key(self.number)

    @cached_property
    def _index_key(self) -> bytes:
        return self.open(self.sealed_index_key, places.DOMAIN_INDEX_KEY)

    def _key(self, number: int) -> SealingKey:
        # Opened when needed: while a domain is re-encrypted its old key may be denied already.
        key = self._opened.get(number)
        if key is None:
            if number not in self._wrapped:
                raise SealBroken("a sealed value names a key that its domain does not have")
            key = self._opened[number] = self._open_key(*self._wrapped[number])
        return key

    def _open_key(self, kms_key_id: str, wrapped: bytes) -> SealingKey:
        if self._found is None:
            return self._keys.domain_key(kms_key_id, wrapped, domain_arn=self._arn)
        name = (kms_key_id, wrapped)
        key = self._found.get(name) or self._keys.domain_key_at_hand(*name)
        if key is None:
            raise KeyNotAtHand(name, self._arn)
        if isinstance(key, VaultError):
            raise key
        return key

    def _place(self, place: str) -> str:
        return f"domain/{self._domain_id}/{place}"


class Sealers:
    """The sealers of domains, within one transaction."""

    def __init__(self, connection: Connection, keys: Keys, *, found: Found | None = None) -> None:
        self._connection = connection
        self.keys = keys
        self._found = found
        self._sealers: dict[str, DomainSealer] = {}

    def of(self, domain_id: str) -> DomainSealer:
        """The sealer of a domain; without its customer's key nothing is done to the domain.

        Raises:
            NotFound: there is no such domain, or it was deleted.
            KeyDenied: the customer's key cannot be used.
            KeyServiceDown: the key service does not answer.
        """
        sealer = self._sealers.get(domain_id)
        if sealer is None:
            sealer = self._load(domain_id)
            sealer.require_key()
            self._sealers[domain_id] = sealer
        return sealer

    def forget(self, domain_id: str) -> None:
        """The domain's keys have changed."""
        self._sealers.pop(domain_id, None)

    def _load(self, domain_id: str) -> DomainSealer:
        rows = _KEYS_OF_DOMAIN.all(self._connection, domain_id=domain_id)
        if not rows:
            raise NotFound("DOMAIN")
        return DomainSealer(
            self.keys,
            domain_id=domain_id,
            arn=rows[0].arn,
            status=rows[0].status,
            wrapped={row.number: (row.kms_key_id, row.wrapped_key) for row in rows},
            sealed_index_key=rows[0].sealed_index_key,
            found=self._found,
        )


def number_of(sealed: bytes) -> int:
    """Number of the domain key that a value is sealed under."""
    return int.from_bytes(sealed[:_NUMBER_BYTES], "big")
