"""Measure on the unheard, calibrate from it, and print the report as Markdown.

    python -m training.spoof.evaluate --work DIR --report FILE

Needs the final model and the model of every fold. Everything in the first two tables was scored by
a fold's model that had heard neither the synthesiser nor the genuine corpus; the same scores make
the calibration of the final model, which is then tried on voices that neither training nor
calibration has met.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from training import provenance
from training.spoof.calls import LINES, Call, make_calls
from training.spoof.folds import FINAL, FOLDS
from training.spoof.measures import apcer_at_bpcer, equal_error_rate, fit_condition
from training.spoof.prepare import DEFAULT_WORK_DIR, Take, data_hash, read_takes
from training.spoof.sources import GENUINE, MEASURE_ONLY_SETS, SPOOF
from training.spoof.train import MODEL_NAME, model_path
from training.spoof.vocoders import VOCODERS
from vivavoce.models.card import load_model, sha256_of
from vivavoce.models.spoof import SpoofDetector
from vivavoce.scoring.calibration import Calibration, write_calibration
from vivavoce.scoring.scale import risk_score

CONDITIONS_S = (3.0, 5.0, 10.0, 20.0)
REPORTED_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A call and what a model made of it; `fold` names the model."""

    call: Call
    fold: str
    raw: float


def load_detector(work: Path, model: str) -> SpoofDetector:
    """The detector around a trained model in the work folder."""
    return SpoofDetector(load_model(model_path(work, model)))


def score_unheard(
    work: Path, takes: list[Take], samples: np.ndarray, *, seconds: float
) -> list[Scored]:
    """What each fold's model says of what it did not hear."""
    scored: list[Scored] = []
    for name, fold in FOLDS.items():
        detector = load_detector(work, name)
        unheard = [
            take
            for take in takes
            if take.trains and fold.leaves_out(take) and take.system not in VOCODERS
        ]
        scored += [
            Scored(call=call, fold=name, raw=detector.judge(call.audio))
            for call in _even_calls(unheard, samples, seconds=seconds)
        ]
    return scored


def _even_calls(takes: Iterable[Take], samples: np.ndarray, *, seconds: float) -> list[Call]:
    """Calls with no corpus or system above 300, and no single voice that speaks for many."""
    most = 60 if seconds < 5 else 30
    by_kind: dict[tuple[str, str], list[Call]] = {}
    for call in make_calls(takes, samples, seconds=seconds, most=most):
        by_kind.setdefault((call.corpus, call.system), []).append(call)
    rng = np.random.default_rng(0)
    chosen: list[Call] = []
    for calls in by_kind.values():
        picked = rng.permutation(len(calls))[:300]
        chosen += [calls[index] for index in sorted(picked)]
    return chosen


def calibrate(scored: dict[float, list[Scored]], path: Path, *, without: str = "") -> Calibration:
    """The calibration that follows from scores by seconds; `without` leaves a fold's out."""
    conditions = tuple(
        fit_condition(
            _raw(scored[seconds], GENUINE, lambda s: s.fold != without),
            _raw(scored[seconds], SPOOF, lambda s: s.fold != without),
            seconds=seconds,
        )
        for seconds in sorted(scored)
    )
    return Calibration(model=MODEL_NAME, model_sha256=sha256_of(path), conditions=conditions)


def _raw(
    scored: Iterable[Scored], label: str, also: Callable[[Scored], bool] = lambda _: True
) -> np.ndarray:
    return np.array([s.raw for s in scored if s.call.label == label and also(s)])


def table_of_systems(scored: list[Scored]) -> list[str]:
    """EER and APCER of each synthesiser, worst first, against the genuine calls of its fold."""
    rows: list[tuple[float, str]] = []
    for fold in FOLDS:
        genuine = _raw(scored, GENUINE, lambda s, fold=fold: s.fold == fold)
        kinds = {
            (s.call.system, s.call.corpus)
            for s in scored
            if s.fold == fold and s.call.label == SPOOF
        }
        for system, corpus in kinds:
            spoof = _raw(
                scored, SPOOF, lambda s, k=(system, corpus): (s.call.system, s.call.corpus) == k
            )
            missed = apcer_at_bpcer(genuine, spoof, 0.05)
            rows.append((missed, f"| {system} ({corpus}) | {_rates(genuine, spoof)}"))
    rows.sort(reverse=True)
    genuine, spoof = _raw(scored, GENUINE), _raw(scored, SPOOF)
    return [
        "| left-out system | calls | EER | APCER at BPCER 5 % | APCER at BPCER 1 % |",
        "| --- | --- | --- | --- | --- |",
        *(row for _, row in rows),
        f"| **pooled** | {_rates(genuine, spoof)}",
    ]


