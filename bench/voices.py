"""How well two voices on the line are heard: `python -m bench.voices`.

Prints Markdown: how often calls of one voice are taken for two, how often a second voice is found,
how much of the agent's echo is left out of the speech, and what that costs. Needs the development
speech; see `bench/speech_data.py`. Nobody is judged by a calibration or a threshold that was made
from the same speaker.
"""

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import NamedTuple

import numpy as np

from bench import speech_data
from bench.markdown import row, share
from bench.speech_data import SpeechDataAbsent
from training import provenance, telephone
from training.speaker.calibrate import HALF
from training.speaker.calibrate_voices import fit
from training.speaker.mixtures import (
    CALL_S,
    CODECS,
    OVERLAPS,
    SECOND_S,
    STYLES,
    Call,
    Mixtures,
    build_mixtures,
    encode,
    half_of,
    net_speech,
)
from training.speaker.voiceprints import SOURCES
from vivavoce.audio.arrays import CALL_RATE_HZ, Floats, Samples, to_float, to_int16
from vivavoce.audio.leakage import LEAKED_CORRELATION, LONGEST_DELAY_MS, WINDOW_MS, LeakageFinder
from vivavoce.call.speech import FRAME_SAMPLES, SpeechCollector
from vivavoce.demo import voices
from vivavoce.errors import VivavoceError
from vivavoce.models.card import Model, load_model
from vivavoce.models.registry import DEFAULT_SPEAKER_MODEL, find, models_folder
from vivavoce.models.speaker import SpeakerEncoder
from vivavoce.models.vad import SpeechDetector
from vivavoce.scoring.calibration import Calibration
from vivavoce.scoring.metrics import Labels
from vivavoce.scoring.voices import CALIBRATED, TWO_VOICES_LOG10_P, find_voices

HIGH_PITCH_HZ = 165.0
"""Between the middles of men's and women's speaking pitch (about 120 and 210 Hz)."""

