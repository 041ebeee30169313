"""What handlers work with."""

from dataclasses import dataclass
from typing import TypeAlias

from vivavoce.api.context import Context
from vivavoce.api.paging import Signer
from vivavoce.clock import Clock
from vivavoce.sessions.desk import SessionDesk
from vivavoce.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Made once by the composition root.

    Attributes:
        store: the state.
        desk: everything about sessions.
        clock: the time.
        signer: signs page tokens.
        public_url: base of stream URLs, such as `wss://voice.example`; None: from the request.
    """

    store: Store
    desk: SessionDesk
    clock: Clock
    signer: Signer
    public_url: str | None


Request: TypeAlias = Context[Services]
