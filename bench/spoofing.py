"""How well spoofs are told from living voices: `python -m bench.spoofing --work build/spoof`.

By ISO/IEC 30107-3: APCER is the share of attacks of one species that pass as genuine, stated at a
share of genuine calls wrongly flagged (BPCER); the worst species comes first, no mean hides it.

Everything stands on `training/spoof`'s table of scores: each call was scored by a model that has
heard neither its synthesiser, nor its genuine corpus, nor the devices that played it back.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.markdown import row, share
from training import provenance
from training.spoof.calibrate import calibrate, joint_risk
from training.spoof.export import model_path
from training.spoof.folds import FINAL, FOLDS
from training.spoof.scores import SECONDS, Scored, classes, eer, raw_scores, read_scores
from training.spoof.sources import DEFAULT_WORK_DIR, GENUINE, MEASURE_ONLY_SETS
from training.spoof.strange import STRANGE, Strange, read_strange
from training.spoof.takes import NO_PLAYBACK, data_hash
from vivavoce.models.card import load_model
from vivavoce.models.spoof import SpoofDetector
from vivavoce.scoring.calibration import Calibration
from vivavoce.scoring.metrics import Scores
from vivavoce.scoring.spoofing import VERDICTS, SpoofEvidence

REPORTED_S = 10.0
BPCERS = (0.05, 0.01)
_FEWEST_CALLS = 10


def report(work: Path, rounds: int) -> Iterator[str]:
    """The whole report, line by line."""
    scored = read_scores(work)
    left_out = [s for s in scored if s.fold != FINAL]
    at = {seconds: [s for s in left_out if s.wanted_s == seconds] for seconds in SECONDS}
    final = [s for s in scored if s.fold == FINAL and s.wanted_s == REPORTED_S]
    path = model_path(work, FINAL)
    yield from _head(work, path)
    yield from _systems(at[REPORTED_S], rounds)
    yield from _pooled("net speech", [(f"{s:g} s", at[s]) for s in SECONDS], rounds)
    lines = sorted({s.line for s in left_out})
    yield from _pooled(
        "line", [(line, [s for s in at[REPORTED_S] if s.line == line]) for line in lines], rounds
    )
    yield from _corpora(at, path)
    yield from _between_corpora(at[REPORTED_S])
    yield from _strange(work, left_out, path)
    yield from _pages(final, _calibrations(left_out, path))


def _head(work: Path, path: Path) -> Iterator[str]:
    model = load_model(path)
    yield f"# {model.card.name}: synthetic speech and playback over the telephone"
    yield ""
    yield f"- made by: `{' '.join(['python -m bench.spoofing', *sys.argv[1:]])}`"
    yield f"- commit: {provenance.commit()}"
    yield f"- machine: {provenance.machine()}; one thread"
    yield f"- data: {data_hash(work)}; recipe: {model.card.extra.get('recipe', '')}"
    yield f"- cost: {_cost(SpoofDetector(model)):.2%} of real time on one core"
    yield ""
    yield (
        "Intervals are of 95 %: of EER by drawing voices anew, of shares by Clopper and Pearson. "
        "A call on fewer seconds of speech than its table says is one of a voice that has no more."
    )


def _systems(scored: Sequence[Scored], rounds: int) -> Iterator[str]:
    """Each species against all genuine calls, each scored by a model that had not heard it."""
    yield ""
    yield f"## Left-out systems and corpora, {REPORTED_S:g} s, worst species first"
    yield ""
    yield (
        "Each synthesis system was left out of the training of the model that scores it, and so "
        "was each genuine corpus; the threshold is one for all."
    )
    yield ""
    yield from _table_head("species")
    rows: list[tuple[float, str]] = []
    genuine, synthetic = classes(scored, "synthetic")
    for system, corpus in {(s.system, s.corpus) for s in synthetic}:
        spoofs = [s for s in synthetic if (s.system, s.corpus) == (system, corpus)]
        rows.append(_rates(f"{system} ({corpus})", genuine, spoofs, "synthetic", rounds))
    _, played = classes(scored, "playback")
    for fold in FOLDS:
        here = [s for s in played if s.fold == fold]
        if len(here) >= _FEWEST_CALLS:
            rows.append(_rates(f"playback, callers of {fold!r}", genuine, here, "playback", rounds))
    for _, line in sorted(rows, reverse=True):
        yield line
    for verdict in VERDICTS:
        live, spoofs = classes(scored, verdict)
        yield _rates(f"**{verdict}, pooled**", live, spoofs, verdict, rounds)[1]


def _pooled(by: str, groups: Sequence[tuple[str, Sequence[Scored]]], rounds: int) -> Iterator[str]:
    yield ""
    yield f"## Pooled, by {by}"
    yield ""
    yield from _table_head(by)
    for verdict in VERDICTS:
        for name, scored in groups:
            live, spoofs = classes(scored, verdict)
            yield _rates(f"{name}, {verdict}", live, spoofs, verdict, rounds)[1]


def _corpora(at: dict[float, list[Scored]], path: Path) -> Iterator[str]:
    yield ""
    yield f"## Genuine callers of left-out corpora, {REPORTED_S:g} s"
    yield ""
    yield "Calibrated on the other folds; 1 % at risk 50 is promised."
    yield ""
    yield "| corpus | calls | synthetic, mean and deviation | playback | at risk 50 |"
    yield "| --- | --- | --- | --- | --- |"
    flagged_of_all: list[bool] = []
    for fold in FOLDS:
        others = [s for scored in at.values() for s in scored if s.fold != fold]
        calibrations = _calibrations(others, path)
        here = [s for s in at[REPORTED_S] if s.fold == fold]
        genuine = [s for s in here if s.label == GENUINE and s.playback == NO_PLAYBACK]
        for corpus in sorted({s.corpus for s in genuine}):
            calls = [s for s in genuine if s.corpus == corpus]
            flagged = [_risk(calibrations, s) >= 50 for s in calls]
            flagged_of_all += flagged
            cells = [
                f"{np.mean(raw):+.2f} {np.std(raw):.2f}"
                for raw in (raw_scores(calls, verdict) for verdict in VERDICTS)
            ]
            yield row(corpus, len(calls), *cells, share(flagged))
    yield row("**all**", len(flagged_of_all), "", "", share(flagged_of_all))


def _between_corpora(scored: Sequence[Scored]) -> Iterator[str]:
    """Genuine against genuine: what a detector makes of a corpus alone."""
    yield ""
    yield "## When only the corpus differs"
    yield ""
    yield (
        "EER of genuine calls of one left-out corpus against those of another, by the synthetic "
        "score: 50 % says that the corpus does not count. The larger of both directions is shown "
        "as its distance from 50 %."
    )
    yield ""
    yield "| corpora | calls | EER |"
    yield "| --- | --- | --- |"
    genuine, _ = classes(scored, "synthetic")
    sizes = {c: sum(s.corpus == c for s in genuine) for c in {s.corpus for s in genuine}}
    names = sorted(c for c, size in sizes.items() if size >= _FEWEST_CALLS)
    for index, one in enumerate(names):
        for other in names[index + 1 :]:
            a = raw_scores([s for s in genuine if s.corpus == one], "synthetic")
            b = raw_scores([s for s in genuine if s.corpus == other], "synthetic")
            found = eer(a, b)
            yield row(f"{one}, {other}", f"{len(a)}, {len(b)}", f"{found:.1%}")


def _pages(scored: Sequence[Scored], calibrations: dict[str, Calibration]) -> Iterator[str]:
    """The final model on what was kept for measuring."""
    yield ""
    yield "## The final model on what was kept for measuring"
    yield ""
    yield "| what | system | calls | at risk 50 | at risk 75 |"
    yield "| --- | --- | --- | --- | --- |"

    def kind(s: Scored) -> tuple[str, str, str]:
        pages = "pages" if s.corpus in MEASURE_ONLY_SETS else s.corpus
        what = s.label if s.playback == NO_PLAYBACK else f"{s.label}, played back"
        return f"{what}, {pages}", s.system, s.playback

    for what in sorted({kind(s) for s in scored}):
        calls = [s for s in scored if kind(s) == what]
        risks = [_risk(calibrations, s) for s in calls]
        yield row(
            *what[:2],
            len(calls),
            share([r >= 50 for r in risks]),
            share([r >= 75 for r in risks]),
        )


def _rates(
    name: str, genuine: Sequence[Scored], spoofs: Sequence[Scored], verdict: str, rounds: int
) -> tuple[float, str]:
    """APCER at the first BPCER, and the row."""
    live, fake = raw_scores(genuine, verdict), raw_scores(spoofs, verdict)
    cells: list[str] = []
    shares: list[float] = []
    for bpcer in BPCERS:
        missed = fake <= np.quantile(live, 1 - bpcer)
        shares.append(float(missed.mean()))
        cells.append(share(missed.tolist()))
    low, high = _interval(genuine, spoofs, verdict, rounds)
    return shares[0], row(name, len(fake), f"{eer(live, fake):.1%} ({low:.1%}..{high:.1%})", *cells)


def _interval(
    genuine: Sequence[Scored], spoofs: Sequence[Scored], verdict: str, rounds: int
) -> tuple[float, float]:
    """Of the EER, by drawing the voices of each class anew."""
    rng = np.random.default_rng(0)
    classes = [_by_voice(genuine, verdict), _by_voice(spoofs, verdict)]
    drawn: list[float] = []
    for _ in range(rounds):
        live, fake = (
            np.concatenate([voices[i] for i in rng.integers(len(voices), size=len(voices))])
            for voices in classes
        )
        drawn.append(eer(live, fake))
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
    return low, high


def _by_voice(scored: Sequence[Scored], verdict: str) -> list[Scores]:
    voices: dict[tuple[str, str, str], list[Scored]] = {}
    for s in scored:
        voices.setdefault((s.corpus, s.system, s.speaker), []).append(s)
    return [raw_scores(calls, verdict) for calls in voices.values()]


def _calibrations(scored: Sequence[Scored], path: Path) -> dict[str, Calibration]:
    return {verdict: calibrate(scored, verdict, path) for verdict in VERDICTS}


def _strange(work: Path, left_out: Sequence[Scored], path: Path) -> Iterator[str]:
    """What cannot be judged, and what it would come to if it were."""
    yield ""
    yield "## Audio unlike the training"
    yield ""
    yield (
        "Genuine calls of left-out corpora, and what was done to them; calibrated on the other "
        "folds. At certainty 0 a call is not judged; risk 50 is reached with the certainty, and "
        "would be without it."
    )
    yield ""
    yield row("audio", "calls", "certain (1)", "below 0.5", "not judged (0)", "risk 50", "without")
    yield row(*["---"] * 7)
    strange = read_strange(work)
    of_others = {
        fold: _calibrations([s for s in left_out if s.fold != fold], path) for fold in FOLDS
    }
    for kind in STRANGE:
        calls = [s for s in strange if s.kind == kind]
        certainties = np.array([s.certainty for s in calls])
        yield row(
            kind,
            len(calls),
            *(f"{flags.mean():.0%}" for flags in (certainties == 1, certainties < 0.5)),
            f"{(certainties == 0).mean():.0%}",
            share([_risk(of_others[s.fold], s) >= 50 for s in calls]),
            share([_risk(of_others[s.fold], replace(s, certainty=1.0)) >= 50 for s in calls]),
        )


def _risk(calibrations: dict[str, Calibration], s: Scored | Strange) -> int:
    return joint_risk(
        calibrations, (s.synthetic, s.played_back), seconds=s.net_s, certainty=s.certainty
    )


def _cost(detector: SpoofDetector) -> float:
    """Seconds of one core for a second of net speech."""
    audio = np.random.default_rng(0).standard_normal(30 * 8000).astype(np.float32) * 0.1
    evidence: SpoofEvidence = detector.judge(audio)
    began = time.process_time()
    for _ in range(10):
        evidence = detector.judge(audio)
    return (time.process_time() - began) / (10 * float(evidence.windows[-1, 1]))


def _table_head(first: str) -> Iterator[str]:
    yield row(first, "calls", "EER", *(f"APCER at BPCER {bpcer:.0%}" for bpcer in BPCERS))
    yield row(*["---"] * (3 + len(BPCERS)))


def main() -> int:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=DEFAULT_WORK_DIR, help="of training/spoof")
    parser.add_argument("--rounds", type=int, default=300, help="draws for intervals of EER")
    arguments = parser.parse_args()
    if not (arguments.work / "scores.csv").exists():
        print(f"{arguments.work} has no scores: run training/spoof/make_model.sh", file=sys.stderr)
        return 1
    for line in report(arguments.work, arguments.rounds):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
