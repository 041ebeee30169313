"""Reception: takes calls that a platform announces on its own, by its connector.

What a platform says of a call is one JSON object, its facts. The connector says where in them the
claimed speaker is. A domain that they name must be the connector's own: so a mistake in a call flow
cannot put one tenant's caller before another one's voiceprints.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from vivavoce.call.runner import LiveCall
from vivavoce.clock import Clock
from vivavoce.errors import CallRefused, Conflict
from vivavoce.ids import is_customer_id
from vivavoce.protocols.events import Announced
from vivavoce.sessions.desk import SessionDesk, SessionOptions, StartRequest
from vivavoce.store.acts import service_record
from vivavoce.store.connectors import Connector, Platform
from vivavoce.store.records import Session
from vivavoce.store.store import Store, Transaction
from vivavoce.store.tokens import ClientToken

_SESSION_NAME = re.compile("[a-zA-Z0-9][a-zA-Z0-9_-]{0,35}")
"""Source: `SessionName` in the service description."""

_ADDRESS = re.compile(r"(?:tel|sips?):\+?([^@;]+)")
"""A caller's number as platforms write it, such as `tel:+13171234567` or `sip:+1317@host`."""

_log = logging.getLogger(__name__)


class Reception:
    """Takes the calls of all connectors."""

    def __init__(self, *, store: Store, desk: SessionDesk, clock: Clock) -> None:
        self._store = store
        self._desk = desk
        self._clock = clock

    @property
    def is_closing(self) -> bool:
        """Whether the server is shutting down."""
        return self._desk.is_closing

    def check_admission(self) -> None:
        """Make sure that one more call may begin.

        Raises:
            AtCapacity: all places are taken, or the server is shutting down.
        """
        self._desk.check_admission()

    async def connectors(self, platform: Platform) -> list[Connector]:
        """The connectors of a platform, with their secrets."""
        return await self._store.read(lambda tx: tx.connectors.of(platform))

    async def take(self, connectors: Sequence[Connector], announced: Announced) -> LiveCall:
        """Begin a call, or go on with one whose connection was lost.

        Args:
            connectors: those that the platform proved to be; it must be clear which one is meant.
            announced: the call.

        Raises:
            CallRefused: its domain is no connector's own, or it has no name fit for a session.
            NotFound: the domain or the watchlist is gone.
            Conflict: the domain is not active, or the session's speaker is fixed.
            AlreadyStreaming: another connection feeds the call.
            AtCapacity: no further call can be admitted.
            QuotaExceeded: the domain has as many active sessions as it may.
        """
        if not _SESSION_NAME.fullmatch(announced.name):
            raise CallRefused("The call has no name that is fit for a session")
        connector = _meant(connectors, announced.domain_id)
        request = StartRequest(
            domain_id=connector.domain_id,
            name=announced.name,
            options=SessionOptions(
                speaker_id=_claimed_speaker(announced.facts, connector),
                acceptance_threshold=connector.acceptance_threshold,
                risk_threshold=connector.risk_threshold,
                watchlist_id=connector.watchlist_id,
                authentication_minimum_s=connector.authentication_minimum_s,
            ),
            authentication_enabled=None,
            fraud_detection_enabled=None,
            token=ClientToken(scope="", text=None, facts={}),
        )
        call = await self._desk.open_call(
            request, note=lambda tx, session: self._record(tx, session, connector)
        )
        if connector.enrolls and request.options.speaker_id is not None:
            await self._enroll(call)
        return call

    def _record(self, tx: Transaction, session: Session, connector: Connector) -> None:
        now_ms = self._clock.now_ms()
        what = {
            "domainId": session.domain_id,
            "sessionName": session.name,
            "connectorId": connector.connector_id,
        }
        tx.audit.add(service_record("StartSession", at_ms=now_ms, requestParameters=what), now_ms)

    async def _enroll(self, call: LiveCall) -> None:
        """Enrol the claimed speaker of a call, unless that is done or unwanted."""
        domain_id, session_id = call.identity.domain_id, call.identity.session_id

        def is_new(tx: Transaction) -> bool:
            session = tx.sessions.get(domain_id, session_id)
            speaker = session.speaker_id and tx.speakers.find(domain_id, session.speaker_id)
            return bool(speaker) and speaker.status == "PENDING"

        if not await self._store.read(is_new):
            return
        try:
            await self._desk.enroll(domain_id, session_id)
        except Conflict as error:
            # Asked for before, or opted out a moment ago: the call is heard all the same.
            _log.info("session %s: its speaker is not enrolled: %s", session_id, error)


def _meant(connectors: Sequence[Connector], domain_id: str | None) -> Connector:
    """The connector that a call is for."""
    fits = [each for each in connectors if domain_id in (None, each.domain_id)]
    if not fits:
        raise CallRefused("The call names a domain that is not its connector's")
    if len(fits) > 1:
        raise CallRefused(
            f"{len(fits)} connectors have this secret; the call must name its domain as DomainId"
        )
    return fits[0]


def _claimed_speaker(facts: Mapping[str, Any], connector: Connector) -> str | None:
    if connector.speaker_from is None:
        return None
    claimed = _member(facts, connector.speaker_from)
    if claimed is None or claimed == "":
        return None
    text = str(claimed)
    if address := _ADDRESS.match(text):
        text = address[1]
    if not is_customer_id(text):
        # The call is heard all the same: its fraud detection needs no speaker.
        _log.warning(
            "connector %s: what is at %s is no speaker id (letters, digits, _ and -)",
            connector.name,
            connector.speaker_from,
        )
        return None
    return text


def _member(facts: Mapping[str, Any], path: str) -> str | int | None:
    """What is at a path of names by dots, if that is a text or a number."""
    found: Any = facts
    for name in path.split("."):
        if not isinstance(found, Mapping):
            return None
        found = cast("Mapping[str, Any]", found).get(name)
    if isinstance(found, bool) or not isinstance(found, str | int):
        return None
    return found
