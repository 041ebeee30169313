"""From a model's raw score to a log-likelihood ratio, and to how rare the score is by chance.

A calibration is a file made from development data by a script in `training/`. For some amounts of
net speech (its *conditions*) it holds

- `slope`, `offset`: the log-likelihood ratio is `slope * raw + offset` (logistic regression;
  natural logarithm; positive speaks for the *target* class: same speaker, or spoof), and
- `tail`: points of the null class's exceedance, log10 P(raw >= x | null class). The null class are
  other speakers for a speaker model, genuine callers for a spoof model.

Between conditions both are interpolated over the logarithm of the seconds; outside them the nearest
condition holds.
"""

import json
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from vivavoce.errors import ModelInvalid

FORMAT = "vivavoce-calibration/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """The calibration at one amount of net speech.

    Attributes:
        seconds: net speech of the call, in seconds.
        slope: change of the log-likelihood ratio per unit of raw score; positive.
        offset: log-likelihood ratio at raw score 0.
        tail_raw: raw scores, rising.
        tail_log10_p: log10 of the share of the null class at or above each of `tail_raw`, falling.
    """

    seconds: float
    slope: float
    offset: float
    tail_raw: tuple[float, ...]
    tail_log10_p: tuple[float, ...]

    def llr(self, raw: float) -> float:
        """Log-likelihood ratio (natural logarithm) of a raw score."""
        return self.slope * raw + self.offset

    def log10_exceedance(self, raw: float) -> float:
        """log10 P(null class scores at least `raw`); at most 0, falling in `raw`.

        Above the last point the line through the last two goes on: score tails fall at least
        exponentially there (not documented anywhere; chosen because it overstates rather than
        understates the chance of a false accept).
        """
        if raw > self.tail_raw[-1]:
            run = self.tail_raw[-1] - self.tail_raw[-2]
            slope = (self.tail_log10_p[-1] - self.tail_log10_p[-2]) / run
            return self.tail_log10_p[-1] + slope * (raw - self.tail_raw[-1])
        return float(np.interp(raw, self.tail_raw, self.tail_log10_p))


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """A raw score with its meaning.

    Attributes:
        raw: the model's score.
        llr: log-likelihood ratio, natural logarithm.
        log10_p: log10 of the chance that the null class scores as high.
    """

    raw: float
    llr: float
    log10_p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Conditions in rising order of net speech, for one model.

    Attributes:
        model: name of the model, as in its card.
        model_sha256: hash of the ONNX file that the scores came from.
        conditions: at least one.
    """

    model: str
    model_sha256: str
    conditions: tuple[Condition, ...]

    def apply(self, raw: float, *, seconds: float) -> Calibrated:
        """The meaning of a raw score won from so many seconds of net speech."""
        low, high, weight = self._between(seconds)
        return Calibrated(
            raw=raw,
            llr=(1 - weight) * low.llr(raw) + weight * high.llr(raw),
            log10_p=min(
                0.0,
                (1 - weight) * low.log10_exceedance(raw) + weight * high.log10_exceedance(raw),
            ),
        )

    def _between(self, seconds: float) -> tuple[Condition, Condition, float]:
        conditions = self.conditions
        if seconds <= conditions[0].seconds:
            return conditions[0], conditions[0], 0.0
        for low, high in pairwise(conditions):
            if seconds <= high.seconds:
                weight = math.log(seconds / low.seconds) / math.log(high.seconds / low.seconds)
                return low, high, weight
        return conditions[-1], conditions[-1], 0.0


def read_calibration(path: Path) -> Calibration:
    """Read a calibration file.

    Raises:
        ModelInvalid: the file is missing, not in our format, or not monotone.
    """
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise ModelInvalid(f"{path.name}: format {document['format']!r}, expected {FORMAT!r}")
        conditions = tuple(
            Condition(
                seconds=float(entry["seconds"]),
                slope=float(entry["slope"]),
                offset=float(entry["offset"]),
                tail_raw=tuple(float(x) for x in entry["tail"]["raw"]),
                tail_log10_p=tuple(float(x) for x in entry["tail"]["log10_p"]),
            )
            for entry in document["conditions"]
        )
        model, sha256 = str(document["model"]), str(document["model_sha256"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise ModelInvalid(f"{path.name} is not a readable calibration: {error!r}") from error
    for condition in conditions:
        _check(condition, path)
    rising = [condition.seconds for condition in conditions]
    if not conditions or rising != sorted(set(rising)) or rising[0] <= 0:
        raise ModelInvalid(f"{path.name}: conditions must have rising, positive seconds")
    return Calibration(model=model, model_sha256=sha256, conditions=conditions)


def write_calibration(path: Path, calibration: Calibration, *, made_from: dict[str, Any]) -> None:
    """Write a calibration file; `made_from` says how it came about and is for readers only."""
    document = {
        "format": FORMAT,
        "model": calibration.model,
        "model_sha256": calibration.model_sha256,
        "made_from": made_from,
        "conditions": [
            {
                "seconds": condition.seconds,
                "slope": round(condition.slope, 6),
                "offset": round(condition.offset, 6),
                "tail": {
                    "raw": [round(x, 6) for x in condition.tail_raw],
                    "log10_p": [round(x, 6) for x in condition.tail_log10_p],
                },
            }
            for condition in calibration.conditions
        ],
    }
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _check(condition: Condition, path: Path) -> None:
    raw, log10_p = condition.tail_raw, condition.tail_log10_p
    numbers = (condition.seconds, condition.slope, condition.offset, *raw, *log10_p)
    sound = (
        len(raw) == len(log10_p) >= 2
        and all(math.isfinite(number) for number in numbers)
        and condition.slope > 0
        and all(a < b for a, b in pairwise(raw))
        and all(a > b for a, b in pairwise(log10_p))
        and log10_p[0] <= 0
    )
    if not sound:
        raise ModelInvalid(
            f"{path.name}: the condition at {condition.seconds:g} s is not a rising, finite scale"
        )
