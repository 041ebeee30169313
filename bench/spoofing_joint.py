"""Spoofing and verification together: `python -m bench.spoofing_joint --work build/spoof`.

`bench.spoofing` says how well spoofs are told from voices, `bench.verification` how well voices are
told apart. Here each call is made in the name of an enrolled caller, and what counts is whether it
is let in: by the caller, by another one, by a copy of the caller's voice or by its playback. The
trials are those of `training/spoof/enrolled.py` and `turns.py`.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from bench.markdown import row, share
from training import provenance
from training.calibration import fit_condition
from training.spoof.calibrate import (
    SPOOF_OF,
    TRIALS_TAIL_SHARE,
    calibrate,
    correction,
    joint_risk,
)
from training.spoof.enrolled import CALL_S, ENROLMENT_S, KINDS, Trial, read_trials
from training.spoof.export import MODEL_NAME, model_path
from training.spoof.folds import FINAL, FOLDS
from training.spoof.scores import Scored, eer, read_scores
from training.spoof.sources import DEFAULT_WORK_DIR
from training.spoof.takes import data_hash
from training.spoof.turns import Spliced, read_spliced
from vivavoce.models.card import load_model, sha256_of
from vivavoce.models.registry import DEFAULT_SPEAKER_MODEL, find, models_folder
from vivavoce.scoring.calibration import Calibration, Correction
from vivavoce.scoring.metrics import Labels, Scores, a_dcf, clopper_pearson
from vivavoce.scoring.scale import authentication_score
from vivavoce.scoring.spoofing import VERDICTS

LEAST_SCORE, FLAGGED_RISK = 90, 50
"""A caller is accepted from this authentication score on, and below this spoofing risk."""

ALONE, DETECTION = "verification alone", "and spoof detection"
DETECTION_OF_TRIALS, REFERENCE = "the same, calibrated on trials", "and the enrolment as reference"

ByFold: TypeAlias = Mapping[str, Mapping[str, Calibration]]
"""Calibrations by fold and verdict, made from the other folds."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decided:
    """What one system makes of the trials.

    Attributes:
        scores: authentication score of each trial, shape (n,); minus infinity where it is flagged.
        accepted: shape (n,).
    """

    scores: Scores
    accepted: Labels


def report(work: Path, rounds: int) -> Iterator[str]:
    """The whole report, line by line."""
    trials, path = read_trials(work), model_path(work, FINAL)
    of_calls = _of_calls([s for s in read_scores(work) if s.fold != FINAL], path)
    of_trials = _of_trials(trials, path)
    systems = _systems(trials, of_calls, of_trials)
    yield from _head(work, trials)
    yield from _accepted(trials, systems)
    yield from _costs(trials, systems, rounds)
    yield from _references(trials, of_trials, rounds)
    yield from _spliced(read_spliced(work), of_calls)


def _head(work: Path, trials: Sequence[Trial]) -> Iterator[str]:
    callers = {kind: len({t.speaker for t in trials if t.kind == kind}) for kind in KINDS}
    yield "# Spoofing of enrolled callers"
    yield ""
    yield f"- made by: `{' '.join(['python -m bench.spoofing_joint', *sys.argv[1:]])}`"
    yield f"- commit: {provenance.commit()}"
    yield f"- machine: {provenance.machine()}"
    yield f"- data: {data_hash(work)}"
    yield (
        f"- {callers['genuine']} callers enrolled with up to {ENROLMENT_S:g} s of net speech; "
        f"copied are {callers['copy']} of them, played back {callers['playback']}; calls of up to "
        f"{CALL_S:g} s"
    )
    yield ""
    yield (
        "Speakers, words, and the devices that play back are unheard by the model that scores "
        "them. **The vocoders that copy are not**: every model trained on copies by them, of other "
        "speakers, so unheard synthesis does worse; see `spoofing.md`. A copy by conversion is "
        "meant to sound like somebody else. Enrolment and calls are of one recording session and "
        "through lines drawn apart. Speakers under whose name several people were found are left "
        "out; that was found with the speaker model itself, and flatters it a little. Intervals "
        "are of 95 %: of shares by Clopper and Pearson, otherwise by drawing speakers anew."
    )


