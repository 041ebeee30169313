"""What handlers work with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from vivavoce.api.context import Context
from vivavoce.api.paging import Pager
from vivavoce.clock import Clock
from vivavoce.sessions.announcer import Announcer
from vivavoce.sessions.desk import SessionDesk
from vivavoce.sessions.domains import DomainDesk
from vivavoce.store.records import Session
from vivavoce.store.store import Store


class StreamReader(Protocol):
    """Fetches a call's audio from where its platform puts it."""

    def read(self, session: Session, token: str, *, arn: str, after: str | None) -> None:
        """Begin to feed a session's stream; returns at once.

        Args:
            session: as it was started.
            token: of its stream.
            arn: of the Kinesis video stream that the audio is put on.
            after: number of the fragment that it begins after; None: what comes from now on.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Made once by the composition root.

    Attributes:
        store: the state.
        desk: everything about sessions.
        reader: fetches the audio that is not sent to us.
        domains: what is done to domains as a whole.
        announcer: tells the world what happened.
        on_job: called after a commit that made a batch job; from any thread.
        consent_given: whether the operator has acknowledged what the law asks of him.
        clock: the time.
        pager: turns the pages of lists.
        public_url: base of stream URLs, such as `wss://voice.example`; None: from the request.
    """

    store: Store
    desk: SessionDesk
    reader: StreamReader
    domains: DomainDesk
    announcer: Announcer
    on_job: Callable[[], None]
    consent_given: bool
    clock: Clock
    pager: Pager
    public_url: str | None


Request: TypeAlias = Context[Services]
