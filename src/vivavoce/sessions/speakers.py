"""What happens to speakers: becoming known, opting out, being deleted. All within a transaction."""

from vivavoce.errors import NotFound
from vivavoce.ids import generated_id, is_generated
from vivavoce.store.records import Session, Speaker, SpeakerStatus
from vivavoce.store.store import Transaction


def find_or_add(
    tx: Transaction, domain_id: str, speaker_id: str, *, status: SpeakerStatus, now_ms: int
) -> Speaker:
    """A speaker by generated or customer id; an unknown customer id becomes known in this status.

    Raises:
        NotFound: a generated id that nobody has; no such domain.
    """
    speaker = tx.speakers.find(domain_id, speaker_id)
    if speaker is not None:
        return speaker
    if is_generated(speaker_id):
        raise NotFound("SPEAKER")
    speaker = Speaker(
        speaker_id=generated_id(),
        domain_id=domain_id,
        customer_id=speaker_id,
        status=status,
        created_ms=now_ms,
        updated_ms=now_ms,
        last_accessed_ms=None,
    )
    tx.speakers.add(speaker)
    return speaker


def opt_out(tx: Transaction, domain_id: str, speaker_id: str, *, now_ms: int) -> Speaker:
    """Forget a speaker's voice and keep it forgotten; an unknown customer id is noted as well.

    Raises:
        NotFound: a generated id that nobody has; no such domain.
        Conflict: the domain is not active.
    """
    tx.domains.require_active(domain_id)
    speaker = find_or_add(tx, domain_id, speaker_id, status="OPTED_OUT", now_ms=now_ms)
    # Also for one who had opted out before: a call that was live then may have left something.
    tx.voiceprints.remove(speaker.speaker_id)
    tx.sessions.forget_speech_of(speaker.speaker_id)
    if speaker.status == "OPTED_OUT":
        return speaker
    tx.speakers.set_status(speaker.speaker_id, "OPTED_OUT", now_ms=now_ms)
    return tx.speakers.get(domain_id, speaker.speaker_id)


def delete(tx: Transaction, domain_id: str, speaker_id: str) -> Speaker:
    """Forget a speaker altogether, and with it an opt-out; gives who it was.

    Raises:
        NotFound: no such speaker or domain.
        Conflict: the domain is not active.
    """
    tx.domains.require_active(domain_id)
    speaker = tx.speakers.get(domain_id, speaker_id)
    tx.sessions.forget_speech_of(speaker.speaker_id)
    tx.speakers.remove(speaker.speaker_id)
    return speaker


def must_be_forgotten(tx: Transaction, session: Session) -> bool:
    """Whether the speaker whom a session claims has opted out or was deleted."""
    if session.speaker_id is None:
        return False
    speaker = tx.speakers.find(session.domain_id, session.speaker_id)
    return speaker is None or speaker.status == "OPTED_OUT"