def _accepted(trials: Sequence[Trial], systems: Mapping[str, Decided]) -> Iterator[str]:
    yield ""
    yield f"## Accepted: score {LEAST_SCORE} or more, risk below {FLAGGED_RISK}"
    yield ""
    yield (
        f"What a risk means is known from the other folds: for *{DETECTION}* from their calls in "
        "`bench.spoofing`, as in the product; for the last two columns from their genuine trials "
        "here, which are fewer, so compare those two with each other."
    )
    yield ""
    yield row("in the name of an enrolled caller", "trials", *systems)
    yield row(*["---"] * (2 + len(systems)))
    rows: list[tuple[str, Callable[[Trial], bool]]] = [
        ("the caller", lambda t: t.kind == "genuine"),
        ("another caller", lambda t: t.kind == "impostor"),
        ("playback, unheard devices", lambda t: t.kind == "playback"),
        ("**copy, any vocoder**", lambda t: t.kind == "copy"),
        *(
            (f"{vocoder} (heard in training)", _made_by(vocoder))
            for vocoder in sorted({t.system for t in trials if t.kind == "copy"})
        ),
    ]
    for name, belongs in rows:
        mask = np.array([belongs(t) for t in trials])
        yield row(name, mask.sum(), *(share(s.accepted[mask]) for s in systems.values()))


def _costs(trials: Sequence[Trial], systems: Mapping[str, Decided], rounds: int) -> Iterator[str]:
    yield ""
    yield "## Cost of decisions: a-DCF"
    yield ""
    yield (
        "Shim et al., 2024, with the parameters of its a-DCF1: priors 0.9 for the caller, 0.05 for "
        "another one, 0.05 for a spoof; costs 1 for refusing the caller, 10 for accepting another "
        "one, 20 for accepting a spoof. 1 is refusing everybody. *Least*: at the best "
        "authentication score to ask for, with the same risk."
    )
    yield ""
    kinds = list(SPOOF_OF.values())
    yield row(
        "system",
        *(f"{kind}, at {LEAST_SCORE} | {kind}, least (at score)" for kind in kinds),
    )
    yield row(*["---"] * (1 + 2 * len(kinds)))
    for name, system in systems.items():
        cells: list[str] = []
        for kind in kinds:
            cost = _cost_of(trials, system, kind)
            drawn = [cost(draw, LEAST_SCORE) for draw in _draws(trials, rounds)]
            everyone = np.arange(len(trials))
            at = {score: cost(everyone, score) for score in range(102)}
            best = min(at, key=lambda score: at[score])
            cells += [_estimate(at[LEAST_SCORE], drawn, ".2f"), f"{at[best]:.2f} ({best})"]
        yield row(name, *cells)


def _cost_of(
    trials: Sequence[Trial], system: Decided, spoof: str
) -> Callable[[npt.NDArray[np.int64], float], float]:
    """a-DCF of some trials, by their indices, at a score."""
    kinds = np.array([t.kind for t in trials])

    def cost(drawn: npt.NDArray[np.int64], threshold: float) -> float:
        scores, of = system.scores[drawn], kinds[drawn]
        classes = [scores[of == kind] for kind in ("genuine", "impostor", spoof)]
        return a_dcf(*classes, threshold=threshold) if all(map(len, classes)) else np.nan

    return cost


