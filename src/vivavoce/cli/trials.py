"""`vivavoce trials`."""

import csv
import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from vivavoce.audio.arrays import CALL_RATE_HZ, Floats, Samples, to_float
from vivavoce.audio.recording import iter_recording
from vivavoce.call.speech import FrameDetector, Speech, SpeechCollector
from vivavoce.errors import AudioError, InvalidRequest, NotEnoughSpeech
from vivavoce.models.card import load_model
from vivavoce.models.registry import DEFAULT_SPEAKER_MODEL, find, models_folder
from vivavoce.models.speaker import SpeakerEncoder
from vivavoce.models.vad import SpeechDetector
from vivavoce.scoring.calibration import Calibration
from vivavoce.scoring.metrics import Accuracy, Estimate, Trials, verification_accuracy
from vivavoce.scoring.scale import authentication_score

FARS = (0.01, 0.001)
"""False acceptance rates at which the false rejection rate is stated."""

LEAST_SPEECH_S = 1.0
"""Less net speech than this is not compared. Not documented; chosen as a few words, below which a
score says more about the words than about the voice."""

_SAME = frozenset({"1", "target", "same", "true", "yes"})
_DIFFERENT = frozenset({"0", "impostor", "nontarget", "different", "false", "no"})


class VoiceEncoder(Protocol):
    """Turns speech into a vector that stands for the voice."""

    def embed(self, audio: Floats, rate_hz: int) -> Floats:
        """Shape (n,) to shape (dimension,), unit length."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One row of the table.

    Attributes:
        row: its line in the file, for messages.
        enrol: as written.
        test: as written.
        seconds: how much net speech of the test to use; None for all.
        label: whether it is the same speaker; None if not said.
        problem: what is wrong with the row, empty if nothing is.
    """

    row: int
    enrol: str
    test: str
    seconds: float | None
    label: bool | None
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a trial came to; the numbers are None where it could not be judged.

    Attributes:
        trial: the row.
        raw: cosine.
        llr: log-likelihood ratio, natural logarithm; positive speaks for the same speaker.
        score: 0..100, the authentication score.
    """

    trial: Trial
    raw: float | None
    llr: float | None
    score: int | None


class Comparer:
    """Compares recordings by voice; every set of recordings is listened to once."""

    def __init__(
        self,
        encoder: VoiceEncoder,
        calibration: Calibration,
        new_detector: Callable[[], FrameDetector],
        *,
        beside: Path,
    ) -> None:
        """Prepare.

        Args:
            encoder: gives voices as vectors.
            calibration: of that encoder.
            new_detector: makes a fresh voice activity detector.
            beside: where a relative path is looked for if the current folder has no such file.
        """
        self._encoder = encoder
        self._calibration = calibration
        self._new_detector = new_detector
        self._beside = beside
        self._heard: dict[
            tuple[tuple[str, ...], float | None], tuple[Floats, float] | AudioError
        ] = {}

    def compare(self, trial: Trial) -> Result:
        """Judge one trial.

        Raises:
            InvalidRequest: the row is malformed.
            AudioError: a recording cannot be read or holds too little speech.
        """
        if trial.problem:
            raise InvalidRequest(trial.problem)
        enrolled, _ = self._voice(tuple(_paths(trial.enrol)), None)
        voice, seconds = self._voice((trial.test,), trial.seconds)
        raw = float(np.dot(enrolled, voice))
        calibrated = self._calibration.apply(raw, seconds=seconds)
        return Result(
            trial=trial,
            raw=raw,
            llr=calibrated.llr,
            score=authentication_score(calibrated.log10_p),
        )

    def _voice(self, paths: tuple[str, ...], limit_s: float | None) -> tuple[Floats, float]:
        """The vector of some recordings together, and the net speech behind it in seconds."""
        key = (paths, limit_s)
        if key not in self._heard:
            try:
                self._heard[key] = self._listen(paths, limit_s)
            except AudioError as error:
                self._heard[key] = error
        known = self._heard[key]
        if isinstance(known, AudioError):
            raise known
        return known

    def _listen(self, paths: tuple[str, ...], limit_s: float | None) -> tuple[Floats, float]:
        parts = [
            net_speech(self._find(path), self._new_detector(), limit_s=limit_s) for path in paths
        ]
        speech = np.concatenate(parts)
        seconds = len(speech) / CALL_RATE_HZ
        if seconds < LEAST_SPEECH_S:
            raise NotEnoughSpeech(needed_s=LEAST_SPEECH_S, got_s=seconds)
        return self._encoder.embed(to_float(speech), CALL_RATE_HZ), seconds

    def _find(self, written: str) -> Path:
        path = Path(written)
        return path if path.exists() else self._beside / path


def trials(
    table: Annotated[
        Path,
        typer.Argument(
            metavar="CSV",
            help="Columns: enrol (paths joined by ;), test; optional: seconds, label.",
        ),
    ],
    *,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", "--json", help="Print one JSON object a row.")
    ] = False,
    models_dir: Annotated[
        Path | None, typer.Option(envvar="VIVAVOCE_MODELS_DIR", help="Folder for pulled models.")
    ] = None,
    speaker_model: Annotated[
        str, typer.Option(envvar="VIVAVOCE_SPEAKER_MODEL", help="Name of the speaker encoder.")
    ] = DEFAULT_SPEAKER_MODEL,
) -> None:
    """Compare recordings by voice, without a server; with labels also say how often it errs.

    A positive log-likelihood ratio (LLR) speaks for the same speaker. Score 90 is reached by 0.1 %
    of other speakers, 80 by 1 %, 70 by 10 %. Relative paths are looked for in the current folder,
    then beside the table. label is 1, same or target, or 0, different or impostor.

    A row that cannot be judged keeps its place, without numbers; the reason goes to stderr. If a
    file of it cannot be read or the row is malformed, the exit code is 1.
    """
    rows = list(read_trials(table))
    model = load_model(find(models_folder(models_dir), speaker_model))
    comparer = Comparer(
        SpeakerEncoder(model), model.calibration(), SpeechDetector, beside=table.parent
    )
    if not report(rows, comparer, jsonl=jsonl):
        raise typer.Exit(1)


def report(rows: list[Trial], comparer: Comparer, *, jsonl: bool) -> bool:
    """Judge all rows and print what they come to.

    Returns:
        Whether every row was well formed and its recordings could be read.
    """
    failed = False
    results: list[Result] = []
    for trial in track(rows, "Comparing", console=Console(stderr=True), transient=True):
        try:
            result = comparer.compare(trial)
        except (AudioError, InvalidRequest) as error:
            # One bad row must not cost the results of the others; silence is an answer.
            failed = failed or not isinstance(error, NotEnoughSpeech)
            sys.stderr.write(f"vivavoce: row {trial.row}: {error}\n")
            result = Result(trial=trial, raw=None, llr=None, score=None)
        results.append(result)
        if jsonl:
            typer.echo(json.dumps(_document(result)))
    accuracy = accuracy_of(results)
    if not jsonl:
        Console().print(_table(results))
    if accuracy is not None:
        # With --jsonl standard output is for the rows alone.
        Console(stderr=jsonl).print(_summary(accuracy))
    return not failed


def net_speech(path: Path, detector: FrameDetector, *, limit_s: float | None = None) -> Samples:
    """The net speech of a recording, by the rule of live calls; read only as far as needed.

    Args:
        path: a recording.
        detector: fresh or reset.
        limit_s: stop at so much net speech, in seconds.

    Returns:
        Shape (n,), at `CALL_RATE_HZ`.

    Raises:
        AudioError: the recording cannot be read.
    """
    collector = SpeechCollector(detector)
    limit = math.inf if limit_s is None else round(limit_s * CALL_RATE_HZ)
    found: list[Speech] = []
    for block in iter_recording(path):
        found += collector.push(block)
        if sum(len(speech.samples) for speech in found) >= limit:
            break
    else:
        found += collector.finish()
    speech = np.concatenate([np.zeros(0, np.int16), *(each.samples for each in found)])
    return speech if limit_s is None else speech[: int(limit)]


def read_trials(table: Path) -> Iterator[Trial]:
    """The rows of a table of trials; one that is malformed says so in `problem`.

    Raises:
        InvalidRequest: the file cannot be read, lacks a column, or has no row.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            missing = {"enrol", "test"} - set(reader.fieldnames or ())
            if missing:
                names = " and ".join(sorted(missing))
                raise InvalidRequest(f"{table} has no column {names} in its first line")
            count = 0
            for record in reader:
                count += 1
                yield _trial(reader.line_num, record)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidRequest(f"{table} cannot be read as a table: {error}") from error
    if count == 0:
        raise InvalidRequest(f"{table} has no rows")


