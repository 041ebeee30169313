"""How the store seals what it writes. The keys come from outside, through these Protocols."""

from typing import Protocol

import numpy as np
from sqlalchemy import Connection, select

from vivavoce.audio.arrays import Floats, Samples
from vivavoce.errors import NotFound
from vivavoce.store import tables


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


class Keys(Protocol):
    """Where keys come from."""

    @property
    def root(self) -> SealingKey:
        """The key over everything that belongs to no domain."""
        ...

    def new_domain_key(self, domain_id: str) -> bytes:
        """A new data key, itself sealed."""
        ...

    def domain_key(self, domain_id: str, sealed_key: bytes) -> SealingKey:
        """Open a data key; raises `SealBroken`."""
        ...


class DomainSealer:
    """Seals and opens the values of one domain."""

    def __init__(self, key: SealingKey, domain_id: str) -> None:
        self._key = key
        self._domain_id = domain_id

    def seal_text(self, text: str, place: str) -> bytes:
        """Encrypt a text for a place within the domain."""
        return self._key.seal(text.encode(), place=self._place(place))

    def open_text(self, sealed: bytes, place: str) -> str:
        """Decrypt a text."""
        return self._key.unseal(sealed, place=self._place(place)).decode()

    def seal_vector(self, vector: Floats, place: str) -> bytes:
        """Encrypt a vector, shape (dimension,)."""
        return self._key.seal(vector.astype("<f4").tobytes(), place=self._place(place))

    def open_vector(self, sealed: bytes, place: str) -> Floats:
        """Decrypt a vector."""
        return np.frombuffer(self._key.unseal(sealed, place=self._place(place)), dtype="<f4")

    def seal_speech(self, speech: Samples, place: str) -> bytes:
        """Encrypt speech, shape (n,)."""
        return self._key.seal(speech.astype("<i2").tobytes(), place=self._place(place))

    def open_speech(self, sealed: bytes, place: str) -> Samples:
        """Decrypt speech."""
        return np.frombuffer(self._key.unseal(sealed, place=self._place(place)), dtype="<i2")

    def index(self, customer_id: str) -> bytes:
        """By which a customer's id is found without being stored."""
        return self._key.blind_index(f"{self._domain_id}/{customer_id}")

    def _place(self, place: str) -> str:
        return f"domain/{self._domain_id}/{place}"


def domain_sealer(connection: Connection, keys: Keys, domain_id: str) -> DomainSealer:
    """The sealer of a domain.

    Raises:
        NotFound: there is no such domain.
        SealBroken: its key does not open.
    """
    domains = tables.domains
    query = select(domains.c.sealed_key).where(domains.c.domain_id == domain_id)
    sealed_key = connection.execute(query).scalar_one_or_none()
    if sealed_key is None:
        raise NotFound("DOMAIN")
    return DomainSealer(keys.domain_key(domain_id, sealed_key), domain_id)
