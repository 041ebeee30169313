"""How well the default speaker model tells people apart: `python -m bench.verification`.

Prints Markdown: error rates by codec and amount of net speech, and what the shipped calibration's
scores come to on speakers that it was not made from. Needs the development speech; see
`bench/speech_data.py`.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from bench.markdown import row
from bench.speech_data import SpeechDataAbsent
from training import provenance, telephone
from training.speaker import calibrate, voiceprints
from vivavoce.audio.arrays import CALL_RATE_HZ, Floats, Samples, to_float, to_int16
from vivavoce.call.speech import collect_net_speech
from vivavoce.demo import voices
from vivavoce.errors import VivavoceError
from vivavoce.models.card import load_model
from vivavoce.models.registry import DEFAULT_SPEAKER_MODEL, find, models_folder
from vivavoce.models.speaker import SpeakerEncoder
from vivavoce.models.vad import SpeechDetector
from vivavoce.scoring.calibration import Calibration
from vivavoce.scoring.metrics import Estimate, Trials, cllr, verification_accuracy
from vivavoce.scoring.scale import authentication_score, log10_any_of, risk_score

WATCHLIST_SIZES = (1, 10, 60)
RISKS = (25, 50, 75)
SCORES = (70, 80, 90)


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="a third of the speakers, two codecs")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--rounds", type=int, default=500, help="bootstrap draws (default 500)")
    parser.add_argument(
        "--voices", action="store_true", help="fetch Debian's recorded voices for the last table"
    )
    arguments = parser.parse_args()
    codecs = ("pcm", "mulaw") if arguments.quick else voiceprints.CODECS
    try:
        corpus = voiceprints.build_corpus(codecs=codecs, quick=arguments.quick, jobs=arguments.jobs)
        model = load_model(find(models_folder(None), DEFAULT_SPEAKER_MODEL))
        lines = [*_head(corpus), *_accuracy(corpus, arguments.rounds)]
        calibration = model.calibration()
        lines += _calibrated(corpus, calibration)
        lines += _watchlists(corpus, calibration)
        if arguments.voices:
            lines += _voices(SpeakerEncoder(model), calibration)
    except (VivavoceError, SpeechDataAbsent) as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


def _head(corpus: voiceprints.Corpus) -> Iterator[str]:
    first = next(iter(corpus.by_codec.values()))
    enrolled = len(set(first.enrolled.tolist()))
    low, middle, high = np.quantile(first.enrolment_s, [0, 0.5, 1]).tolist()
    yield "# Speaker verification"
    yield ""
    yield f"- made by: `python -m bench.verification {' '.join(sys.argv[1:])}`".rstrip(" `") + "`"
    yield f"- commit: {provenance.commit()}"
    yield f"- machine: {provenance.machine()}"
    yield f"- data: sha256 {corpus.data_sha256[:16]} ({', '.join(voiceprints.SOURCES)})"
    yield f"- model: {corpus.model}, sha256 {corpus.model_sha256[:16]}"
    yield (
        f"- {len(corpus.speakers)} speakers, {enrolled} of them enrolled, twice each, from "
        f"{low:.0f} to {high:.0f} s of net speech (median {middle:.0f}); the others are impostors"
    )
    yield ""
    yield (
        "Impostors are compared within their corpus only: across corpora the recording gives them "
        "away. Intervals are 95 %, over speakers. Nearly every speaker was recorded on one "
        "occasion, and the model may have been trained on LibriSpeech readers, so real repeat "
        "calls do worse. On the other hand a few speakers of speechocean762 sound like one person "
        "under several numbers; they weigh on FAR 0.1 %."
    )


def _accuracy(corpus: voiceprints.Corpus, rounds: int) -> Iterator[str]:
    yield ""
    yield "## Error rates"
    yield ""
    yield "| enrolled through | tested through | net speech | target trials | others | EER % | FRR % at FAR 1 % | FRR % at FAR 0.1 % |"  # noqa: E501
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    rows: list[tuple[str, str, list[tuple[str, str]], Callable[[str], bool]]] = [
        (codec, codec, [(codec, codec)], lambda _: True) for codec in corpus.by_codec
    ]
    mixed = [pair for pair in voiceprints.all_pairs(corpus.by_codec) if pair[0] != pair[1]]
    rows.append(("any", "any other", mixed, lambda _: True))
    rows += [
        (f"mulaw, {source} only", "mulaw", [("mulaw", "mulaw")], _within(source))
        for source in voiceprints.SOURCES
    ]
    for enrolled, tested, pairs, keep in rows:
        for seconds in voiceprints.TEST_SECONDS:
            who = np.array([keep(name) for name in corpus.speakers])
            trials = voiceprints.trials(corpus, seconds=seconds, pairs=pairs, who=who)
            # The mixed row has twenty times the trials, from the same speakers.
            draws = rounds if len(pairs) == 1 else max(50, rounds // 5)
            accuracy = verification_accuracy(trials, rounds=draws)
            print(f"{enrolled}, {tested}, {seconds} s", file=sys.stderr, flush=True)
            yield row(
                enrolled,
                tested,
                f"{seconds} s",
                accuracy.targets,
                accuracy.nontargets,
                _percent(accuracy.eer),
                *(_percent(accuracy.frr_at[far]) for far in (0.01, 0.001)),
            )


def _within(source: str) -> Callable[[str], bool]:
    return lambda name: name.startswith(f"{source}/")


def _calibrated(corpus: voiceprints.Corpus, calibration: Calibration) -> Iterator[str]:
    who = corpus.is_in(1 - calibrate.HALF)
    yield ""
    yield "## What the scores come to"
    yield ""
    yield (
        f"On the {int(who.sum())} speakers that the calibration was not made from. Meant: FAR 10 % "
        "at score 70, 1 % at 80, 0.1 % at 90."
    )
    yield ""
    yield "| codecs of enrolment and test | net speech | Cllr bit | " + " | ".join(
        f"FAR % at {score} | FRR % at {score}" for score in SCORES
    ) + " |"  # fmt: skip
    yield "| --- | --- | --- |" + " --- |" * (2 * len(SCORES))
    everything = voiceprints.all_pairs(corpus.by_codec)
    for name, pairs in (
        ("the same", [pair for pair in everything if pair[0] == pair[1]]),
        ("any", everything),
    ):
        for seconds in voiceprints.TEST_SECONDS:
            trials = voiceprints.trials(corpus, seconds=seconds, pairs=pairs, who=who)
            yield row(name, f"{seconds} s", *_meaning(trials, calibration, seconds))


def _meaning(trials: Trials, calibration: Calibration, seconds: int) -> Iterator[str]:
    """Cllr, then FAR and FRR at each of `SCORES`."""
    applied = [calibration.apply(raw, seconds=seconds) for raw in trials.scores.tolist()]
    yield f"{cllr(np.array([each.llr for each in applied]), trials.is_target):.3f}"
    scores = np.array([authentication_score(each.log10_p) for each in applied])
    for threshold in SCORES:
        accepted = scores >= threshold
        yield f"{100 * accepted[~trials.is_target].mean():.2f}"
        yield f"{100 * (1 - accepted[trials.is_target].mean()):.2f}"


def _watchlists(corpus: voiceprints.Corpus, calibration: Calibration) -> Iterator[str]:
    yield ""
    yield "## Watchlists"
    yield ""
    yield (
        "Callers (speakers the calibration was not made from) against random watchlists, enrolled "
        "and called through µ-law. *Flagged*: the share of those not on the list that reach a risk "
        "score; meant are at most 10 % at 25, 1 % at 50, 0.1 % at 75, however long the list is. "
        "*Found*: the share of those who are on it."
    )
    yield ""
    headings = [f"{what} % at {risk}" for what in ("flagged", "found") for risk in RISKS]
    yield "| on the watchlist | net speech | callers x lists | " + " | ".join(headings) + " |"
    yield "| --- | --- | --- |" + " --- |" * len(headings)
    held_out = corpus.is_in(1 - calibrate.HALF)
    for size in WATCHLIST_SIZES:
        for seconds in voiceprints.TEST_SECONDS:
            strangers, listed = (
                _risks(corpus, calibration, size=size, seconds=seconds, who=held_out, listed=listed)
                for listed in (False, True)
            )
            if not len(strangers):  # fewer speakers than the list is long
                continue
            shares = [np.mean(risks >= risk) for risks in (strangers, listed) for risk in RISKS]
            yield row(
                size, f"{seconds} s", len(strangers), *(f"{100 * share:.2f}" for share in shares)
            )


def _risks(
    corpus: voiceprints.Corpus,
    calibration: Calibration,
    *,
    size: int,
    seconds: int,
    who: np.ndarray,
    listed: bool,
    lists: int = 20,
) -> np.ndarray:
    """Risk scores of callers against random watchlists that they are on, or are not on."""
    prints = corpus.by_codec["mulaw"]
    cosines = prints.tests[seconds] @ prints.enrolments[prints.turn == 0].T
    suspects = prints.enrolled[prints.turn == 0]
    rng = np.random.default_rng(0)
    risks: list[int] = []
    calls = zip(
        prints.tested[seconds].tolist(), prints.test_turn[seconds].tolist(), cosines, strict=True
    )
    for caller, apart_from, of_call in calls:
        if listed and apart_from not in (0, -1):  # the enrolment was made from this very speech
            continue
        others, own = np.flatnonzero(suspects != caller), np.flatnonzero(suspects == caller)
        if not who[caller] or len(others) < size or (listed and not len(own)):
            continue
        for _ in range(lists):
            on_list = rng.choice(others, size, replace=False)
            if listed:
                on_list[0] = own[0]
            log10_p = calibration.apply(float(of_call[on_list].max()), seconds=seconds).log10_p
            risks.append(risk_score(log10_any_of(log10_p, size)))
    return np.array(risks)


def _voices(encoder: SpeakerEncoder, calibration: Calibration) -> Iterator[str]:
    """Debian's recorded voices, each enrolled once and tested once, through µ-law."""
    ready = voices.fetch_voices(voices.VOICES)

    def heard(folder: Path, use: voices.Use, seconds: int) -> Floats:
        audio = voices.compose(folder, seconds=2.5 * seconds, use=use)
        spoken = _net_speech(audio)[: seconds * CALL_RATE_HZ]
        return encoder.embed(to_float(spoken), CALL_RATE_HZ)

    enrolled = [heard(folder, "enrolment", 30) for folder in ready.values()]
    tested = [heard(folder, "call", 10) for folder in ready.values()]
    yield ""
    yield "## Recorded telephone voices"
    yield ""
    yield (
        "Raw score and, in brackets, authentication score: 30 s of net speech enrolled (down) "
        "against 10 s of others (across), µ-law. The last two are one woman in two languages, a "
        "hard case."
    )
    yield ""
    yield row("", *(f"{voice.speaker} {voice.language}" for voice in ready))
    yield "|" + " --- |" * (len(ready) + 1)
    for voice, vector in zip(ready, enrolled, strict=True):
        cells: list[str] = []
        for test in tested:
            raw = float(vector @ test)
            score = authentication_score(calibration.apply(raw, seconds=10).log10_p)
            cells.append(f"{raw:.2f} ({score})")
        yield row(f"{voice.speaker} {voice.language}", *cells)


def _net_speech(audio: Samples) -> Samples:
    through = telephone.mulaw(to_float(audio))
    return collect_net_speech(to_int16(through), SpeechDetector())


def _percent(estimate: Estimate | None) -> str:
    if estimate is None:
        return "too few trials"
    return f"{100 * estimate.value:.2f} ({100 * estimate.low:.2f}..{100 * estimate.high:.2f})"


if __name__ == "__main__":
    sys.exit(main())