def accuracy_of(results: list[Result]) -> Accuracy | None:
    """Error rates of the labelled results; None unless both labels are there.

    Nobody said who the speakers are: an enrolment (a set of paths) and a test recording stand for
    one each.
    """
    judged = [
        (result.trial, result.raw)
        for result in results
        if result.trial.label is not None and result.raw is not None
    ]
    labels = [trial.label is True for trial, _ in judged]
    if all(labels) or not any(labels):
        return None
    numbers: dict[tuple[str, str], int] = {}
    enrolled = [numbers.setdefault(("enrol", t.enrol), len(numbers)) for t, _ in judged]
    tested = [numbers.setdefault(("test", t.test), len(numbers)) for t, _ in judged]
    return verification_accuracy(
        Trials(
            scores=np.array([raw for _, raw in judged]),
            is_target=np.array(labels),
            enrolled=np.array(enrolled),
            tested=np.array(tested),
        ),
        fars=FARS,
    )


def _trial(row: int, record: dict[str | Any, str | Any]) -> Trial:
    def cell(name: str) -> str:
        return str(record.get(name) or "").strip()

    problems: list[str] = []
    if None in record:
        problems.append("more cells than columns")
    if not _paths(cell("enrol")):
        problems.append("enrol is empty")
    if not cell("test"):
        problems.append("test is empty")
    seconds = _number(cell("seconds"))
    if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
        problems.append(f"seconds is {cell('seconds')!r}, not a positive number")
    label = cell("label").casefold()
    if label and label not in _SAME | _DIFFERENT:
        problems.append(f"label is {cell('label')!r}, not 1 (same) or 0 (different)")
    return Trial(
        row=row,
        enrol=cell("enrol"),
        test=cell("test"),
        seconds=seconds,
        label=True if label in _SAME else False if label in _DIFFERENT else None,
        problem="; ".join(problems),
    )


