"""`vivavoce score`."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from vivavoce.audio.arrays import CALL_RATE_HZ, Samples
from vivavoce.audio.quality import QualityMeter
from vivavoce.audio.recording import read_recording
from vivavoce.call.speech import collect_net_speech
from vivavoce.cli.offline import offline_models
from vivavoce.errors import AudioError, InvalidRequest
from vivavoce.models.engines import Models
from vivavoce.scoring.judge import Judge
from vivavoce.scoring.spoofing import JUDGED_S, VERDICTS, SpoofEvidence


def score(
    recordings: Annotated[
        list[Path] | None, typer.Argument(metavar="WAV...", help="Recordings to judge.")
    ] = None,
    *,
    from_list: Annotated[
        Path | None, typer.Option(help="A text file with one recording a line.")
    ] = None,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", "--json", help="Print one JSON object a recording.")
    ] = False,
    channel: Annotated[
        int | None, typer.Option(min=0, help="The caller's channel, counted from 0.")
    ] = None,
    models_dir: Annotated[
        Path | None, typer.Option(envvar="VIVAVOCE_MODELS_DIR", help="Folder for pulled models.")
    ] = None,
) -> None:
    """Judge each recording by itself, without a server: net speech, quality, spoof evidence.

    A positive log-likelihood ratio (LLR) speaks for a spoof; risk 50 is reached by 1 % of genuine
    callers. JSON has both also for synthetic speech and for playback alone.
    """
    paths = [*(recordings or []), *_listed(from_list)]
    if not paths:
        raise typer.BadParameter("name recordings, or a list of them with --from-list FILE")
    models = offline_models(models_dir)
    failed = False
    rows: list[dict[str, Any]] = []
    progress = Console(stderr=True, quiet=jsonl or len(paths) == 1)
    for path in track(paths, "Judging", console=progress):
        try:
            row = judge_recording(path, models, channel=channel)
        except AudioError as error:
            # One bad file must not cost the results of the others.
            failed = True
            sys.stderr.write(f"vivavoce: {error}\n")
            continue
        rows.append(row)
        if jsonl:
            typer.echo(json.dumps(row))
    if rows and not jsonl:
        _print_table(rows)
    if failed:
        raise typer.Exit(1)


def judge_recording(path: Path, models: Models, *, channel: int | None) -> dict[str, Any]:
    """What is to be said about one recording, as `score --jsonl` prints it.

    Raises:
        AudioError: the recording cannot be read, or has no such channel.
    """
    samples = read_recording(path, channel=channel).samples
    speech = collect_net_speech(samples, models.new_detector())
    seconds = len(speech) / CALL_RATE_HZ
    evidence = models.spoof_evidence(speech) if seconds >= JUDGED_S else None
    return {
        "file": str(path),
        "net_speech_s": round(seconds, 3),
        "quality": _quality(samples, speech, evidence),
        "spoof": _spoof(evidence, models.judge, seconds=seconds),
    }


def _spoof(evidence: SpoofEvidence | None, judge: Judge, *, seconds: float) -> dict[str, Any]:
    verdict = None if evidence is None else judge.spoof(evidence, seconds=seconds)
    if verdict is None or verdict.certainty == 0:
        unjudged = {"llr": None, "risk": None}
        return {**unjudged, **dict.fromkeys(VERDICTS, unjudged)}
    apart = {
        name: {"llr": round(calibrated.llr, 4), "risk": verdict.risk_of(name)}
        for name, calibrated in verdict.by_verdict.items()
    }
    return {"llr": round(verdict.llr, 4), "risk": verdict.risk, **apart}


def _quality(samples: Samples, speech: Samples, evidence: SpoofEvidence | None) -> str:
    meter = QualityMeter()
    meter.add_audio(samples)
    meter.add_speech(speech)
    return meter.verdict(certainty=1.0 if evidence is None else evidence.certainty)


def _listed(from_list: Path | None) -> list[Path]:
    if from_list is None:
        return []
    try:
        lines = from_list.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{from_list} cannot be read as a list of files: {error}") from error
    return [Path(line.strip()) for line in lines if line.strip()]


def _print_table(rows: list[dict[str, Any]]) -> None:
    table = Table()
    for heading in ("File", "Net speech", "Quality", "Spoof LLR", "Spoof risk"):
        table.add_column(heading)
    for row in rows:
        spoof = row["spoof"]
        judged = spoof["llr"] is not None
        table.add_row(
            row["file"],
            f"{row['net_speech_s']:.1f} s",
            row["quality"],
            f"{spoof['llr']:+.2f}" if judged else "-",
            str(spoof["risk"]) if judged else "not judged",
        )
    Console().print(table)
