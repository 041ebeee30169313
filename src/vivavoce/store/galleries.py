"""The voices of fraudsters, opened and held in memory, so that a search need not open them again.

To open a voice takes 30 µs, and a decision on a call searches all of a watchlist. So those of a
domain are opened once, and from then on only what changed: each change of a fraudster is noted in
the database, in the same transaction. A search looks at the latest note first, so it sees what its
transaction sees, whichever process made the change.

A note's number says which came before it; its mark, a random number, that it is the same history:
what was held on the word of a transaction that was undone, or of a database that is older now since
it was restored from a backup, is given up and opened anew.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field

from vivavoce.scoring.gallery import Gallery, are_comparable
from vivavoce.store.fraudster_changes import FraudsterChanges, Moment
from vivavoce.store.fraudsters import Fraudsters
from vivavoce.store.records import Fraudster
from vivavoce.store.voiceprints import Voiceprints

_PAGE = 500


@dataclass(slots=True)
class _Held:
    gallery: Gallery = field(default_factory=Gallery)
    moment: Moment | None = None
    used_s: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Galleries:
    """The galleries of this process, one for each domain and encoder that was asked for."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], _Held] = {}
        self._lock = threading.Lock()

    def has(self, domain_id: str, model: str) -> bool:
        """Whether a gallery is there, so that it takes no long time to bring it up to date."""
        held = self._held.get((domain_id, model))
        return held is not None and held.moment is not None

    @contextlib.contextmanager
    def use(
        self,
        domain_id: str,
        model: str,
        bring_up_to_date: Callable[[Gallery, Moment | None], Moment],
    ) -> Generator[Gallery]:
        """A gallery for as long as a search takes."""
        with self._lock:
            held = self._held.setdefault((domain_id, model), _Held())
        with held.lock:
            held.used_s = time.monotonic()
            if held.moment is None:
                held.gallery = Gallery()  # what was begun before was not finished
            before, held.moment = held.moment, None
            held.moment = bring_up_to_date(held.gallery, before)
            yield held.gallery

    def forget(self, domain_id: str, fraudster_id: str) -> None:
        """Hold a deleted fraudster's voice no longer, though nobody may search again."""
        with self._lock:
            galleries = [held for (of, _), held in self._held.items() if of == domain_id]
        for held in galleries:
            with held.lock:
                held.gallery.remove(fraudster_id)

    def tidy(self, *, unused_s: float) -> None:
        """Let go of what nobody has used for so long."""
        before_s = time.monotonic() - unused_s
        with self._lock:
            self._held = {name: held for name, held in self._held.items() if held.used_s > before_s}


class Wanted:
    """The voices of fraudsters to search, as one transaction sees them."""

    def __init__(
        self,
        galleries: Galleries,
        changes: FraudsterChanges,
        fraudsters: Fraudsters,
        voiceprints: Voiceprints,
    ) -> None:
        self._galleries = galleries
        self._changes = changes
        self._fraudsters = fraudsters
        self._voiceprints = voiceprints

    @contextlib.contextmanager
    def gallery(self, domain_id: str, model: str) -> Generator[Gallery]:
        """All voices of a domain's fraudsters that an encoder made; the lists are the watchlists.

        Raises:
            NotFound: there is no such domain.
        """

        def bring_up_to_date(gallery: Gallery, seen: Moment | None) -> Moment:
            latest = self._changes.latest(domain_id)
            if seen == latest:
                return latest
            changed = None if seen is None else self._changes.since(domain_id, seen)
            for fraudster_id in changed if changed is not None else gallery.owner_ids:
                gallery.remove(fraudster_id)
            pages = self._all(domain_id) if changed is None else self._these(domain_id, changed)
            for page in pages:
                self._put(gallery, page, domain_id, model)
            return latest

        with self._galleries.use(domain_id, model, bring_up_to_date) as gallery:
            yield gallery

    def open(self, domain_id: str, model: str) -> None:
        """Open what is not open yet, so that it is there when it is needed.

        Raises:
            NotFound: there is no such domain.
        """
        with self.gallery(domain_id, model):
            pass

    def _put(self, gallery: Gallery, page: list[Fraudster], domain_id: str, model: str) -> None:
        watchlists = {fraudster.fraudster_id: fraudster.watchlist_ids for fraudster in page}
        for voiceprint in self._voiceprints.of_fraudsters(domain_id, list(watchlists)):
            if are_comparable(voiceprint.model, model):
                owner_id = voiceprint.owner_id
                gallery.put(owner_id, voiceprint.vector, list_ids=watchlists[owner_id])

    def _all(self, domain_id: str) -> Iterator[list[Fraudster]]:
        after = 0
        while page := self._fraudsters.page(domain_id, watchlist_id=None, after=after, size=_PAGE):
            yield [fraudster for _, fraudster in page]
            after = page[-1][0]

    def _these(self, domain_id: str, fraudster_ids: list[str]) -> Iterator[list[Fraudster]]:
        for start in range(0, len(fraudster_ids), _PAGE):
            yield self._fraudsters.of_ids(domain_id, fraudster_ids[start : start + _PAGE])
