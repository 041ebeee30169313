"""From a dialect's events to a call's inbox."""

from collections.abc import Sequence

from vivavoce.audio.arrays import CALL_RATE_HZ
from vivavoce.call.inbox import Inbox
from vivavoce.errors import InvalidRequest
from vivavoce.protocols.events import Audio, Closed, Malformed, Named, WireEvent

_PIECE_SAMPLES = CALL_RATE_HZ // 2


async def deliver(events: Sequence[WireEvent], inbox: Inbox) -> bool:
    """Pass events on to a call, waiting while its inbox is full; true if one of them ends it.

    Raises:
        InboxClosed: the call has ended.
        InvalidRequest: the peer broke the rules of its dialect; what came before was passed on.
    """
    for event in events:
        match event:
            case Audio(samples=samples):
                # Small pieces: a thread that listens to one call is not free for others.
                for start in range(0, len(samples), _PIECE_SAMPLES):
                    await inbox.put(samples[start : start + _PIECE_SAMPLES])
            case Closed():
                return True
            case Malformed(reason=reason):
                raise InvalidRequest(reason)
            case Named():
                pass  # whoever opened the call has read it
    return False