THRESHOLDS = (0.3, 0.35, 0.4, 0.45, 0.5)
PATHS = (
    "line",
    "hybrid",
    "loudspeaker",
    "loudspeaker far away",
    "line, AMR-NB 12.2",
    "line, AMR-NB 4.75",
)
GAINS_DB = (-12, -25)
ABOVE_DB = (0, 6, 12, 20)
CLEARLY_DB = 6.0
_TALK_S = 20
_COMPOSED_S = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A call, and what was found in it."""

    call: Call
    two: bool


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--pairs", type=int, default=20, help="pairs of caller and agent")
    parser.add_argument(
        "--voices", action="store_true", help="fetch Debian's recorded voices for their table"
    )
    arguments = parser.parse_args()
    try:
        mixtures = build_mixtures(jobs=arguments.jobs)
        model = load_model(find(models_folder(None), DEFAULT_SPEAKER_MODEL))
        speakers = _speakers()
        lines = [*_head(mixtures), *_mono(mixtures, speakers)]
        if arguments.voices:
            lines += _recorded(model, model.calibration(CALIBRATED))
        lines += _leakage(speakers, arguments.pairs)
    except (VivavoceError, SpeechDataAbsent) as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


def _speakers() -> dict[str, list[speech_data.Clip]]:
    groups: dict[str, list[speech_data.Clip]] = defaultdict(list)
    for clip in speech_data.read_clips(speech_data.find_speech()):
        if clip.source in SOURCES and clip.label == "bonafide":
            groups[f"{clip.source}/{clip.speaker}"].append(clip)
    return groups


def _head(mixtures: Mixtures) -> Iterator[str]:
    used = {call.first for call, _ in mixtures.calls}
    parts = [sum(half_of(name) == half for name in used) for half in (0, 1)]
    yield "# Two voices on the line"
    yield ""
    yield f"- made by: `python -m bench.voices {' '.join(sys.argv[1:])}`".rstrip(" `") + "`"
    yield f"- commit: {provenance.commit()}"
    yield f"- machine: {provenance.machine()}"
    yield f"- data: sha256 {mixtures.data_sha256[:16]} ({', '.join(SOURCES)})"
    yield f"- model: {mixtures.model}, sha256 {mixtures.model_sha256[:16]}"
    yield (
        f"- {len(used)} speakers in halves of {parts[0]} and {parts[1]}: each is judged by a "
        "calibration from the other, and no call mixes the two. The one that ships is from both"
    )
    yield ""
    yield (
        "Intervals are 95 % (Clopper and Pearson) over calls. Calls of one speaker, and one call "
        "through several codecs, are not independent: real intervals are wider. Each speaker was "
        "recorded on one occasion with an own microphone. So one voice changes less than it does "
        "in real calls, and the line changes with the second voice, which it does not where a "
        "telephone is handed over: both flatter. How windows are cut was chosen among five ways on "
        "these speakers, µ-law; only the recorded telephone voices had no part in anything."
    )


def _mono(mixtures: Mixtures, speakers: dict[str, list[speech_data.Clip]]) -> Iterator[str]:
    of_other_half = [fit(mixtures, halves=[1 - half]) for half in (0, 1)]
    heard = [
        Heard(call=call, two=_are_two(windows, of_other_half[call.half], call.seconds))
        for call, windows in mixtures.calls
    ]
    yield from _alone([each for each in heard if each.call.style == "alone"])
    mixed = [each for each in heard if each.call.style in STYLES]
    yield from _mixed(mixed)
    yield from _conditions(mixed, speakers)
    yield from _overlaps(heard)


def _are_two(windows: Floats, calibration: Calibration, seconds: float) -> bool:
    found = find_voices(windows, calibration, seconds=seconds)
    return found is not None and found.are_two


def _alone(heard: Sequence[Heard]) -> Iterator[str]:
    yield ""
    yield "## Calls of one voice"
    yield ""
    yield (
        "The share that is taken for two voices. 1 % is to be kept; the calibration is asked for "
        f"{10**TWO_VOICES_LOG10_P:.1%}, because at 1 % it came to 1.1 to 1.6 % here. Speakers "
        "who have less than 30 s of net speech (22 s at least) give what they have."
    )
    yield ""
    yield row("net speech", "codec", "calls", "speakers", "flagged", "speakers flagged")
    yield "|" + " --- |" * 6
    for seconds in CALL_S:
        for codec in (*CODECS, "all"):
            calls = [
                each
                for each in heard
                if each.call.seconds == seconds and codec in (each.call.codec, "all")
            ]
            flagged = {each.call.first for each in calls if each.two}
            yield row(
                f"{seconds} s",
                codec,
                len(calls),
                len({each.call.first for each in calls}),
                share([each.two for each in calls]),
                len(flagged),
            )


def _mixed(heard: Sequence[Heard]) -> Iterator[str]:
    yield ""
    yield "## Calls of two voices"
    yield ""
    yield (
        "The share in which both were heard, all codecs together. The second voice has the end "
        "(takes over), one piece anywhere (breaks in), or pieces of 2 s anywhere (takes turns)."
    )
    yield ""
    yield row("net speech", "of it the second", *STYLES, "all", "calls")
    yield "|" + " --- |" * (len(STYLES) + 4)
    for seconds in CALL_S:
        for second_s in SECOND_S[seconds]:
            calls = [
                each
                for each in heard
                if (each.call.seconds, each.call.second_s) == (seconds, second_s)
            ]
            yield row(
                f"{seconds} s",
                f"{second_s} s",
                *(share([each.two for each in calls if each.call.style == s]) for s in STYLES),
                share([each.two for each in calls]),
                len(calls),
            )


def _conditions(
    heard: Sequence[Heard], speakers: dict[str, list[speech_data.Clip]]
) -> Iterator[str]:
    long = [each for each in heard if each.call.second_s >= 3]
    names = {name for each in long for name in (each.call.first, each.call.second)}
    is_high = {name: _pitch_hz(speakers[name]) > HIGH_PITCH_HZ for name in names}
    yield ""
    yield "## By codec and pitch"
    yield ""
    yield (
        "Calls in which the second voice speaks for 3 s or more, all lengths together. The sex of "
        f"the speakers is not known: high is a median pitch above {HIGH_PITCH_HZ:g} Hz "
        f"({sum(is_high.values())} of {len(is_high)} speakers)."
    )
    yield ""
    yield row("calls", "both heard", "count")
    yield "| --- | --- | --- |"
    cases: list[tuple[str, Callable[[Call], bool]]] = [
        *((codec, lambda call, codec=codec: call.codec == codec) for codec in CODECS),
        ("both high", lambda call: is_high[call.first] and is_high[call.second]),
        ("both low", lambda call: not is_high[call.first] and not is_high[call.second]),
        ("one of each", lambda call: is_high[call.first] != is_high[call.second]),
    ]
    for name, holds in cases:
        flags = [each.two for each in long if holds(each.call)]
        yield row(name, share(flags), len(flags))


def _overlaps(heard: Sequence[Heard]) -> Iterator[str]:
    yield ""
    yield "## Both at the same time"
    yield ""
    yield row("net speech", "both speak", "level of the second", "both heard", "calls")
    yield "|" + " --- |" * 5
    for seconds, second_s, level_db in OVERLAPS:
        flags = [
            each.two
            for each in heard
            if each.call.style == "overlaps"
            and (each.call.seconds, each.call.second_s, each.call.level_db)
            == (seconds, second_s, level_db)
        ]
        yield row(f"{seconds} s", f"{second_s} s", f"{level_db} dB", share(flags), len(flags))


def _pitch_hz(clips: Sequence[speech_data.Clip]) -> float:
    """Median pitch of a speaker's voiced frames, by autocorrelation."""
    found: list[float] = []
    shortest, longest = CALL_RATE_HZ // 350, CALL_RATE_HZ // 70
    for clip in clips[:3]:
        audio = to_float(clip.read()).astype(np.float64)
        frames = np.lib.stride_tricks.sliding_window_view(audio, 512)[::256]
        loud = np.square(frames).mean(axis=1)
        for frame in frames[loud > 0.1 * np.quantile(loud, 0.95)]:
            spectrum = np.abs(np.fft.rfft(frame * np.hanning(512), 1024)) ** 2
            correlation = np.fft.irfft(spectrum)[: longest + 1]
            lag = shortest + int(np.argmax(correlation[shortest:]))
            if correlation[lag] > 0.5 * correlation[0]:
                found.append(CALL_RATE_HZ / lag)
    return float(np.median(found))


