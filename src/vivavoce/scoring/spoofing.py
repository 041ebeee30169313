"""What the windows of a call say together about spoofing.

The detector gives two raw scores for each window of net speech: is a machine speaking, and is a
recording played back? A call is judged by blocks of windows, so that a voice that turns synthetic
in the middle of it is not lost in the mean of the whole.
"""

from dataclasses import dataclass

import numpy as np

from vivavoce.audio.arrays import Floats

VERDICTS = ("synthetic", "playback")
"""What is asked of each window, in the order of the detector's outputs."""

BLOCK_S = 10.0
"""Net speech that is judged as one: what a decision needs. A shorter call is one block."""

_SLACK_S = 0.1
"""By so much a window may reach out of a block: windows are a little longer than whole seconds."""


@dataclass(frozen=True, slots=True, eq=False)
class SpoofEvidence:
    """The windows of a call.

    Attributes:
        windows: shape (n, 4), n > 0: start and end in seconds of net speech, and the raw score of
            each of `VERDICTS`; in order, none longer than `BLOCK_S`.
    """

    windows: Floats

    def raw(self, verdict: str) -> float:
        """The raw score of the call so far: a soft maximum of the means of its blocks.

        log mean exp lies between mean and maximum: one block in doubt does not outweigh a call that
        is sound otherwise, one beyond doubt does.
        """
        means = self._block_means(2 + VERDICTS.index(verdict))
        highest = float(means.max())
        return highest + float(np.log(np.mean(np.exp(means - highest))))

    def _block_means(self, column: int) -> Floats:
        starts, ends, scores = self.windows[:, [0, 1, column]].astype(np.float64).T
        last = ends[-1] - BLOCK_S
        if last <= 0:
            return np.array([scores.mean()])
        # A block begins with each window that has a whole one before it, and the last block ends
        # with the speech: every window counts.
        return np.array(
            [
                scores[(starts > start - _SLACK_S) & (ends < start + BLOCK_S + _SLACK_S)].mean()
                for start in (*starts[starts < last], last)
            ]
        )

    def to_bytes(self) -> bytes:
        """As it is stored: little-endian float32, row by row."""
        return self.windows.astype("<f4").tobytes()

    @classmethod
    def from_bytes(cls, content: bytes) -> "SpoofEvidence":
        """What `to_bytes` gave."""
        windows = np.frombuffer(content, "<f4").reshape(-1, 2 + len(VERDICTS))
        return cls(windows.astype(np.float32))
