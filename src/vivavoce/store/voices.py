"""Rows of speakers, fraudsters and their voiceprints."""

from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from vivavoce.audio.arrays import Samples
from vivavoce.errors import NotFound
from vivavoce.ids import is_generated
from vivavoce.store import tables
from vivavoce.store.records import Fraudster, Speaker, SpeakerStatus, Voiceprint
from vivavoce.store.sealing import DomainSealer, Keys, domain_sealer

# Half a megabyte a voice that no comparison needs.
_WITHOUT_SPEECH = [c for c in tables.voiceprints.c if c.name != "sealed_speech"]


class Speakers:
    """The speakers, within one transaction."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self._connection = connection
        self._keys = keys

    def add(self, speaker: Speaker) -> None:
        """Add a speaker."""
        sealer = self._sealer(speaker.domain_id)
        self._connection.execute(
            insert(tables.speakers).values(
                speaker_id=speaker.speaker_id,
                domain_id=speaker.domain_id,
                customer_id_index=sealer.index(speaker.customer_id),
                sealed_customer_id=sealer.seal_text(
                    speaker.customer_id, f"speaker/{speaker.speaker_id}/customer-id"
                ),
                status=speaker.status,
                created_ms=speaker.created_ms,
                updated_ms=speaker.updated_ms,
                last_accessed_ms=speaker.last_accessed_ms,
            )
        )

    def find(self, domain_id: str, speaker_id: str) -> Speaker | None:
        """One speaker by generated or customer id, or None."""
        speakers = tables.speakers
        sealer = self._sealer(domain_id)
        named = (
            speakers.c.speaker_id == speaker_id
            if is_generated(speaker_id)
            else speakers.c.customer_id_index == sealer.index(speaker_id)
        )
        query = select(speakers).where(speakers.c.domain_id == domain_id, named)
        row = self._connection.execute(query).one_or_none()
        return None if row is None else _open_speaker(row, sealer)

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
        sealer = self._sealer(domain_id)
        query = (
            select(speakers)
            .where(speakers.c.domain_id == domain_id, speakers.c.sequence > after)
            .order_by(speakers.c.sequence)
            .limit(size)
        )
        rows = self._connection.execute(query)
        return [(row.sequence, _open_speaker(row, sealer)) for row in rows]

    def set_status(self, speaker_id: str, status: SpeakerStatus, *, now_ms: int) -> None:
        """Change a speaker's status."""
        self._update(speaker_id, status=status, updated_ms=now_ms)

    def touch(self, speaker_id: str, *, now_ms: int) -> None:
        """Note that the speaker was enrolled or recognised."""
        self._update(speaker_id, last_accessed_ms=now_ms)

    def remove(self, speaker_id: str) -> None:
        """Delete a speaker and the voiceprint."""
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

    def _sealer(self, domain_id: str) -> DomainSealer:
        return domain_sealer(self._connection, self._keys, domain_id)


class Fraudsters:
    """The fraudsters and their watchlists, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, fraudster: Fraudster) -> None:
        """Add a fraudster to its watchlists."""
        self._connection.execute(
            insert(tables.fraudsters).values(
                fraudster_id=fraudster.fraudster_id,
                domain_id=fraudster.domain_id,
                created_ms=fraudster.created_ms,
            )
        )
        self._connection.execute(
            insert(tables.watchlist_members),
            [
                {"watchlist_id": watchlist_id, "fraudster_id": fraudster.fraudster_id}
                for watchlist_id in fraudster.watchlist_ids
            ],
        )


class Voiceprints:
    """The voiceprints of speakers and fraudsters, within one transaction."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self._connection = connection
        self._keys = keys

    def put(self, voiceprint: Voiceprint, *, speech: Samples) -> None:
        """Store a voiceprint in place of an earlier one of the same owner.

        Args:
            voiceprint: the voice.
            speech: the net speech it was made from, shape (n,) at the call rate; kept so that a
                later model can make the voiceprint anew.
        """
        sealer = self._sealer(voiceprint.domain_id)
        owner = voiceprint.owner_id
        self.remove(owner)
        self._connection.execute(
            insert(tables.voiceprints).values(
                owner_id=owner,
                domain_id=voiceprint.domain_id,
                model=voiceprint.model,
                sealed_vector=sealer.seal_vector(voiceprint.vector, f"voiceprint/{owner}/vector"),
                sealed_speech=sealer.seal_speech(speech, f"voiceprint/{owner}/speech"),
                created_ms=voiceprint.created_ms,
            )
        )

    def find(self, domain_id: str, owner_id: str) -> Voiceprint | None:
        """One owner's voiceprint, or None."""
        query = select(*_WITHOUT_SPEECH).where(
            tables.voiceprints.c.domain_id == domain_id, tables.voiceprints.c.owner_id == owner_id
        )
        row = self._connection.execute(query).one_or_none()
        return None if row is None else _open_voiceprint(row, self._sealer(domain_id))

    def of_watchlist(self, domain_id: str, watchlist_id: str) -> list[Voiceprint]:
        """The voiceprints of a watchlist's fraudsters, in the order they were registered."""
        members, fraudsters = tables.watchlist_members, tables.fraudsters
        query = (
            select(*_WITHOUT_SPEECH)
            .join(members, members.c.fraudster_id == tables.voiceprints.c.owner_id)
            .join(fraudsters, fraudsters.c.fraudster_id == members.c.fraudster_id)
            .where(members.c.watchlist_id == watchlist_id, fraudsters.c.domain_id == domain_id)
            .order_by(fraudsters.c.sequence)
        )
        sealer = self._sealer(domain_id)
        return [_open_voiceprint(row, sealer) for row in self._connection.execute(query)]

    def remove(self, owner_id: str) -> None:
        """Delete an owner's voiceprint, if there is one."""
        self._connection.execute(
            delete(tables.voiceprints).where(tables.voiceprints.c.owner_id == owner_id)
        )

    def _sealer(self, domain_id: str) -> DomainSealer:
        return domain_sealer(self._connection, self._keys, domain_id)


def _open_speaker(row: Row[Any], sealer: DomainSealer) -> Speaker:
    return Speaker(
        speaker_id=row.speaker_id,
        domain_id=row.domain_id,
        customer_id=sealer.open_text(
            row.sealed_customer_id, f"speaker/{row.speaker_id}/customer-id"
        ),
        status=row.status,
        created_ms=row.created_ms,
        updated_ms=row.updated_ms,
        last_accessed_ms=row.last_accessed_ms,
    )


def _open_voiceprint(row: Row[Any], sealer: DomainSealer) -> Voiceprint:
    return Voiceprint(
        owner_id=row.owner_id,
        domain_id=row.domain_id,
        model=row.model,
        vector=sealer.open_vector(row.sealed_vector, f"voiceprint/{row.owner_id}/vector"),
        created_ms=row.created_ms,
    )
