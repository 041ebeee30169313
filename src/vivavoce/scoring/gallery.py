"""A gallery: many voices, held so that the closest to another one is found exactly and at once.

The search is a product of a matrix with a vector. For 100,000 voices that is 100 MB read from
memory once, some milliseconds; no index that gives nearly the closest is worth its doubt. Figures:
bench/search.py.
"""

import logging
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from vivavoce.audio.arrays import Floats

_log = logging.getLogger(__name__)

_FIRST_ROWS = 64

_GATHERED_SHARE = 0.25
"""Of a list that is a smaller part of all, the rows are copied out; of a larger one, all rows are
compared, which memory delivers faster than a choice of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """The closest of several voices.

    Attributes:
        owner_id: whose it is.
        cosine: how close, -1..1.
        among: how many there were.
    """

    owner_id: str
    cosine: float
    among: int


class Gallery:
    """Voices by owner, each on some lists. Not for several threads at a time."""

    def __init__(self) -> None:
        self._vectors = np.zeros((0, 0), np.float32)
        self._owners: list[str] = []  # of each row
        self._rows: dict[str, int] = {}
        self._lists: dict[str, set[str]] = {}
        self._rows_of_list: dict[str, npt.NDArray[np.intp]] = {}  # of lists that were searched

    def __len__(self) -> int:
        """How many voices there are."""
        return len(self._owners)

    @property
    def owner_ids(self) -> list[str]:
        """Whose voices there are."""
        return list(self._owners)

    def put(self, owner_id: str, vector: Floats, *, list_ids: Collection[str]) -> None:
        """Hold a voice, shape (dimension,), unit length, in place of the owner's earlier one."""
        self.remove(owner_id)
        row = len(self._owners)
        self._make_room(len(vector))
        self._vectors[row] = vector
        self._owners.append(owner_id)
        self._rows[owner_id] = row
        for list_id in list_ids:
            self._lists.setdefault(list_id, set()).add(owner_id)
        self._rows_of_list.clear()

    def remove(self, owner_id: str) -> None:
        """Hold an owner's voice no longer; nothing happens if there is none."""
        row = self._rows.pop(owner_id, None)
        if row is None:
            return
        # The last row takes its place, so that there are no holes.
        last = len(self._owners) - 1
        moved = self._owners.pop()
        if row != last:
            self._vectors[row] = self._vectors[last]
            self._owners[row] = moved
            self._rows[moved] = row
        self._vectors[last] = 0
        for members in self._lists.values():
            members.discard(owner_id)
        self._rows_of_list.clear()

    def nearest(self, voice: Floats, list_id: str | None = None) -> Nearest | None:
        """The closest voice of a list, or of all; None where there is none.

        Args:
            voice: shape (dimension,), unit length.
            list_id: the list.
        """
        total = len(self._owners)
        rows = None if list_id is None else self._rows_of(list_id)
        among = total if rows is None else len(rows)
        if among == 0:
            return None
        if rows is None or among == total:
            cosines = self._vectors[:total] @ voice
            closest = int(np.argmax(cosines))
            cosine = cosines[closest]
        else:
            few = among < _GATHERED_SHARE * total
            cosines = self._vectors[rows] @ voice if few else (self._vectors[:total] @ voice)[rows]
            best = int(np.argmax(cosines))
            closest, cosine = int(rows[best]), cosines[best]
        return Nearest(owner_id=self._owners[closest], cosine=float(cosine), among=among)

    def _rows_of(self, list_id: str) -> npt.NDArray[np.intp]:
        rows = self._rows_of_list.get(list_id)
        if rows is None:
            members = self._lists.get(list_id, set())
            rows = np.sort(np.array([self._rows[owner_id] for owner_id in members], np.intp))
            self._rows_of_list[list_id] = rows
        return rows

    def _make_room(self, dimension: int) -> None:
        held = len(self._owners)
        if held < len(self._vectors):
            return
        roomier = np.zeros((max(_FIRST_ROWS, 2 * held), dimension), np.float32)
        if held:
            roomier[:held] = self._vectors[:held]
        self._vectors = roomier


def are_comparable(made_by: str, in_use: str) -> bool:
    """Whether voices that one encoder made compare with those of another; logged where not."""
    if made_by == in_use:
        return True
    _warn_once(made_by, in_use)
    return False


@cache  # once a pair of models, not once a second and call
def _warn_once(made_by: str, in_use: str) -> None:
    _log.warning(
        "voiceprints were made by %s, the encoder in use is %s: they cannot be compared",
        made_by,
        in_use,
    )
