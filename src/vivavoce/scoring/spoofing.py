"""What the windows of a call say together about spoofing.

The detector gives two raw scores for each window of net speech: is a machine speaking, and is a
recording played back? A call is judged by blocks of windows, so that a voice that turns synthetic
in the middle of it is not lost in the mean of the whole.

It may also say how far a window is from what its training covered. There its scores mean nothing,
whatever they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from vivavoce.audio.arrays import Floats

VERDICTS = ("synthetic", "playback")
"""What is asked of each window, in the order of the detector's outputs."""

DISTANCE = "distance"
"""The output that is no verdict: how far a window is from what training covered; 1 is the edge."""

JUDGED_S = 3.0
"""Less net speech than this is not judged: the calibration of the detector begins here."""

BLOCK_S = 10.0
"""Net speech that is judged as one: what a decision needs. A shorter call is one block."""

_SLACK_S = 0.1
"""By so much a window may reach out of a block: windows are a little longer than whole seconds."""


@dataclass(frozen=True, slots=True, eq=False)
class SpoofEvidence:
    """The windows of a call.

    Attributes:
        windows: shape (n, 5), n > 0: start and end in seconds of net speech, the raw score of each
            of `VERDICTS`, and the `DISTANCE` (0 where no model tells it); in order, none longer
            than `BLOCK_S`.
    """

    windows: Floats

    def raw(self, verdict: str) -> float:
        """The raw score of the call so far: a soft maximum of the means of its blocks.

        log mean exp lies between mean and maximum: one block in doubt does not outweigh a call that
        is sound otherwise, one beyond doubt does. Windows weigh as much as they can be believed; a
        block that cannot be believed at all is left out, unless there is no other.
        """
        scores = self.windows[:, 2 + VERDICTS.index(verdict)].astype(np.float64)
        beliefs = self._beliefs
        means = [
            float(np.average(scores[block], weights=beliefs[block]))
            for block in self._blocks()
            if beliefs[block].any()
        ]
        if not means:
            return float(scores.mean())
        highest = max(means)
        return highest + float(np.log(np.mean(np.exp(np.array(means) - highest))))

    def mean(self, verdict: str) -> float:
        """The mean raw score of the windows."""
        return float(self.windows[:, 2 + VERDICTS.index(verdict)].mean(dtype=np.float64))

    @property
    def certainty(self) -> float:
        """How far the raw scores can be believed, 0..1: as far as those of the block that can most.

        So a stretch of strange audio neither excuses nor accuses what else was said.
        """
        beliefs = self._beliefs
        return max(float(beliefs[block].mean()) for block in self._blocks())

    @property
    def _beliefs(self) -> NDArray[np.float64]:
        """How far each window can be believed, 0..1, shape (n,).

        1 up to a distance of 1, which training still covered, and 0 from 2 on: as far beyond the
        edge as the edge is from the middle. Not documented; chosen because a line needs no further
        number, and a step would let one window more or less turn a call's risk.
        """
        return np.clip(2.0 - self.windows[:, -1].astype(np.float64), 0.0, 1.0)

    def _blocks(self) -> list[NDArray[np.bool_]]:
        """The windows of each block, as masks of shape (n,).

        A block begins with each window that has a whole one before it, and the last block ends with
        the speech: every window counts.
        """
        starts, ends = self.windows[:, :2].astype(np.float64).T
        last = ends[-1] - BLOCK_S
        if last <= 0:
            return [np.ones(len(starts), np.bool_)]
        return [
            (starts > start - _SLACK_S) & (ends < start + BLOCK_S + _SLACK_S)
            for start in (*starts[starts < last], last)
        ]

    def to_bytes(self) -> bytes:
        """As it is stored: little-endian float32, row by row."""
        return self.windows.astype("<f4").tobytes()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """What `to_bytes` gave."""
        windows = np.frombuffer(content, "<f4").reshape(-1, 2 + len(VERDICTS) + 1)
        return cls(windows.astype(np.float32))


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoofReference:
    """What the detector makes of a speaker's own voice: what is usual for it.

    Attributes:
        model: name and version of the detector; raw scores of different ones do not compare.
        raw: of each of `VERDICTS`, the mean raw score of the windows of an enrolment.
    """

    model: str
    raw: Mapping[str, float]

    @classmethod
    def of(cls, evidence: SpoofEvidence, *, model: str) -> Self:
        """The reference that an enrolment's speech makes."""
        return cls(model=model, raw={verdict: evidence.mean(verdict) for verdict in VERDICTS})
