"""Saved lists of speakers: what `aws voice-id list-speakers` printed while it could."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from vivavoce.errors import InvalidRequest
from vivavoce.ids import is_customer_id
from vivavoce.sessions.speakers import find_or_add, opt_out
from vivavoce.store.store import Transaction

STATUSES = ("ENROLLED", "EXPIRED", "OPTED_OUT", "PENDING")


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedSpeaker:
    """A speaker of the old service.

    Attributes:
        customer_id: the customer's own id.
        status: one of `STATUSES`.
    """

    customer_id: str = field(repr=False)
    status: str


def read_speakers(path: Path) -> list[SavedSpeaker]:
    """The speakers of a saved list; pages that were saved one after the other are one list.

    Raises:
        InvalidRequest: it cannot be read, or is no such list; says where.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise InvalidRequest(f"{path} is not UTF-8") from None
    found: dict[str, SavedSpeaker] = {}
    for number, summary in enumerate(_summaries(text, path)):
        speaker = _speaker(summary, f"{path}, speaker {number + 1}")
        found[speaker.customer_id] = speaker
    if not found:
        raise InvalidRequest(f"{path} lists no speakers")
    return list(found.values())


def restore(tx: Transaction, domain_id: str, speaker: SavedSpeaker, *, now_ms: int) -> bool:
    """Note a speaker; who has opted out stays so, others are pending until they are enrolled.

    Who has been enrolled here has opted in again since, and stays enrolled. Gives whether anything
    changed.

    Raises:
        NotFound: no such domain.
        Conflict: the domain is not active.
    """
    tx.domains.require_active(domain_id)
    known = tx.speakers.find(domain_id, speaker.customer_id)
    if speaker.status == "OPTED_OUT":
        if known is not None and known.status != "PENDING":
            return False
        opt_out(tx, domain_id, speaker.customer_id, now_ms=now_ms)
        return True
    find_or_add(tx, domain_id, speaker.customer_id, status="PENDING", now_ms=now_ms)
    return known is None


def _summaries(text: str, path: Path) -> Iterator[Any]:
    """What is in `SpeakerSummaries` of all documents that follow one another."""
    decoder, position = json.JSONDecoder(), 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        try:
            document, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(f"{path} is not JSON: {error}") from None
        pages = cast("list[Any]", document if isinstance(document, list) else [document])
        for page in pages:
            if isinstance(page, dict) and "SpeakerSummaries" in page:
                yield from cast("Mapping[str, Any]", page)["SpeakerSummaries"] or []
            elif isinstance(page, dict) and "CustomerSpeakerId" in page:
                yield page  # a list of the summaries alone, as --query prints it
            else:
                raise InvalidRequest(
                    f"{path} is no answer of list-speakers: it has no SpeakerSummaries"
                )


def _speaker(summary: object, place: str) -> SavedSpeaker:
    members = cast("Mapping[str, Any]", summary if isinstance(summary, dict) else {})
    customer_id, status = members.get("CustomerSpeakerId"), members.get("Status")
    if not isinstance(customer_id, str) or not is_customer_id(customer_id):
        raise InvalidRequest(f"{place}: there is no CustomerSpeakerId that can be one")
    if status not in STATUSES:
        raise InvalidRequest(f"{place}: the Status is not one of {', '.join(STATUSES)}")
    return SavedSpeaker(customer_id=customer_id, status=cast("str", status))
