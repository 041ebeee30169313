"""Recordings from the disk: any container and codec that libsndfile or FFmpeg reads.

Decoding runs in blocks, so memory stays small however long a recording is. Of a recording with
several channels one is taken, the first unless told otherwise: platforms put the caller there, and
a mix with the agent's voice would spoil an enrolment.

A recording that breaks off is read as far as it goes: a call recorder that was stopped hard leaves
such files, and what it wrote is sound. One that breaks off before its first sample is refused.

Headerless files are known by their suffix, as Asterisk writes them: `.gsm`, `.ulaw`, `.alaw`,
`.sln` (8 kHz) and `.sln16`.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import av.error
import numpy as np
import soundfile
from av.audio.codeccontext import AudioCodecContext
from av.container import InputContainer

from vivavoce.audio.arrays import CALL_RATE_HZ, Floats, Samples, to_int16
from vivavoce.audio.resample import StreamResampler
from vivavoce.errors import BadAudioParameters, UnreadableRecording

BLOCK_FRAMES = 1 << 16
"""Frames decoded at a time: 8 s at 8 kHz, 1.5 s at 44.1 kHz."""

LONGEST_S = 12 * 3600
"""`read_recording` holds a recording in memory, about 1 MB a minute; a longer one is refused.
A small compressed file can unfold to any length, so there must be a limit; not documented anywhere,
chosen as longer than any call."""

# What FFmpeg may take a file for. Playlists and other formats that name further files or addresses
# to be opened are left out on purpose, and so are pictures and subtitles.
_FFMPEG_FORMATS = (
    "aac,aiff,amr,ape,asf,au,avi,caf,flac,g722,gsm,m4a,matroska,webm,mov,mp4,3gp,mp3,mpeg,mpegts,"
    "ogg,rm,tta,voc,w64,wav,wv"
)

_HEADERLESS: dict[str, tuple[str, int]] = {
    ".gsm": ("GSM610", 8000),
    ".ulaw": ("ULAW", 8000),
    ".ul": ("ULAW", 8000),
    ".pcmu": ("ULAW", 8000),
    ".alaw": ("ALAW", 8000),
    ".al": ("ALAW", 8000),
    ".pcma": ("ALAW", 8000),
    ".sln": ("PCM_16", 8000),
    ".sln16": ("PCM_16", 16000),
}

# First bytes of files that have a header whatever their suffix says: WAV, big WAV, Sun audio.
_HEADERS = (b"RIFF", b"RF64", b".snd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One channel of a recording.

    Attributes:
        samples: shape (n,) at `CALL_RATE_HZ`, n > 0.
        source_rate_hz: rate of the file.
        channels: number of channels in the file.
    """

    samples: Samples
    source_rate_hz: int
    channels: int

    @property
    def seconds(self) -> float:
        """How long it plays."""
        return len(self.samples) / CALL_RATE_HZ


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decoding:
    """A file being decoded: its shape, and blocks of floats of shape (frames, channels)."""

    rate_hz: int
    channels: int
    blocks: Iterator[Floats]


def read_recording(
    path: Path, *, channel: int | None = None, longest_s: float = LONGEST_S
) -> Recording:
    """Read one channel of a recording, at `CALL_RATE_HZ`.

    Args:
        path: a file.
        channel: which channel, counted from 0; without it the first one.
        longest_s: what is longer than this is refused.

    Raises:
        UnreadableRecording: no such file, no decoder reads it, it holds no audio or not finite
            numbers, or it is too long.
        BadAudioParameters: the file has no such channel, or a rate that no recorder uses.
    """
    with _decoding(path) as decoding:
        blocks: list[Samples] = []
        count = 0
        for block in _call_samples(decoding, path, channel):
            blocks.append(block)
            count += len(block)
            if count > longest_s * CALL_RATE_HZ:
                raise UnreadableRecording(f"{path} is longer than {longest_s / 3600:g} hours")
        return Recording(
            samples=np.concatenate(blocks),
            source_rate_hz=decoding.rate_hz,
            channels=decoding.channels,
        )


def iter_recording(path: Path, *, channel: int | None = None) -> Iterator[Samples]:
    """One channel of a recording of any length, block by block, at `CALL_RATE_HZ`.

    Memory does not grow with the recording. Arguments and errors as in `read_recording`, but there
    is no limit of length; errors come while iterating.

    Yields:
        Samples, shape (n,), n > 0 and different from block to block.
    """
    with _decoding(path) as decoding:
        yield from _call_samples(decoding, path, channel)


