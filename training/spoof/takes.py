"""The table of prepared speech, and the file of samples that it points into.

All that trains and measures stands on these two; nothing here needs what made them.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.spoof.tables import read_rows

NO_PLAYBACK, HEARD_DEVICES, UNHEARD_DEVICES = "", "heard", "unheard"

COPY = "copy-"
"""With this begins the system of what a vocoder made of genuine speech."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """One row of the table: some net speech in the file of samples.

    Attributes:
        source: number of the source; the takes of one source share it.
        label: `GENUINE` or `SPOOF`.
        corpus: recording campaign, page or program; a copy has that of its original.
        system: synthesiser or vocoder; empty for genuine speech.
        speaker: who speaks.
        trains: whether it may be trained and calibrated on.
        playback: family of loudspeakers and rooms that it was played back through, or empty.
        codec: what the audio went through; "none" for none.
        start: first sample in the file.
        count: samples.
    """

    source: int
    label: str
    corpus: str
    system: str
    speaker: str
    trains: bool
    playback: str
    codec: str
    start: int
    count: int

    @property
    def is_copy(self) -> bool:
        """Whether a vocoder made it of genuine speech."""
        return self.system.startswith(COPY)


def table_of(work: Path) -> Path:
    """Where the table is kept."""
    return work / "takes.csv"


def samples_of(work: Path) -> Path:
    """Where the samples are kept: int16, 8 kHz."""
    return work / "samples.i16"


def read_takes(work: Path) -> tuple[list[Take], np.ndarray]:
    """The table, and the samples that it points into (int16, read-only)."""
    takes = read_rows(table_of(work), Take)
    return takes, np.memmap(samples_of(work), np.int16, "r")


def data_hash(work: Path) -> str:
    """First digits of the SHA-256 over table and samples: says on what a result stands."""
    digest = hashlib.sha256(table_of(work).read_bytes())
    with samples_of(work).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:12]
