"""The development speech: where it is, what is in it, and which version of it.

It is not part of the repository. `VIVAVOCE_SPEECH_DATA` names its folder; without it the folder
`shared/data/speech` beside the repository is tried. It holds `clips.csv`, a line for each clip:
file, label (bonafide or synthetic), set, system, speaker, seconds, language, age, pair, licence.
"""

import csv
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from vivavoce.audio.arrays import CALL_RATE_HZ, Samples

VARIABLE = "VIVAVOCE_SPEECH_DATA"
_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data" / "speech"


class SpeechDataAbsent(Exception):
    """There is no development speech here; the message says how to point to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """One clip of the development speech.

    Attributes:
        path: the file: mono, 16 bit, `CALL_RATE_HZ`.
        label: "bonafide" or "synthetic".
        source: the corpus it is from (column `set`).
        system: what synthesised it; empty for a person.
        speaker: who speaks, unique within `source`; empty where nobody knows.
        licence: of the clip.
    """

    path: Path
    label: str
    source: str
    system: str
    speaker: str
    licence: str

    def read(self) -> Samples:
        """The clip's samples, shape (n,)."""
        samples, rate_hz = soundfile.read(self.path, dtype="int16")
        if rate_hz != CALL_RATE_HZ or samples.ndim != 1:
            raise ValueError(f"{self.path} is not mono at {CALL_RATE_HZ} Hz")
        return np.asarray(samples, dtype=np.int16)


def find_speech() -> Path:
    """The folder with the development speech.

    Raises:
        SpeechDataAbsent: neither named by the environment nor beside the repository.
    """
    named = os.environ.get(VARIABLE)
    folder = Path(named) if named else _BESIDE
    if not (folder / "clips.csv").is_file():
        where = f"{VARIABLE}={named}" if named else "shared/data/speech beside the repository"
        raise SpeechDataAbsent(
            f"No development speech in {where} (no clips.csv there); "
            f"set {VARIABLE} to the folder that holds it"
        )
    return folder


def read_clips(folder: Path) -> list[Clip]:
    """All clips, in the order of the list."""
    with (folder / "clips.csv").open(encoding="utf-8", newline="") as file:
        return [
            Clip(
                path=folder / row["file"],
                label=row["label"],
                source=row["set"],
                system=row["system"],
                speaker=row["speaker"],
                licence=row["licence"],
            )
            for row in csv.DictReader(file)
        ]


def hash_of(clips: list[Clip]) -> str:
    """SHA-256 over the contents of some clips in the order of their files: their version."""
    total = hashlib.sha256()
    for clip in sorted(clips, key=lambda clip: clip.path):
        total.update(hashlib.sha256(clip.path.read_bytes()).digest())
    return total.hexdigest()