def _references(trials: Sequence[Trial], of_trials: ByFold, rounds: int) -> Iterator[str]:
    yield ""
    yield "## What the enrolment adds as a reference"
    yield ""
    yield (
        "EER of the caller's own calls against spoofs of the caller's voice, by the raw score and "
        "by `raw - weight * (reference - centre)`, where the reference is the raw score of the "
        "enrolment, counted up to a limit. All three numbers come from the other folds' genuine "
        "trials."
    )
    yield ""
    yield row("spoofs", "calls", "spoofs", "EER", "with reference", "change")
    yield row(*["---"] * 6)
    for verdict, spoof in SPOOF_OF.items():
        here = [t for t in trials if t.kind in ("genuine", spoof)]
        is_spoof = np.array([t.kind == spoof for t in here])
        plain = _raws(here, verdict)
        corrected = np.array(
            [
                _correction(of_trials[t.fold][verdict]).apply(raw, t.reference(verdict))
                for t, raw in zip(here, plain.tolist(), strict=True)
            ]
        )
        errors = _eers(plain, corrected, is_spoof)
        drawn = [
            _eers(plain[draw], corrected[draw], is_spoof[draw]) for draw in _draws(here, rounds)
        ]
        changes = [after - before for before, after in drawn]
        speakers = len({t.speaker for t in here})
        yield row(
            f"**{spoof}**",
            np.count_nonzero(~is_spoof),
            np.count_nonzero(is_spoof),
            *(
                _estimate(errors[i], [draw[i] for draw in drawn], ".1%", unseen_in=speakers)
                for i in (0, 1)
            ),
            _estimate(errors[1] - errors[0], changes, "+.1%"),
        )


def _spliced(calls: Sequence[Spliced], of_calls: ByFold) -> Iterator[str]:
    yield ""
    yield f"## Voices that turn, flagged at risk {FLAGGED_RISK}"
    yield ""
    yield (
        f"{CALL_S:g} s of the caller, then up to as much of what the row says, on one line. The "
        "first row says how often the length alone does it: the caller goes on."
    )
    yield ""
    yield row("second half", "calls", "its net speech", "after the first half", "at the end")
    yield row(*["---"] * 5)
    rows = [("genuine", ""), ("playback", ""), ("copy", "")]
    rows += [("copy", system) for system in sorted({c.system for c in calls if c.system})]
    for kind, system in rows:
        here = [c for c in calls if c.kind == kind and system in ("", c.system)]
        first = [
            joint_risk(
                of_calls[c.fold],
                (c.first_synthetic, c.first_played_back),
                seconds=c.first_s,
                certainty=c.first_certainty,
            )
            for c in here
        ]
        end = [
            joint_risk(
                of_calls[c.fold],
                (c.synthetic, c.played_back),
                seconds=c.net_s,
                certainty=c.certainty,
            )
            for c in here
        ]
        if here:
            yield row(
                f"{system} (heard in training)" if system else f"**{kind}**",
                len(here),
                f"{np.mean([c.net_s - c.first_s for c in here]):.1f} s",
                *(share(np.array(risks) >= FLAGGED_RISK) for risks in (first, end)),
            )


def _systems(trials: Sequence[Trial], of_calls: ByFold, of_trials: ByFold) -> dict[str, Decided]:
    """Each system's decisions, by its name."""
    speaker = load_model(find(models_folder(None), DEFAULT_SPEAKER_MODEL)).calibration()
    scores = np.array(
        [authentication_score(speaker.apply(t.cosine, seconds=t.net_s).log10_p) for t in trials],
        np.float64,
    )
    risks = {
        ALONE: [0] * len(trials),
        DETECTION: [_risk_of(t, of_calls, referred=False) for t in trials],
        DETECTION_OF_TRIALS: [_risk_of(t, of_trials, referred=False) for t in trials],
        REFERENCE: [_risk_of(t, of_trials, referred=True) for t in trials],
    }
    flagged = {name: np.array(each) >= FLAGGED_RISK for name, each in risks.items()}
    return {
        name: Decided(
            scores=np.where(is_flagged, -np.inf, scores),
            accepted=(scores >= LEAST_SCORE) & ~is_flagged,
        )
        for name, is_flagged in flagged.items()
    }