def _number(text: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return math.nan


def _paths(joined: str) -> list[str]:
    return [part.strip() for part in joined.split(";") if part.strip()]


def _document(result: Result) -> dict[str, Any]:
    label = result.trial.label
    return {
        "enrol": result.trial.enrol,
        "test": result.trial.test,
        "label": None if label is None else int(label),
        "raw": None if result.raw is None else round(result.raw, 6),
        "llr": None if result.llr is None else round(result.llr, 4),
        "score": result.score,
    }


def _table(results: list[Result]) -> Table:
    table = Table()
    for heading in ("Row", "Enrolled", "Test", "Raw", "LLR", "Score", "Label"):
        table.add_column(heading)
    for result in results:
        trial = result.trial
        table.add_row(
            str(trial.row),
            trial.enrol,
            trial.test,
            "-" if result.raw is None else f"{result.raw:.4f}",
            "-" if result.llr is None else f"{result.llr:+.2f}",
            "not judged" if result.score is None else str(result.score),
            {True: "same", False: "different", None: ""}[trial.label],
        )
    return table


def _summary(accuracy: Accuracy) -> str:
    lines = [
        f"{accuracy.targets} trials of the same speaker, {accuracy.nontargets} of different ones",
        f"EER {_percent(accuracy.eer)}",
    ]
    for far, estimate in accuracy.frr_at.items():
        rate = f"FRR at FAR {100 * far:g} %"
        if estimate is None:
            lines.append(f"{rate}: needs {round(1 / far)} trials of different speakers")
        else:
            lines.append(f"{rate} {_percent(estimate)}")
    return "\n".join(lines)


def _percent(rate: Estimate) -> str:
    return f"{100 * rate.value:.2f} % (95 %: {100 * rate.low:.2f} to {100 * rate.high:.2f})"
