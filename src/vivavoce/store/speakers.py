"""Rows of speakers."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from vivavoce.errors import NotFound
from vivavoce.ids import is_generated
from vivavoce.store import places, tables
from vivavoce.store.lookup import LookUp
from vivavoce.store.quotas import Quotas, require_room
from vivavoce.store.records import Speaker, SpeakerStatus
from vivavoce.store.sealing import DomainSealer, Sealers

_IN_DOMAIN = tables.speakers.c.domain_id == bindparam("domain_id")
_BY_GENERATED_ID = LookUp(
    select(tables.speakers).where(_IN_DOMAIN, tables.speakers.c.speaker_id == bindparam("named"))
)
_STATUS = LookUp(
    select(tables.speakers.c.status).where(
        _IN_DOMAIN, tables.speakers.c.speaker_id == bindparam("named")
    )
)
_BY_CUSTOMER_ID = LookUp(
    select(tables.speakers).where(
        _IN_DOMAIN, tables.speakers.c.customer_id_index == bindparam("named")
    )
)


class Speakers:
    """The speakers, within one transaction."""

    def __init__(self, connection: Connection, sealers: Sealers, quotas: Quotas) -> None:
        self._connection = connection
        self._sealers = sealers
        self._quotas = quotas

    def add(self, speaker: Speaker) -> None:
        """Add a speaker, with a key of its own.

        Raises:
            QuotaExceeded: the domain has as many as it may.
        """
        if self._quotas.speakers is not None:
            there = self._connection.execute(
                select(func.count()).where(tables.speakers.c.domain_id == speaker.domain_id)
            ).scalar_one()
            require_room(self._quotas.speakers, there, "speakers in a domain")
        sealer = self._sealers.of(speaker.domain_id)
        own, sealed_key = sealer.new_owner(speaker.speaker_id)
        self._connection.execute(
            insert(tables.speakers).values(
                speaker_id=speaker.speaker_id,
                domain_id=speaker.domain_id,
                sealed_key=sealed_key,
                customer_id_index=sealer.index(speaker.customer_id),
                sealed_customer_id=own.seal_text(
                    speaker.customer_id, places.customer_id(speaker.speaker_id)
                ),
                status=speaker.status,
                created_ms=speaker.created_ms,
                updated_ms=speaker.updated_ms,
                last_accessed_ms=speaker.last_accessed_ms,
            )
        )

    def find(self, domain_id: str, speaker_id: str) -> Speaker | None:
        """One speaker by generated or customer id, or None."""
        sealer = self._sealers.of(domain_id)
        query, named = (
            (_BY_GENERATED_ID, speaker_id)
            if is_generated(speaker_id)
            else (_BY_CUSTOMER_ID, sealer.index(speaker_id))
        )
        row = query.one(self._connection, domain_id=domain_id, named=named)
        return None if row is None else _open_speaker(row, sealer)

    def status(self, domain_id: str, speaker_id: str) -> SpeakerStatus | None:
        """The status of a speaker by generated id, without opening anything; None for nobody."""
        row = _STATUS.one(self._connection, domain_id=domain_id, named=speaker_id)
        return None if row is None else row.status

    def get(self, domain_id: str, speaker_id: str) -> Speaker:
        """One speaker by generated or customer id.

        Raises:
            NotFound: there is none.
        """
        speaker = self.find(domain_id, speaker_id)
        if speaker is None:
            raise NotFound("SPEAKER")
        return speaker

    def page(self, domain_id: str, *, after: int, size: int) -> list[tuple[int, Speaker]]:
        """Up to `size` speakers whose sequence number is above `after`, each with its own."""
        speakers = tables.speakers
        sealer = self._sealers.of(domain_id)
        query = (
            select(speakers)
            .where(speakers.c.domain_id == domain_id, speakers.c.sequence > after)
            .order_by(speakers.c.sequence)
            .limit(size)
        )
        rows = self._connection.execute(query).all()
        return [(row.sequence, _open_speaker(row, sealer)) for row in rows]

    def set_status(self, speaker_id: str, status: SpeakerStatus, *, now_ms: int) -> None:
        """Change a speaker's status."""
        self._update(speaker_id, status=status, updated_ms=now_ms)

    def touch(self, speaker_id: str, *, now_ms: int) -> None:
        """Note that the speaker was enrolled or recognised."""
        self._update(speaker_id, last_accessed_ms=now_ms)

    def unheard_since(self, instant_ms: int, *, after: int, size: int) -> list[int]:
        """Sequence numbers of enrolled speakers of whom nothing was heard since an instant."""
        speakers = tables.speakers
        query = select(speakers.c.sequence).where(
            _unheard_since(instant_ms), speakers.c.sequence > after
        )
        query = query.order_by(speakers.c.sequence).limit(size)
        return list(self._connection.execute(query).scalars())

    def expire(
        self, sequences: Sequence[int], *, unheard_since_ms: int, now_ms: int
    ) -> list[tuple[str, str]]:
        """Expire speakers, but for those who were heard meanwhile; gives their domains and ids.

        Their voiceprints go: only a new enrolment makes an expired speaker known again.
        """
        speakers = tables.speakers
        expiring = speakers.c.sequence.in_(sequences) & _unheard_since(unheard_since_ms)
        query = select(speakers.c.domain_id, speakers.c.speaker_id).where(expiring)
        gone = [(row.domain_id, row.speaker_id) for row in self._connection.execute(query).all()]
        ids = [speaker_id for _, speaker_id in gone]
        self._connection.execute(
            delete(tables.voiceprints).where(tables.voiceprints.c.owner_id.in_(ids))
        )
        self._connection.execute(
            update(speakers)
            .where(speakers.c.speaker_id.in_(ids))
            .values(status="EXPIRED", updated_ms=now_ms)
        )
        return gone

    def remove(self, speaker_id: str) -> None:
        """Delete a speaker, the voiceprint, and the key that opens both."""
        self._connection.execute(
            delete(tables.voiceprints).where(tables.voiceprints.c.owner_id == speaker_id)
        )
        self._connection.execute(
            delete(tables.speakers).where(tables.speakers.c.speaker_id == speaker_id)
        )

    def _update(self, speaker_id: str, **values: object) -> None:
        self._connection.execute(
            update(tables.speakers)
            .where(tables.speakers.c.speaker_id == speaker_id)
            .values(**values)
        )


def _unheard_since(instant_ms: int) -> ColumnElement[bool]:
    speakers = tables.speakers
    return (speakers.c.status == "ENROLLED") & (speakers.c.last_accessed_ms < instant_ms)


def _open_speaker(row: Row[Any], sealer: DomainSealer) -> Speaker:
    own = sealer.owner(row.speaker_id, row.sealed_key)
    return Speaker(
        speaker_id=row.speaker_id,
        domain_id=row.domain_id,
        customer_id=own.open_text(row.sealed_customer_id, places.customer_id(row.speaker_id)),
        status=row.status,
        created_ms=row.created_ms,
        updated_ms=row.updated_ms,
        last_accessed_ms=row.last_accessed_ms,
    )
