"""Speakers."""

from contextlib import AbstractAsyncContextManager
from typing import Any, cast

from vivavoce.api import shapes
from vivavoce.api.services import Request
from vivavoce.sessions import announcements, speakers
from vivavoce.sessions.announcements import SpeakerAction
from vivavoce.sessions.documents import present, seconds
from vivavoce.store.records import Speaker
from vivavoce.store.store import Transaction

_PAGE_SIZE = 100


async def describe_speaker(
    context: Request, request: shapes.DescribeSpeakerRequest
) -> shapes.DescribeSpeakerResponse:
    """Show a speaker, named by customer id or generated id."""
    speaker = await context.services.store.look_up(
        lambda tx: tx.speakers.get(request["DomainId"], request["SpeakerId"])
    )
    return {"Speaker": cast("shapes.Speaker", _document(speaker))}


async def list_speakers(
    context: Request, request: shapes.ListSpeakersRequest
) -> shapes.ListSpeakersResponse:
    """Show a page of a domain's speakers, in the order they became known."""
    services = context.services
    domain_id = request["DomainId"]
    page, token = await services.pager.read(
        request,
        lambda after, size: services.store.read(
            lambda tx: tx.speakers.page(domain_id, after=after, size=size)
        ),
        query=["ListSpeakers", domain_id],
        default_size=_PAGE_SIZE,
    )
    response: dict[str, Any] = {
        "SpeakerSummaries": [_document(speaker) for speaker in page],
        "NextToken": token,
    }
    return cast("shapes.ListSpeakersResponse", response)


async def opt_out_speaker(
    context: Request, request: shapes.OptOutSpeakerRequest
) -> shapes.OptOutSpeakerResponse:
    """Forget a speaker's voice and keep it forgotten; an unknown customer id is noted as well."""
    services, domain_id = context.services, request["DomainId"]
    now_ms = services.clock.now_ms()

    def work(tx: Transaction) -> Speaker:
        speaker = speakers.opt_out(tx, domain_id, request["SpeakerId"], now_ms=now_ms)
        _announce(context, tx, "OPT_OUT_SPEAKER", speaker)
        return speaker

    async with _telling_failure(context, "OPT_OUT_SPEAKER", request):
        speaker = await services.store.write(work)
    await services.store.scrub()
    return {"Speaker": cast("shapes.Speaker", _document(speaker))}


async def delete_speaker(context: Request, request: shapes.DeleteSpeakerRequest) -> None:
    """Forget a speaker altogether; an opt-out is forgotten with it."""

    def work(tx: Transaction) -> None:
        speaker = speakers.delete(tx, request["DomainId"], request["SpeakerId"])
        _announce(context, tx, "DELETE_SPEAKER", speaker)

    async with _telling_failure(context, "DELETE_SPEAKER", request):
        await context.services.store.write(work)
    await context.services.store.scrub()


def _announce(context: Request, tx: Transaction, action: SpeakerAction, speaker: Speaker) -> None:
    services = context.services
    services.announcer.announce(
        tx,
        lambda: announcements.speaker(
            context.domain_arn(speaker.domain_id),
            action,
            speaker_id=speaker.speaker_id,
            now_ms=services.clock.now_ms(),
        ),
    )


def _telling_failure(
    context: Request,
    action: SpeakerAction,
    request: shapes.OptOutSpeakerRequest | shapes.DeleteSpeakerRequest,
) -> AbstractAsyncContextManager[None]:
    return context.services.announcer.on_failure(
        lambda error: announcements.speaker(
            context.domain_arn(request["DomainId"]),
            action,
            speaker_id=request["SpeakerId"],
            now_ms=context.services.clock.now_ms(),
            error=error,
        )
    )


def _document(speaker: Speaker) -> dict[str, Any]:
    document = {
        "DomainId": speaker.domain_id,
        "CustomerSpeakerId": speaker.customer_id,
        "GeneratedSpeakerId": speaker.speaker_id,
        "Status": speaker.status,
        "CreatedAt": seconds(speaker.created_ms),
        "UpdatedAt": seconds(speaker.updated_ms),
        "LastAccessedAt": seconds(speaker.last_accessed_ms),
    }
    return present(document)