def _call_samples(decoding: _Decoding, path: Path, channel: int | None) -> Iterator[Samples]:
    """Pick the channel and bring it to the rate of calls."""
    chosen = 0 if channel is None else channel
    if not 0 <= chosen < decoding.channels:
        count = f"{decoding.channels} channel{'s' if decoding.channels > 1 else ''}"
        raise BadAudioParameters(f"{path} has {count}, counted from 0; there is no {chosen}")
    resampler = StreamResampler(decoding.rate_hz, CALL_RATE_HZ)
    empty = True
    for block in decoding.blocks:
        audio = block[:, chosen]
        if not np.isfinite(audio).all():
            raise UnreadableRecording(f"{path} holds samples that are not finite numbers")
        if len(samples := resampler.push(to_int16(audio))):
            empty = False
            yield samples
    if len(samples := resampler.finish()):
        empty = False
        yield samples
    if empty:
        raise UnreadableRecording(f"{path} holds no audio")


@contextmanager
def _decoding(path: Path) -> Generator[_Decoding]:
    """Open a file with the first decoder that takes it."""
    if not path.exists():
        raise UnreadableRecording(f"{path} does not exist")
    if not path.is_file():
        raise UnreadableRecording(f"{path} is not a file")
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise UnreadableRecording(f"{path} cannot be opened: {error.strerror}") from error
    if not start:
        raise UnreadableRecording(f"{path} is empty")

    if (opened := _open_with_libsndfile(path, start)) is not None:
        with opened:
            yield _Decoding(
                rate_hz=opened.samplerate,
                channels=opened.channels,
                blocks=_blocks_of_libsndfile(opened, path),
            )
        return
    with path.open("rb") as file:
        try:
            # A file object, not a name: FFmpeg then has nothing but these bytes to open.
            container = av.open(
                file,
                mode="r",
                options={"format_whitelist": _FFMPEG_FORMATS, "protocol_whitelist": "none"},
                metadata_errors="ignore",
            )
        except (av.error.FFmpegError, ValueError) as error:
            raise UnreadableRecording(
                f"{path} is not a recording that libsndfile or FFmpeg reads"
            ) from error
        with container:
            streams = container.streams.audio
            # A stream in a codec that this FFmpeg cannot decode comes without a context.
            codec: AudioCodecContext | None = streams[0].codec_context if streams else None
            if codec is None:
                raise UnreadableRecording(f"{path} holds no audio that can be decoded")
            yield _Decoding(
                rate_hz=codec.sample_rate,
                channels=codec.channels,
                blocks=_blocks_of_ffmpeg(container, path),
            )


def _open_with_libsndfile(path: Path, start: bytes) -> soundfile.SoundFile | None:
    headerless = _HEADERLESS.get(path.suffix.lower())
    try:
        if headerless is None or start in _HEADERS:
            file = soundfile.SoundFile(path)
            if file.frames == 0:
                # A WAV written to a pipe says 0; FFmpeg takes that as "up to the end".
                file.close()
                return None
            return file
        subtype, rate_hz = headerless
        return soundfile.SoundFile(
            path,
            format="RAW",
            subtype=subtype,
            endian="LITTLE" if subtype == "PCM_16" else "FILE",
            samplerate=rate_hz,
            channels=1,
        )
    except (soundfile.LibsndfileError, TypeError):  # of a suffix that means: without a header
        return None


def _blocks_of_libsndfile(file: soundfile.SoundFile, path: Path) -> Iterator[Floats]:
    anything = False
    while True:
        try:
            block = np.asarray(
                file.read(BLOCK_FRAMES, dtype="float32", always_2d=True), dtype=np.float32
            )
        except soundfile.LibsndfileError as error:
            if anything:
                return
            raise UnreadableRecording(f"{path} is damaged: no audio can be decoded") from error
        if not len(block):
            return
        anything = True
        yield block


def _blocks_of_ffmpeg(container: InputContainer, path: Path) -> Iterator[Floats]:
    stream = container.streams.audio[0]
    rate_hz, channels = stream.codec_context.sample_rate, stream.codec_context.channels
    try:
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                continue  # one damaged packet, as FFmpeg's own tools do; the next may be sound
            for frame in frames:
                if frame.sample_rate != rate_hz or frame.layout.nb_channels != channels:
                    raise UnreadableRecording(f"{path} changes its rate or channels midway")
                yield _floats(frame, channels)
    except av.error.FFmpegError:
        return  # broken off; `_call_samples` refuses it if nothing came before


def _floats(frame: av.AudioFrame, channels: int) -> Floats:
    """A decoded frame, shape (frames, channels), whatever sample format the codec has."""
    raw = frame.to_ndarray()
    table = raw.T if frame.format.is_planar else raw.reshape(-1, channels)
    if table.dtype == np.uint8:
        return (table.astype(np.float32) - np.float32(128)) / np.float32(128)
    if table.dtype.kind == "i":
        full_scale = 2.0 ** (8 * table.dtype.itemsize - 1)
        return (table / full_scale).astype(np.float32)
    return table.astype(np.float32)