# --- people recorded for telephone systems


def _recorded(model: Model, calibration: Calibration) -> Iterator[str]:
    """Debian's recorded voices: one voice over many sessions, none of it used for anything else."""
    encoder, detector = SpeakerEncoder(model), SpeechDetector()
    length = CALL_S[-1] * CALL_RATE_HZ
    speech: dict[str, list[Samples]] = {}
    for voice, folder in voices.fetch_voices(voices.VOICES).items():
        audio = voices.compose(folder, seconds=_COMPOSED_S, use="call")
        whole = net_speech(audio, "mulaw", detector)
        starts = range(0, len(whole) - length + 1, length)
        speech[f"{voice.speaker} {voice.language}"] = [whole[i : i + length] for i in starts]
    yield ""
    yield "## Recorded telephone voices"
    yield ""
    yield (
        "Calls of 30 s, µ-law, of prompts that one person spoke over many sessions; and the same "
        "with the last 3 or 5 s by the next person in the list (the last two are one woman)."
    )
    yield ""
    yield row("voice", "calls", "flagged", "3 s of the next", "5 s of the next")
    yield "|" + " --- |" * 5
    names = list(speech)
    for name, following in zip(names, [*names[1:], names[0]], strict=True):
        cells: list[str] = []
        for second_s in (0, 3, 5):
            flags = [
                _are_two(encode(_followed(own, other, second_s), encoder), calibration, 30)
                for own, other in zip(speech[name], cycle(speech[following]), strict=False)
            ]
            cells.append(f"{sum(flags)} of {len(flags)}")
        yield row(name, len(speech[name]), *cells)


def _followed(own: Samples, other: Samples, second_s: int) -> Samples:
    second = other[: second_s * CALL_RATE_HZ]
    return np.concatenate([own[: len(own) - len(second)], second])


# --- the agent's echo