def _risk_of(trial: Trial, calibrations: ByFold, *, referred: bool) -> int:
    return joint_risk(
        calibrations[trial.fold],
        (trial.synthetic, trial.played_back),
        seconds=trial.net_s,
        certainty=trial.certainty,
        references=(trial.reference_synthetic, trial.reference_playback) if referred else None,
    )


def _of_calls(scored: Sequence[Scored], path: Path) -> ByFold:
    """From the calls that the product's calibration is made from."""
    others = {fold: [s for s in scored if s.fold != fold] for fold in FOLDS}
    return {
        fold: {verdict: calibrate(of_others, verdict, path) for verdict in VERDICTS}
        for fold, of_others in others.items()
    }


def _of_trials(trials: Sequence[Trial], path: Path) -> ByFold:
    """From trials, with and without the reference."""
    return {
        fold: {
            verdict: _calibration([t for t in trials if t.fold != fold], verdict, path)
            for verdict in VERDICTS
        }
        for fold in FOLDS
    }


def _calibration(trials: Sequence[Trial], verdict: str, path: Path) -> Calibration:
    used = [t for t in trials if t.kind in ("genuine", SPOOF_OF[verdict])]
    raws, is_spoof = _raws(used, verdict), np.array([t.kind != "genuine" for t in used])
    condition = fit_condition(
        raws[~is_spoof], raws[is_spoof], seconds=CALL_S, tail_share=TRIALS_TAIL_SHARE
    )
    return Calibration(
        model=MODEL_NAME,
        model_sha256=sha256_of(path),
        conditions=(condition,),
        reference=correction(trials, verdict),
    )


def _correction(calibration: Calibration) -> Correction:
    if calibration.reference is None:
        raise ValueError("this calibration was made without a reference")
    return calibration.reference


def _raws(trials: Sequence[Trial], verdict: str) -> Scores:
    return np.array([t.raw(verdict) for t in trials], np.float64)


def _made_by(vocoder: str) -> Callable[[Trial], bool]:
    return lambda t: t.kind == "copy" and t.system == vocoder


def _eers(plain: Scores, corrected: Scores, is_spoof: Labels) -> tuple[float, float]:
    if not is_spoof.any() or is_spoof.all():  # a draw of few speakers
        return np.nan, np.nan
    before, after = (eer(raws[~is_spoof], raws[is_spoof]) for raws in (plain, corrected))
    return before, after


def _draws(trials: Sequence[Trial], rounds: int) -> Iterator[npt.NDArray[np.int64]]:
    """Indices of the trials of as many speakers as there are, drawn with replacement."""
    by_speaker: dict[str, list[int]] = {}
    for index, trial in enumerate(trials):
        by_speaker.setdefault(trial.speaker, []).append(index)
    speakers = [np.array(indices, np.int64) for indices in by_speaker.values()]
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        drawn = rng.integers(len(speakers), size=len(speakers))
        yield np.concatenate([speakers[index] for index in drawn])


def _estimate(
    value: float, drawn: Sequence[float], form: str, *, unseen_in: int | None = None
) -> str:
    """A figure with its interval; of a rate that is 0, the bound for so many speakers."""
    low, high = np.nanquantile(drawn, [0.025, 0.975]).tolist()
    if value == 0 and unseen_in is not None:
        high = max(high, clopper_pearson(0, unseen_in).high)
    return f"{value:{form}} ({low:{form}}..{high:{form}})"


def main() -> int:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=DEFAULT_WORK_DIR, help="of training/spoof")
    parser.add_argument("--rounds", type=int, default=300, help="draws for intervals")
    arguments = parser.parse_args()
    absent = [
        module
        for module, table in (("scores", "scores"), ("enrolled", "enrolled"), ("turns", "spliced"))
        if not (arguments.work / f"{table}.csv").exists()
    ]
    if absent:
        for module in absent:
            print(f"run: python -m training.spoof.{module} --work DIR", file=sys.stderr)
        return 1
    for line in report(arguments.work, arguments.rounds):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
