"""Rows of connectors: telephony platforms whose calls are taken, each for one domain.

Their secrets are sealed under the root key: a platform is told from a stranger before it is known
which domain its call is for.
"""

import base64
import re
import secrets
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from sqlalchemy import Connection, RowMapping, delete, insert, select
from sqlalchemy.exc import IntegrityError

from vivavoce.errors import ConnectorError
from vivavoce.ids import unique_id
from vivavoce.store import tables
from vivavoce.store.sealing import Keys

Platform: TypeAlias = Literal["genesys", "twilio"]
PLATFORMS: tuple[Platform, ...] = get_args(Platform)

_NAME = re.compile(r"[A-Za-z0-9+=,.@_-]{1,64}")
"""As with access keys, so that a name needs no quotes anywhere."""

_SECRET_BYTES = 32
"""As many as HMAC-SHA256 gives; more would add nothing. Source: RFC 2104, section 3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connector:
    """One connector; None in a default leaves it to the session's own.

    Attributes:
        connector_id: by which the platform names itself, where it can.
        name: for people.
        platform: how it speaks.
        domain_id: the domain of its calls.
        secret: what the platform signs with, as text that the platform is given or gave us.
        speaker_from: where in what the platform says of a call the claimed speaker is: names of
            members, by dots; None: nowhere, so nobody is authenticated.
        enrolls: whether a claimed speaker who is not enrolled yet is to be, from the call.
        acceptance_threshold: of authentication, 0..100.
        risk_threshold: of fraud, 0..100.
        watchlist_id: searched for the caller.
        authentication_minimum_s: net speech for authentication, in seconds.
        created_ms: when it was made.
    """

    connector_id: str
    name: str
    platform: Platform
    domain_id: str
    secret: str = field(repr=False)
    speaker_from: str | None
    enrolls: bool = False
    acceptance_threshold: int | None = None
    risk_threshold: int | None = None
    watchlist_id: str | None = None
    authentication_minimum_s: int | None = None
    created_ms: int

    @property
    def secret_bytes(self) -> bytes:
        """A secret that is bytes, which were given out in base64."""
        return base64.b64decode(self.secret)


def new_connector_id() -> str:
    """An id that nobody has."""
    return unique_id()


def new_secret() -> str:
    """A secret that nobody can guess: bytes, in base64."""
    return base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def check_name(name: str) -> None:
    """Make sure that a connector may have this name.

    Raises:
        ConnectorError: it may not.
    """
    if not _NAME.fullmatch(name):
        raise ConnectorError("a name has 1 to 64 letters, digits, or characters of +=,.@_-")


class ConnectorRows:
    """The connectors, within one transaction."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self._connection = connection
        self._root = keys.root

    def add(self, connector: Connector) -> None:
        """Add a connector.

        Raises:
            ConnectorError: there is one of that name.
        """
        sealed = self._root.seal(
            connector.secret.encode(), place=_secret_place(connector.connector_id)
        )
        statement = insert(tables.connectors).values(
            connector_id=connector.connector_id,
            name=connector.name,
            platform=connector.platform,
            domain_id=connector.domain_id,
            sealed_secret=sealed,
            speaker_from=connector.speaker_from,
            enrolls=connector.enrolls,
            acceptance_threshold=connector.acceptance_threshold,
            risk_threshold=connector.risk_threshold,
            watchlist_id=connector.watchlist_id,
            authentication_minimum_s=connector.authentication_minimum_s,
            created_ms=connector.created_ms,
        )
        try:
            with self._connection.begin_nested():
                self._connection.execute(statement)
        except IntegrityError:
            raise ConnectorError(
                f"there is a connector called {connector.name} already; give another --name, or "
                "remove that one first"
            ) from None

    def all(self) -> list[Connector]:
        """All connectors, in the order in which they were made.

        Raises:
            SealBroken: a secret was changed, or sealed under another root key.
        """
        columns = tables.connectors.c
        query = select(tables.connectors).order_by(columns.created_ms, columns.connector_id)
        return [self._open(row) for row in self._connection.execute(query).mappings().all()]

    def of(self, platform: Platform) -> list[Connector]:
        """The connectors of a platform.

        Raises:
            SealBroken: a secret was changed, or sealed under another root key.
        """
        query = select(tables.connectors).where(tables.connectors.c.platform == platform)
        return [self._open(row) for row in self._connection.execute(query).mappings().all()]

    def remove(self, name_or_id: str) -> Connector:
        """Remove a connector; gives what it was.

        Raises:
            ConnectorError: there is none of that name or id.
        """
        columns = tables.connectors.c
        statement = delete(tables.connectors).where(
            (columns.name == name_or_id) | (columns.connector_id == name_or_id)
        )
        rows = self._connection.execute(statement.returning(*columns)).mappings().all()
        if not rows:
            raise ConnectorError(
                f"there is no connector {name_or_id}; `vivavoce connectors list` shows them"
            )
        return self._open(rows[0])

    def _open(self, row: RowMapping) -> Connector:
        values: dict[str, Any] = dict(row)
        sealed = values.pop("sealed_secret")
        secret = self._root.unseal(sealed, place=_secret_place(values["connector_id"])).decode()
        return Connector(**values, secret=secret)


# A value opens only at its own place, so this name never changes.
def _secret_place(connector_id: str) -> str:
    return f"connector/{connector_id}/secret"