def _leakage(speakers: dict[str, list[speech_data.Clip]], pairs: int) -> Iterator[str]:
    halves = [
        sorted(
            name
            for name, clips in speakers.items()
            if len(clips) >= 8 and (half_of(name) == HALF) == chosen
        )
        for chosen in (True, False)
    ]
    talks = [_pairs(half, speakers, pairs) for half in halves]
    yield ""
    yield "# The agent's echo"
    yield ""
    yield (
        f"Where the agent's channel is known: {pairs} pairs of caller and agent, {_TALK_S} s each, "
        "both levels alike, µ-law. The echo's delay is anything up to "
        f"{LONGEST_DELAY_MS} ms. *line*: a copy; *hybrid*: 5 ms of decaying noise; *loudspeaker*: "
        "a direct path and 50 ms of decaying noise; *far away*: without the direct path."
    )
    yield from _choice(talks[0])
    yield from _left_out(talks[1])
    yield from _over_echo(talks[1])
    yield from _cost(talks[1])


def _pairs(
    names: Sequence[str], speakers: dict[str, list[speech_data.Clip]], pairs: int
) -> list[tuple[Floats, Floats]]:
    """Caller and agent of each pair."""
    rng = np.random.default_rng(0)
    orders = [rng.permutation(len(names)) for _ in range(pairs)]
    return [
        (_talk(speakers[names[int(one)]]), _talk(speakers[names[int(two)]]))
        for one, two, *_ in orders
    ]


def _talk(clips: Sequence[speech_data.Clip]) -> Floats:
    audio = np.concatenate([to_float(clip.read()) for clip in clips])
    return telephone.mulaw(telephone.set_level(np.resize(audio, _TALK_S * CALL_RATE_HZ), -20))


