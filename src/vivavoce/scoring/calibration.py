"""From a model's raw score to a log-likelihood ratio, and to how rare the score is by chance.

A calibration is a file made from development data by a script in `training/`. For some amounts of
net speech (its *conditions*) it holds

- `slope`, `offset`: the log-likelihood ratio is `slope * raw + offset` (logistic regression;
  natural logarithm; positive speaks for the *target* class: same speaker, or spoof), and
- `tail`: points of the null class's exceedance, log10 P(raw >= x | null class). The null class are
  other speakers for a speaker model, genuine callers for a spoof model.

Between conditions both are interpolated over the logarithm of the seconds; outside them the nearest
condition holds.

Where it is known what the model makes of the caller's own voice (the *reference*), a calibration
may hold a correction for it, and what corrected scores mean, in conditions of their own.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

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

    def believed(self, certainty: float) -> Self:
        """What is left of the meaning where the score is to be believed so far only, 0..1.

        At 0 it says nothing: either class is as likely as before, and every score as common.
        """
        return replace(self, llr=certainty * self.llr, log10_p=certainty * self.log10_p)


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """How the raw score of the caller's own voice corrects a raw score.

    Attributes:
        weight: the share of a reference's distance from the centre that is taken away, 0..1.
        centre: the reference that corrects nothing.
        limit: a reference further from the centre counts as one so far from it; positive.
        conditions: what corrected scores mean; at least one, in rising order of net speech.
    """

    weight: float
    centre: float
    limit: float
    conditions: tuple[Condition, ...]

    def apply(self, raw: float, reference: float) -> float:
        """The corrected raw score.

        Limited, so that who enrols with an odd voice wins no more than that for later calls.
        """
        away = min(self.limit, max(-self.limit, reference - self.centre))
        return raw - self.weight * away


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Conditions in rising order of net speech, for one model.

    Attributes:
        model: name of the model, as in its card.
        model_sha256: hash of the ONNX file that the scores came from.
        conditions: at least one.
        reference: what to do with a reference; None where none helps.
    """

    model: str
    model_sha256: str
    conditions: tuple[Condition, ...]
    reference: Correction | None = None

    def takes_reference(self, *, seconds: float) -> bool:
        """Whether a reference counts for a score won from so much net speech.

        From the first condition of the correction on: scores from less scatter more than it knows.
        """
        return self.reference is not None and seconds >= self.reference.conditions[0].seconds

    def apply(self, raw: float, *, seconds: float, reference: float | None = None) -> Calibrated:
        """The meaning of a raw score.

        Args:
            raw: the model's score.
            seconds: net speech that it was won from.
            reference: the model's score of the caller's own voice, where that is known.
        """
        corrected, conditions = raw, self.conditions
        if self.reference and reference is not None and self.takes_reference(seconds=seconds):
            corrected = self.reference.apply(raw, reference)
            conditions = self.reference.conditions
        low, high, weight = _between(conditions, seconds)
        return Calibrated(
            raw=raw,
            llr=(1 - weight) * low.llr(corrected) + weight * high.llr(corrected),
            log10_p=min(
                0.0,
                (1 - weight) * low.log10_exceedance(corrected)
                + weight * high.log10_exceedance(corrected),
            ),
        )


def read_calibration(path: Path) -> Calibration:
    """Read a calibration file.

    Raises:
        ModelInvalid: the file is missing, not in our format, or not monotone.
    """
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise ModelInvalid(f"{path.name}: format {document['format']!r}, expected {FORMAT!r}")
        calibration = Calibration(
            model=str(document["model"]),
            model_sha256=str(document["model_sha256"]),
            conditions=_conditions(document),
            reference=_correction(document["reference"]) if "reference" in document else None,
        )
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise ModelInvalid(f"{path.name} is not a readable calibration: {error!r}") from error
    _check(calibration.conditions, path)
    if calibration.reference is not None:
        _check_correction(calibration.reference, path)
    return calibration


def write_calibration(path: Path, calibration: Calibration, *, made_from: dict[str, Any]) -> None:
    """Write a calibration file; `made_from` says how it came about and is for readers only."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "model": calibration.model,
        "model_sha256": calibration.model_sha256,
        "made_from": made_from,
        "conditions": _document(calibration.conditions),
    }
    if (correction := calibration.reference) is not None:
        document["reference"] = {
            "weight": round(correction.weight, 6),
            "centre": round(correction.centre, 6),
            "limit": round(correction.limit, 6),
            "conditions": _document(correction.conditions),
        }
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _between(
    conditions: tuple[Condition, ...], seconds: float
) -> tuple[Condition, Condition, float]:
    """The conditions on both sides of an amount of net speech, and the weight of the second."""
    if seconds <= conditions[0].seconds:
        return conditions[0], conditions[0], 0.0
    for low, high in pairwise(conditions):
        if seconds <= high.seconds:
            weight = math.log(seconds / low.seconds) / math.log(high.seconds / low.seconds)
            return low, high, weight
    return conditions[-1], conditions[-1], 0.0


def _conditions(holder: Mapping[str, Any]) -> tuple[Condition, ...]:
    return tuple(
        Condition(
            seconds=float(entry["seconds"]),
            slope=float(entry["slope"]),
            offset=float(entry["offset"]),
            tail_raw=tuple(float(x) for x in entry["tail"]["raw"]),
            tail_log10_p=tuple(float(x) for x in entry["tail"]["log10_p"]),
        )
        for entry in holder["conditions"]
    )


def _correction(entry: Mapping[str, Any]) -> Correction:
    return Correction(
        weight=float(entry["weight"]),
        centre=float(entry["centre"]),
        limit=float(entry["limit"]),
        conditions=_conditions(entry),
    )


def _document(conditions: tuple[Condition, ...]) -> list[dict[str, Any]]:
    return [
        {
            "seconds": condition.seconds,
            "slope": round(condition.slope, 6),
            "offset": round(condition.offset, 6),
            "tail": {
                "raw": [round(x, 6) for x in condition.tail_raw],
                "log10_p": [round(x, 6) for x in condition.tail_log10_p],
            },
        }
        for condition in conditions
    ]


def _check(conditions: tuple[Condition, ...], path: Path) -> None:
    for condition in conditions:
        _check_condition(condition, path)
    rising = [condition.seconds for condition in conditions]
    if not conditions or rising != sorted(set(rising)) or rising[0] <= 0:
        raise ModelInvalid(f"{path.name}: conditions must have rising, positive seconds")


def _check_correction(correction: Correction, path: Path) -> None:
    _check(correction.conditions, path)
    numbers = (correction.weight, correction.centre, correction.limit)
    finite = all(math.isfinite(number) for number in numbers)
    if not (finite and 0 <= correction.weight <= 1 and correction.limit > 0):
        raise ModelInvalid(
            f"{path.name}: a reference needs a weight of 0 to 1, a centre and a positive limit"
        )


def _check_condition(condition: Condition, path: Path) -> None:
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
