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
        self._on_list: dict[str, npt.NDArray[np.bool_]] = {}  # of each list, by row

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
            if list_id not in self._on_list:
                self._on_list[list_id] = np.zeros(len(self._vectors), np.bool_)
            self._on_list[list_id][row] = True

    def remove(self, owner_id: str) -> None:
        """Hold an owner's voice no longer; nothing happens if there is none."""
        row = self._rows.pop(owner_id, None)
        if row is None:
            return
        # The last row takes its place, so that there are no holes.
        last = len(self._owners) - 1
        moved = self._owners.pop()
        if row != last:
            self._owners[row] = moved
            self._rows[moved] = row
        for columns in (self._vectors, *self._on_list.values()):
            columns[row] = columns[last]
            columns[last] = 0

    def nearest(self, voice: Floats, list_id: str | None = None) -> Nearest | None:
        """The closest voice of a list, or of all; None where there is none.

        Args:
            voice: shape (dimension,), unit length.
            list_id: the list.
        """
        total = len(self._owners)
        if list_id is None:
            rows = np.arange(total)
        elif list_id in self._on_list:
            rows = np.flatnonzero(self._on_list[list_id][:total])
        else:
            return None
        if not len(rows):
            return None
        cosines: Floats
        if len(rows) < _GATHERED_SHARE * total:
            cosines = self._vectors[rows] @ voice
        else:
            all_cosines: Floats = self._vectors[:total] @ voice
            cosines = all_cosines[rows]
        closest = int(np.argmax(cosines))
        return Nearest(
            owner_id=self._owners[int(rows[closest])],
            cosine=float(cosines[closest]),
            among=len(rows),
        )

    def _make_room(self, dimension: int) -> None:
        held = len(self._owners)
        if held < len(self._vectors):
            return
        room = max(_FIRST_ROWS, 2 * held)
        vectors = np.zeros((room, dimension), np.float32)
        if held:
            vectors[:held] = self._vectors[:held]
        self._vectors = vectors
        for list_id, columns in self._on_list.items():
            self._on_list[list_id] = np.resize(columns, room)
            self._on_list[list_id][held:] = False


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
