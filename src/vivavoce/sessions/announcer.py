"""Tells the world what happened: puts announcements where delivery finds them."""

import contextlib
from collections.abc import AsyncGenerator, Callable

from vivavoce.clock import Clock
from vivavoce.sessions.announcements import Announcement
from vivavoce.store.store import Store, Transaction


class Announcer:
    """Writes announcements with the change that they tell of; nothing where nobody listens.

    Args:
        store: the state.
        sinks: names of those who listen.
        clock: the time.
        news: called after a commit that announced something; from any thread.
    """

    def __init__(
        self, *, store: Store, sinks: tuple[str, ...], clock: Clock, news: Callable[[], None]
    ) -> None:
        self._store = store
        self._sinks = sinks
        self._clock = clock
        self._news = news

    @property
    def is_heard(self) -> bool:
        """Whether anybody listens: what only an announcement needs can be left out otherwise."""
        return bool(self._sinks)

    def announce(self, tx: Transaction, make: Callable[[], Announcement]) -> None:
        """Announce a change in the transaction that makes it.

        Args:
            tx: the transaction.
            make: makes the announcement; not called where nobody listens.
        """
        if not self._sinks:
            return
        made = make()
        now_ms = self._clock.now_ms()
        tx.outbox.add(self._sinks, resource=made.resource, body=made.body, now_ms=now_ms)
        tx.after_commit(self._news)

    @contextlib.asynccontextmanager
    async def on_failure(self, make: Callable[[Exception], Announcement]) -> AsyncGenerator[None]:
        """Announce if what is done within this context fails; there is no change to go with.

        Args:
            make: makes the announcement of an error.
        """
        try:
            yield
        except Exception as error:
            refusal = error  # Python forgets `error` at the end of this block
            if self._sinks:
                await self._store.write(lambda tx: self.announce(tx, lambda: make(refusal)))
            raise