def _echo(agent: Floats, path: str, gain_db: float, rng: np.random.Generator) -> Floats:
    tail = np.zeros(400)
    match path:
        case "hybrid":
            tail[:40] = rng.standard_normal(40) * np.exp(-np.arange(40) / 8)
        case "loudspeaker" | "loudspeaker far away":
            tail = 0.5 * rng.standard_normal(400) * np.exp(-np.arange(400) / 100)
            tail[0] = 2.5 if path == "loudspeaker" else tail[0]
        case _:
            tail[0] = 1.0
    delay = int(rng.integers(0, LONGEST_DELAY_MS * CALL_RATE_HZ // 1000 - len(tail)))
    response = np.concatenate([np.zeros(delay), tail / np.sqrt(np.sum(tail**2))])
    late = np.convolve(agent, response)[: len(agent)] * 10 ** (gain_db / 20)
    if "AMR" in path:
        return telephone.amr(late.astype(np.float32), 12_200 if "12.2" in path else 4_750)
    return late.astype(np.float32)


class Frames(NamedTuple):
    """Of each frame of speech in the caller's channel how like the agent it is, and its end."""

    correlations: list[float]
    ends: list[int]


def _frames(caller: Floats, agent: Floats) -> Frames:
    collector, finder = SpeechCollector(SpeechDetector()), LeakageFinder()
    heard, said = to_int16(telephone.mulaw(caller)), to_int16(agent)
    finder.push(heard, said)
    found = [*collector.push(heard), *collector.finish()]
    ends = [
        end
        for speech in found
        for end in range(speech.start + FRAME_SAMPLES, speech.end + 1, FRAME_SAMPLES)
    ]
    return Frames([finder.correlation(end) for end in ends], ends)


def _choice(talks: Sequence[tuple[Floats, Floats]]) -> Iterator[str]:
    rng = np.random.default_rng(1)
    spoken = np.concatenate([_frames(caller, agent)[0] for caller, agent in talks])
    echoed = {
        path: np.concatenate(
            [_frames(_echo(agent, path, GAINS_DB[0], rng), agent)[0] for _, agent in talks]
        )
        for path in PATHS
    }
    yield ""
    yield "## What the threshold was chosen from"
    yield ""
    yield (
        "On the half of the speakers that is not reported on: the share of speech frames at or "
        f"above a correlation. Chosen is {LEAKED_CORRELATION:g}, where the caller loses less than "
        "one frame in a thousand to an agent who speaks all the time. Echoes are at "
        f"{GAINS_DB[0]} dB. A first look, before the halves were parted, had been at "
        "speakers of both."
    )
    yield ""
    yield row("what is heard", "frames", *(f"{threshold:g}" for threshold in THRESHOLDS))
    yield "|" + " --- |" * (len(THRESHOLDS) + 2)
    for name, found in [("the caller, no echo", spoken), *echoed.items()]:
        shares = (f"{np.mean(found >= threshold):.2%}" for threshold in THRESHOLDS)
        yield row(name, len(found), *shares)


def _left_out(talks: Sequence[tuple[Floats, Floats]]) -> Iterator[str]:
    rng = np.random.default_rng(2)
    yield ""
    yield "## Only the agent speaks"
    yield ""
    yield (
        "Net speech a minute in which the agent speaks all the time: as it would be counted for "
        "the caller, and what is left of it."
    )
    yield ""
    yield row("echo", "level", "heard as speech s/min", "left s/min", "left out")
    yield "|" + " --- |" * 5
    for path in PATHS:
        for gain_db in GAINS_DB:
            found = [_frames(_echo(agent, path, gain_db, rng), agent) for _, agent in talks]
            correlations = np.concatenate([each.correlations for each in found])
            # Of the frames of speech in all talks, what is theirs of a minute, in seconds.
            a_minute = 60 * FRAME_SAMPLES / CALL_RATE_HZ / (_TALK_S * len(talks))
            left = int(np.count_nonzero(correlations < LEAKED_CORRELATION))
            yield row(
                path,
                f"{gain_db} dB",
                f"{len(correlations) * a_minute:.1f}",
                f"{left * a_minute:.1f}",
                f"{1 - left / max(1, len(correlations)):.1%}",
            )


def _over_echo(talks: Sequence[tuple[Floats, Floats]]) -> Iterator[str]:
    rng = np.random.default_rng(3)
    without = np.concatenate([_frames(caller, agent)[0] for caller, agent in talks])
    lost = np.mean(without >= LEAKED_CORRELATION)
    yield ""
    yield "## Both speak"
    yield ""
    yield (
        "Agent and caller speak all the time. Of the frames of speech in which one of the two is "
        f"at least {CLEARLY_DB:g} dB louder than the other, the share that is left out. Without an "
        f"echo the caller loses {lost:.2%} ({len(without)} frames)."
    )
    yield ""
    yield row("echo", "caller above it, overall", "the caller is louder", "the echo is louder")
    yield "|" + " --- |" * 4
    for path in PATHS[:4]:
        for above_db in ABOVE_DB:
            found = [
                _by_louder(caller, _echo(agent, path, -above_db, rng), agent)
                for caller, agent in talks
            ]
            of_caller, of_echo = (np.concatenate(flags) for flags in zip(*found, strict=True))
            yield row(path, f"{above_db} dB", _left_out_of(of_caller), _left_out_of(of_echo))


def _left_out_of(flags: Labels) -> str:
    return f"{np.mean(flags):.1%} of {len(flags)}" if len(flags) else "none"


def _by_louder(caller: Floats, echo: Floats, agent: Floats) -> tuple[Labels, Labels]:
    """Whether each frame is left out, of those in which the caller is louder, and the echo is."""
    found = _frames(caller + echo, agent)
    left_out = np.array(found.correlations) >= LEAKED_CORRELATION
    powers = [
        np.array([np.mean(each[end - FRAME_SAMPLES : end] ** 2) for end in found.ends])
        for each in (caller, echo)
    ]
    above_db = 10 * np.log10((powers[0] + 1e-12) / (powers[1] + 1e-12))
    return left_out[above_db >= CLEARLY_DB], left_out[above_db <= -CLEARLY_DB]


def _cost(talks: Sequence[tuple[Floats, Floats]]) -> Iterator[str]:
    caller, agent = talks[0]
    finder = LeakageFinder()
    finder.push(to_int16(caller), to_int16(agent))
    ends = range(WINDOW_MS * CALL_RATE_HZ // 1000, _TALK_S * CALL_RATE_HZ, FRAME_SAMPLES)
    began = time.process_time()
    for end in ends:
        finder.correlation(end)
    frame_s = (time.process_time() - began) / len(ends)
    quiet = LeakageFinder()
    piece = to_int16(agent)[:4000]
    for _ in range(20):
        quiet.push(piece, piece)
    yield ""
    yield "## What it costs"
    yield ""
    yield (
        f"{1e6 * frame_s:.0f} µs for each frame of speech in the caller's channel while the agent "
        f"speaks too: {frame_s * CALL_RATE_HZ / FRAME_SAMPLES:.2%} of a core if both did so all "
        "the time, next to nothing while the agent is silent or not known. Memory a call: "
        f"{quiet.kept_bytes / 1000:.0f} kB."
    )


if __name__ == "__main__":
    sys.exit(main())