def table_of_corpora(scored: dict[float, list[Scored]], path: Path) -> list[str]:
    """Genuine callers of left-out corpora flagged at risk 50, calibrated on the other folds."""
    lines = [
        "| left-out genuine corpus | calls | raw mean | raw deviation | flagged at risk 50 |",
        "| --- | --- | --- | --- | --- |",
    ]
    for fold in FOLDS:
        calibration = calibrate(scored, path, without=fold)
        here = [s for s in scored[REPORTED_S] if s.fold == fold and s.call.label == GENUINE]
        for corpus in sorted({s.call.corpus for s in here}):
            calls = [s for s in here if s.call.corpus == corpus]
            raw = np.array([s.raw for s in calls])
            flagged = np.mean([_risk(calibration, s.raw, s.call) >= 50 for s in calls])
            lines.append(
                f"| {corpus} | {len(calls)} | {raw.mean():.2f} | {raw.std():.2f} | {flagged:.1%} |"
            )
    return lines


def table_of_checks(
    detector: SpoofDetector, calibration: Calibration, takes: list[Take], samples: np.ndarray
) -> list[str]:
    """The final model on voices that neither training nor calibration has met."""
    lines = [
        "| voice | line | net speech | calls | lowest, median, highest risk | at risk 50 or more |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    checked = [take for take in takes if not take.trains and take.corpus not in MEASURE_ONLY_SETS]
    for seconds in (10.0, 30.0):
        by_voice: dict[tuple[str, str], list[int]] = {}
        for call in make_calls(checked, samples, seconds=seconds, most=16):
            if call.seconds < seconds * 0.8:
                continue
            risk = _risk(calibration, detector.judge(call.audio), call)
            line = call.line if call.label == GENUINE else "all"
            by_voice.setdefault((call.speaker, line), []).append(risk)
        for (voice, line), risks in sorted(by_voice.items()):
            low, middle, high = min(risks), int(np.median(risks)), max(risks)
            share = np.mean([risk >= 50 for risk in risks])
            lines.append(
                f"| {voice} | {line} | {seconds:.0f} s | {len(risks)} | {low}, {middle}, {high}"
                f" | {share:.0%} |"
            )
    return lines


def table_of_pages(
    detector: SpoofDetector, calibration: Calibration, takes: list[Take], samples: np.ndarray
) -> list[str]:
    """The same voices genuine and synthetic: does it hear the synthesis or the corpus?"""
    shown = [take for take in takes if take.corpus in MEASURE_ONLY_SETS]
    # Single clips: the pages mix speakers, and a call has one.
    clips = list(make_calls([_alone(take) for take in shown], samples, seconds=8.0, most=1))
    scored = [Scored(call=call, fold=FINAL, raw=detector.judge(call.audio)) for call in clips]
    genuine = _raw(scored, GENUINE)
    flagged = np.mean(
        [_risk(calibration, s.raw, s.call) >= 50 for s in scored if not s.call.system]
    )
    rows: list[tuple[float, str]] = []
    for system in sorted({s.call.system for s in scored if s.call.system}):
        spoof = _raw(scored, SPOOF, lambda s, system=system: s.call.system == system)
        missed = apcer_at_bpcer(genuine, spoof, 0.05)
        rows.append((missed, f"| {system} | {_rates(genuine, spoof)}"))
    rows.sort(reverse=True)
    return [
        f"Of {len(genuine)} genuine clips of the same pages, {flagged:.1%} at risk 50 or more.",
        "",
        "| system | clips | EER | APCER at BPCER 5 % | APCER at BPCER 1 % |",
        "| --- | --- | --- | --- | --- |",
        *(row for _, row in rows),
        f"| **pooled** | {_rates(genuine, _raw(scored, SPOOF))}",
    ]


def _alone(take: Take) -> Take:
    """The take as the only one of its voice."""
    return replace(take, speaker=f"{take.speaker}/{take.source}")


def _rates(genuine: np.ndarray, spoof: np.ndarray) -> str:
    return (
        f"{len(spoof)} | {equal_error_rate(genuine, spoof):.1%}"
        f" | {apcer_at_bpcer(genuine, spoof, 0.05):.1%}"
        f" | {apcer_at_bpcer(genuine, spoof, 0.01):.1%} |"
    )


def _risk(calibration: Calibration, raw: float, call: Call) -> int:
    return risk_score(calibration.apply(raw, seconds=call.seconds).log10_p)


def cost(detector: SpoofDetector) -> float:
    """Seconds of one core for a second of net speech."""
    audio = np.random.default_rng(0).standard_normal(30 * 8000).astype(np.float32) * 0.1
    detector.judge(audio)
    began = time.process_time()
    for _ in range(10):
        detector.judge(audio)
    return (time.process_time() - began) / 300


def report(work: Path, calibration_path: Path) -> str:
    """Score, calibrate (writes the calibration), and say it all in Markdown."""
    takes, samples = read_takes(work)
    data, path = data_hash(work), model_path(work, FINAL)
    scored = {
        seconds: score_unheard(work, takes, samples, seconds=seconds) for seconds in CONDITIONS_S
    }
    calibration = calibrate(scored, path)
    write_calibration(
        calibration_path,
        calibration,
        made_from={
            "script": "training/spoof/evaluate.py",
            "data": data,
            "scores": "models of the folds on left-out systems and left-out genuine corpora",
            "genuine_calls": {f"{s:g}": len(_raw(scored[s], GENUINE)) for s in scored},
            "spoof_calls": {f"{s:g}": len(_raw(scored[s], SPOOF)) for s in scored},
        },
    )
    unheard = _raw(scored[REPORTED_S], GENUINE), _raw(scored[REPORTED_S], SPOOF)
    measured = {
        "model_sha256": sha256_of(path),
        "left-out systems and corpora, 10 s, EER": f"{equal_error_rate(*unheard):.1%}",
        "left-out systems and corpora, 10 s, APCER at BPCER 5 %": (
            f"{apcer_at_bpcer(*unheard, 0.05):.1%}"
        ),
        "report": "bench/results/spoof-v1.md",
    }
    (path.parent / "measured.json").write_text(json.dumps(measured, indent=2) + "\n")
    detector = load_detector(work, FINAL)
    recipe = load_model(path).card.extra.get("recipe", "")
    by_seconds = [
        f"| {seconds:g} s | {_rates(_raw(calls, GENUINE), _raw(calls, SPOOF))}"
        for seconds, calls in scored.items()
    ]
    by_line = [
        f"| {line} | "
        + _rates(
            _raw(scored[REPORTED_S], GENUINE, lambda s, line=line: s.call.line == line),
            _raw(scored[REPORTED_S], SPOOF, lambda s, line=line: s.call.line == line),
        )
        for line in LINES
    ]
    head = "spoof calls | EER | APCER at BPCER 5 % | APCER at BPCER 1 % |"
    rule = "| --- | --- | --- | --- | --- |"
    return "\n".join(
        [
            f"# {MODEL_NAME}: synthetic speech over the telephone",
            "",
            f"Commit: {provenance.commit()}. Made by `python -m training.spoof.evaluate`.",
            f"Machine: {provenance.machine()}; one thread.",
            f"Data: {data}. Model: {sha256_of(path)[:12]}. Recipe: {recipe}.",
            f"Cost: {cost(detector):.2%} of real time on one core.",
            "",
            f"## Systems and corpora left out together, {REPORTED_S:g} s, worst first",
            "",
            *table_of_systems(scored[REPORTED_S]),
            "",
            "A voice with less speech than that is judged on what there is.",
            "",
            "## The same by net speech, pooled",
            "",
            f"| net speech | {head}",
            rule,
            *by_seconds,
            "",
            f"## The same by line, {REPORTED_S:g} s, pooled",
            "",
            f"| line | {head}",
            rule,
            *by_line,
            "",
            f"## Genuine callers of left-out corpora, {REPORTED_S:g} s",
            "",
            "Calibrated on the other folds; 1 % is promised.",
            "",
            *table_of_corpora(scored, path),
            "",
            "## The final model on pages kept for measuring",
            "",
            *table_of_pages(detector, calibration, takes, samples),
            "",
            "## The final model on the demo's voices, none of them ever heard",
            "",
            *table_of_checks(detector, calibration, takes, samples),
            "",
        ]
    )


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=DEFAULT_WORK_DIR)
    parser.add_argument("--report", type=Path, help="also write the report to this file")
    arguments = parser.parse_args()
    calibration = model_path(arguments.work, FINAL).with_suffix(".calibration.json")
    text = report(arguments.work, calibration)
    print(text)
    if arguments.report:
        arguments.report.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
