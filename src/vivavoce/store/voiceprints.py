"""Rows of voiceprints, of speakers and of fraudsters."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, insert, literal, select, union_all

from vivavoce.audio.arrays import Samples
from vivavoce.errors import NotFound
from vivavoce.scoring.spoofing import VERDICTS, SpoofReference
from vivavoce.store import places, tables
from vivavoce.store.fraudster_changes import FraudsterChanges
from vivavoce.store.lookup import LookUp
from vivavoce.store.records import Voiceprint, VoiceprintOrigin
from vivavoce.store.sealing import OwnerSealer, Sealers

# Half a megabyte a voice that no comparison needs.
_WITHOUT_SPEECH = [c for c in tables.voiceprints.c if c.name != "sealed_speech"]

_OF_SPEAKER = LookUp(
    select(*_WITHOUT_SPEECH, tables.speakers.c.sealed_key)
    .join(tables.speakers, tables.speakers.c.speaker_id == tables.voiceprints.c.owner_id)
    .where(
        tables.voiceprints.c.domain_id == bindparam("domain_id"),
        tables.voiceprints.c.owner_id == bindparam("owner_id"),
    )
)

_ORIGIN = LookUp(
    select(tables.voiceprints.c.model, tables.voiceprints.c.created_ms).where(
        tables.voiceprints.c.domain_id == bindparam("domain_id"),
        tables.voiceprints.c.owner_id == bindparam("owner_id"),
    )
)

_KEY_OF_OWNER = union_all(
    select(tables.speakers.c.sealed_key, literal(value=False).label("is_fraudster")).where(
        tables.speakers.c.speaker_id == bindparam("owner_id")
    ),
    select(tables.fraudsters.c.sealed_key, literal(value=True).label("is_fraudster")).where(
        tables.fraudsters.c.fraudster_id == bindparam("owner_id")
    ),
)


class Voiceprints:
    """The voiceprints of speakers and fraudsters, within one transaction."""

    def __init__(
        self, connection: Connection, sealers: Sealers, *, changes: FraudsterChanges
    ) -> None:
        """Within a transaction.

        Args:
            connection: of the transaction.
            sealers: its sealers.
            changes: where it is noted that a fraudster has another voice.
        """
        self._connection = connection
        self._sealers = sealers
        self._changes = changes

    def put(self, voiceprint: Voiceprint, *, speech: Samples) -> None:
        """Store a voiceprint in place of an earlier one of the same owner.

        Args:
            voiceprint: the voice.
            speech: the net speech it was made from, shape (n,) at the call rate; kept so that a
                later model can make the voiceprint anew.

        Raises:
            NotFound: there is no such domain or owner.
        """
        owner = voiceprint.owner_id
        own, is_fraudster = self._sealer_of_owner(voiceprint.domain_id, owner)
        self.remove(owner)
        self._connection.execute(
            insert(tables.voiceprints).values(
                owner_id=owner,
                domain_id=voiceprint.domain_id,
                model=voiceprint.model,
                sealed_vector=own.seal_vector(voiceprint.vector, places.voiceprint_vector(owner)),
                sealed_speech=own.seal_speech(speech, places.voiceprint_speech(owner)),
                created_ms=voiceprint.created_ms,
                **_reference_columns(voiceprint.reference),
            )
        )
        if is_fraudster:
            self._changes.note(voiceprint.domain_id, owner)

    def find(self, domain_id: str, speaker_id: str) -> Voiceprint | None:
        """A speaker's voiceprint, or None."""
        row = _OF_SPEAKER.one(self._connection, domain_id=domain_id, owner_id=speaker_id)
        return None if row is None else self._open(row)

    def origin(self, domain_id: str, owner_id: str) -> VoiceprintOrigin | None:
        """Where an owner's voiceprint comes from, without opening it; None if there is none."""
        row = _ORIGIN.one(self._connection, domain_id=domain_id, owner_id=owner_id)
        return None if row is None else VoiceprintOrigin(model=row.model, created_ms=row.created_ms)

    def of_fraudsters(self, domain_id: str, fraudster_ids: Sequence[str]) -> list[Voiceprint]:
        """The voiceprints of some fraudsters, in no order.

        Raises:
            NotFound: there is no such domain.
        """
        self._sealers.of(domain_id)
        fraudsters = tables.fraudsters
        # By id alone: with the domain among the conditions SQLite goes through all of it.
        query = (
            select(*_WITHOUT_SPEECH, fraudsters.c.sealed_key)
            .join(fraudsters, fraudsters.c.fraudster_id == tables.voiceprints.c.owner_id)
            .where(tables.voiceprints.c.owner_id.in_(fraudster_ids))
        )
        rows = self._connection.execute(query).all()
        return [self._open(row) for row in rows if row.domain_id == domain_id]

    def remove(self, owner_id: str) -> None:
        """Delete an owner's voiceprint, if there is one."""
        self._connection.execute(
            delete(tables.voiceprints).where(tables.voiceprints.c.owner_id == owner_id)
        )

    def _sealer_of_owner(self, domain_id: str, owner_id: str) -> tuple[OwnerSealer, bool]:
        """Of a speaker or fraudster, and whether it is a fraudster."""
        sealer = self._sealers.of(domain_id)
        row = self._connection.execute(_KEY_OF_OWNER, {"owner_id": owner_id}).one_or_none()
        if row is None:
            raise NotFound("SPEAKER")
        return sealer.owner(owner_id, row.sealed_key), row.is_fraudster

    def _open(self, row: Row[Any]) -> Voiceprint:
        own = self._sealers.of(row.domain_id).owner(row.owner_id, row.sealed_key)
        return Voiceprint(
            owner_id=row.owner_id,
            domain_id=row.domain_id,
            model=row.model,
            vector=own.open_vector(row.sealed_vector, places.voiceprint_vector(row.owner_id)),
            created_ms=row.created_ms,
            reference=_reference(row),
        )


def _reference_columns(reference: SpoofReference | None) -> dict[str, Any]:
    if reference is None:
        return {}
    raw = {f"spoof_{verdict}": reference.raw[verdict] for verdict in VERDICTS}
    return {"spoof_model": reference.model, **raw}


def _reference(row: Row[Any]) -> SpoofReference | None:
    if row.spoof_model is None:
        return None
    raw = {verdict: getattr(row, f"spoof_{verdict}") for verdict in VERDICTS}
    return SpoofReference(model=row.spoof_model, raw=raw)
