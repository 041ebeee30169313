"""Rows of access keys. Secrets are sealed under the root key; they are shown once, when made."""

import re
import secrets
import string
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select
from sqlalchemy.exc import IntegrityError

from vivavoce.errors import AccessKeyError
from vivavoce.store import tables
from vivavoce.store.sealing import Keys

_NAME = re.compile(r"[A-Za-z0-9+=,.@_-]{1,64}")
"""Source: IAM's user names; a key's name stands in ARNs as one."""

_KEY_LETTERS = string.ascii_uppercase + string.digits


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKeyRecord:
    """One access key.

    Attributes:
        access_key_id: by which a request names it.
        name: who holds it; part of the caller's ARN.
        secret: what requests are signed with.
        session_token: of a temporary key; None for a permanent one.
        policy: what it may do, in IAM's JSON.
        created_ms: when it was made.
        expires_ms: from when on it is refused; None for never.
    """

    access_key_id: str
    name: str
    secret: str = field(repr=False)
    session_token: str | None = field(repr=False)
    policy: str
    created_ms: int
    expires_ms: int | None


def new_access_key(
    *, name: str | None, policy: str, now_ms: int, lifetime_ms: int | None = None
) -> AccessKeyRecord:
    """A new key with random secrets; not stored yet.

    Args:
        name: who holds it; None takes the key's own id.
        policy: what it may do, in IAM's JSON.
        now_ms: the time.
        lifetime_ms: how long a temporary key serves; None for a permanent one.

    Raises:
        AccessKeyError: the name is not one.
    """
    # Told from AWS's own, which begin with AK and AS.
    prefix = "VV" if lifetime_ms is None else "VT"
    access_key_id = prefix + "".join(secrets.choice(_KEY_LETTERS) for _ in range(18))
    name = access_key_id if name is None else name
    if not _NAME.fullmatch(name):
        raise AccessKeyError("a name has 1 to 64 letters, digits, or characters of +=,.@_-")
    return AccessKeyRecord(
        access_key_id=access_key_id,
        name=name,
        secret=secrets.token_urlsafe(30),
        session_token=None if lifetime_ms is None else secrets.token_urlsafe(48),
        policy=policy,
        created_ms=now_ms,
        expires_ms=None if lifetime_ms is None else now_ms + lifetime_ms,
    )


class AccessKeyRows:
    """The access keys, within one transaction."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self._connection = connection
        self._root = keys.root

    def add(self, record: AccessKeyRecord) -> None:
        """Add a key.

        Raises:
            AccessKeyError: there is one of that id.
        """
        key_id, token = record.access_key_id, record.session_token
        statement = insert(tables.access_keys).values(
            access_key_id=key_id,
            name=record.name,
            sealed_secret=self._root.seal(record.secret.encode(), place=_secret_place(key_id)),
            sealed_session_token=None
            if token is None
            else self._root.seal(token.encode(), place=_token_place(key_id)),
            policy=record.policy,
            created_ms=record.created_ms,
            expires_ms=record.expires_ms,
        )
        try:
            with self._connection.begin_nested():
                self._connection.execute(statement)
        except IntegrityError:
            raise AccessKeyError(f"there is an access key {key_id} already") from None

    def all(self) -> list[AccessKeyRecord]:
        """All keys, expired ones too, in the order in which they were made.

        Raises:
            SealBroken: a secret was changed, or sealed under another root key.
        """
        columns = tables.access_keys.c
        query = select(tables.access_keys).order_by(columns.created_ms, columns.access_key_id)
        return [self._open(row) for row in self._connection.execute(query).all()]

    def remove(self, access_key_id: str) -> str:
        """Remove a key; gives its name.

        Raises:
            AccessKeyError: there is none of that id.
        """
        columns = tables.access_keys.c
        statement = delete(tables.access_keys).where(columns.access_key_id == access_key_id)
        name = self._connection.execute(statement.returning(columns.name)).scalar_one_or_none()
        if name is None:
            raise AccessKeyError(f"there is no access key {access_key_id}")
        return name

    def _open(self, row: Row[Any]) -> AccessKeyRecord:
        key_id, sealed_token = row.access_key_id, row.sealed_session_token
        return AccessKeyRecord(
            access_key_id=key_id,
            name=row.name,
            secret=self._root.unseal(row.sealed_secret, place=_secret_place(key_id)).decode(),
            session_token=None
            if sealed_token is None
            else self._root.unseal(sealed_token, place=_token_place(key_id)).decode(),
            policy=row.policy,
            created_ms=row.created_ms,
            expires_ms=row.expires_ms,
        )


# A value opens only at its own place, so these names never change.
def _secret_place(access_key_id: str) -> str:
    return f"access-key/{access_key_id}/secret"


def _token_place(access_key_id: str) -> str:
    return f"access-key/{access_key_id}/session-token"
