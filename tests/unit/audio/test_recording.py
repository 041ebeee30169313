import contextlib
import io
import os
import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from av.audio.stream import AudioStream

from vivavoce.audio.recording import iter_recording, read_recording
from vivavoce.errors import AudioError, BadAudioParameters, UnreadableRecording


def tone(seconds: float = 1.0, rate_hz: int = 8000, hz: float = 440.0) -> np.ndarray:
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    return (0.3 * np.sin(2 * np.pi * hz * t)).astype(np.float32)


def agrees(samples: np.ndarray, hz: float = 440.0) -> bool:
    """Is this the tone, whatever its phase?"""
    middle = samples[1000:7000].astype(float) / 32768
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    peak_hz = np.argmax(spectrum) * 8000 / len(middle)
    return bool(abs(peak_hz - hz) < 3 and 0.2 < np.abs(middle).max() < 0.45)


def write_with_ffmpeg(path: Path, codec: str, rate_hz: int, sample_format: str) -> None:
    """One second of the tone in a container and codec that libsndfile does not write."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate_hz, layout="mono")
        assert isinstance(stream, AudioStream)
        if codec != "libopencore_amrnb":
            stream.bit_rate = 64_000
        audio = tone(1.0, rate_hz)
        size = 160 if codec == "libopencore_amrnb" else 1024
        for start in range(0, len(audio), size):
            block = audio[start : start + size]
            if sample_format == "s16":
                block = np.rint(block * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(block[None], format=sample_format, layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate_hz, start, Fraction(1, rate_hz)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("suffix", "subtype", "rate_hz"),
    [
        ("wav", "PCM_U8", 8000),
        ("wav", "PCM_16", 8000),
        ("wav", "PCM_16", 16000),
        ("wav", "PCM_24", 44100),
        ("wav", "FLOAT", 48000),
        ("wav", "DOUBLE", 11025),
        ("wav", "ULAW", 8000),
        ("wav", "ALAW", 8000),
        ("wav", "GSM610", 8000),
        ("wav", "IMA_ADPCM", 8000),
        ("aiff", "PCM_16", 22050),
        ("au", "ULAW", 8000),
        ("flac", "PCM_16", 8000),
        ("ogg", "VORBIS", 44100),
        ("ogg", "OPUS", 48000),
        ("mp3", "MPEG_LAYER_III", 44100),
    ],
)
def test_what_libsndfile_reads_is_read(tmp_path, suffix, subtype, rate_hz):
    path = tmp_path / f"call.{suffix}"
    soundfile.write(path, tone(1.0, rate_hz), rate_hz, subtype=subtype)
    heard = read_recording(path)
    assert heard.source_rate_hz == rate_hz
    assert heard.channels == 1
    assert heard.samples.dtype == np.int16
    assert heard.seconds == pytest.approx(1.0, abs=0.06)  # MP3 has padding
    assert agrees(heard.samples)


@pytest.mark.parametrize(
    ("suffix", "codec", "rate_hz", "sample_format"),
    [
        ("m4a", "aac", 44100, "fltp"),
        ("mp4", "aac", 48000, "fltp"),
        ("mkv", "libopus", 48000, "flt"),
        ("webm", "libopus", 48000, "flt"),
        ("amr", "libopencore_amrnb", 8000, "s16"),
        ("wma", "wmav2", 44100, "fltp"),
        ("wv", "wavpack", 16000, "fltp"),
    ],
)
def test_what_only_ffmpeg_reads_is_read(tmp_path, suffix, codec, rate_hz, sample_format):
    path = tmp_path / f"call.{suffix}"
    write_with_ffmpeg(path, codec, rate_hz, sample_format)
    heard = read_recording(path)
    assert heard.source_rate_hz == rate_hz
    assert heard.seconds == pytest.approx(1.0, abs=0.06)
    assert agrees(heard.samples)


@pytest.mark.parametrize(
    ("suffix", "subtype", "rate_hz"),
    [("gsm", "GSM610", 8000), ("ulaw", "ULAW", 8000), ("ALAW", "ALAW", 8000),
     ("sln", "PCM_16", 8000), ("sln16", "PCM_16", 16000)],
)  # fmt: skip
def test_a_headerless_file_is_known_by_its_suffix(tmp_path, suffix, subtype, rate_hz):
    path = tmp_path / f"call.{suffix}"
    soundfile.write(path, tone(1.0, rate_hz), rate_hz, format="RAW", subtype=subtype)
    heard = read_recording(path)
    assert heard.seconds == pytest.approx(1.0, abs=0.03)
    assert agrees(heard.samples)


def test_a_wav_with_a_headerless_suffix_is_still_a_wav(tmp_path):
    path = tmp_path / "call.gsm"
    soundfile.write(path, tone(), 8000, format="WAV", subtype="GSM610")
    assert agrees(read_recording(path).samples)


def test_sixteen_bits_at_the_call_rate_pass_unchanged(tmp_path):
    samples = np.arange(-32768, 32768, 7, dtype=np.int16)
    soundfile.write(tmp_path / "call.wav", samples, 8000)
    assert np.array_equal(read_recording(tmp_path / "call.wav").samples, samples)


def test_of_two_channels_the_first_is_taken_unless_told_otherwise(tmp_path):
    path = tmp_path / "call.wav"
    both = np.stack([tone(1.0, 44100, 440), tone(1.0, 44100, 1000)], axis=1)
    soundfile.write(path, both, 44100, subtype="FLOAT")
    assert agrees(read_recording(path).samples, 440)
    assert agrees(read_recording(path, channel=1).samples, 1000)
    assert read_recording(path).channels == 2


@pytest.mark.parametrize("channel", [-1, 2, 99])
def test_a_channel_that_is_not_there_is_refused(tmp_path, channel):
    path = tmp_path / "call.wav"
    soundfile.write(path, np.zeros((800, 2), np.int16), 8000)
    with pytest.raises(BadAudioParameters, match="2 channels, counted from 0"):
        read_recording(path, channel=channel)


def test_floats_beyond_full_scale_are_clipped(tmp_path):
    path = tmp_path / "call.wav"
    soundfile.write(path, np.full(800, 1.7, np.float32), 8000, subtype="FLOAT")
    assert (read_recording(path).samples == 32767).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(tmp_path, bad):
    audio = tone()
    audio[4000] = bad
    soundfile.write(tmp_path / "call.wav", audio, 8000, subtype="FLOAT")
    with pytest.raises(UnreadableRecording, match="not finite"):
        read_recording(tmp_path / "call.wav")


def wav_bytes() -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(), 8000, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"R", "not a recording"),
        (b"hello, this is not audio\n" * 100, "not a recording"),
        (b"\x00" * 5000, "not a recording|no audio"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nother.wav\n#EXT-X-ENDLIST\n",
         "not a recording"),
        (b"ffconcat version 1.0\nfile other.wav\n", "not a recording"),
        (b"\x89PNG\r\n\x1a\n" + b"\x00" * 100, "not a recording"),
        (wav_bytes()[:20], "not a recording"),
        (wav_bytes()[:44], "no audio"),
    ],
)  # fmt: skip
def test_what_is_no_recording_gets_one_clear_line(tmp_path, capfd, content, said):
    soundfile.write(tmp_path / "other.wav", tone(), 8000)
    path = tmp_path / "call.wav"
    path.write_bytes(content)
    with pytest.raises(UnreadableRecording, match=said) as caught:
        read_recording(path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")  # nor do the libraries chatter


def test_a_recording_that_breaks_off_is_read_as_far_as_it_goes(tmp_path):
    path = tmp_path / "call.wav"
    path.write_bytes(wav_bytes()[: 44 + 2 * 4000])
    assert len(read_recording(path).samples) == 4000


@pytest.mark.parametrize("suffix", ["flac", "ogg", "mp3"])
def test_a_compressed_recording_that_breaks_off_gives_its_beginning(tmp_path, suffix):
    path = tmp_path / f"call.{suffix}"
    noise = np.random.default_rng(0).standard_normal(44100 * 4).astype(np.float32) * 0.1
    soundfile.write(path, noise, 44100)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 0.5 < read_recording(path).seconds < 3.5


def test_a_wav_whose_header_was_never_completed_is_read(tmp_path):
    """Written to a pipe, or the recorder was killed: the sizes are 0 or all ones."""
    for size in (0, 0xFFFFFFFF):
        content = bytearray(wav_bytes())
        content[4:8] = content[40:44] = size.to_bytes(4, "little")
        path = tmp_path / "call.wav"
        path.write_bytes(content)
        assert read_recording(path).seconds == pytest.approx(1.0, abs=0.01)


def test_missing_files_directories_and_pipes_are_told_apart(tmp_path):
    with pytest.raises(UnreadableRecording, match="does not exist"):
        read_recording(tmp_path / "absent.wav")
    with pytest.raises(UnreadableRecording, match="is not a file"):
        read_recording(tmp_path)
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(UnreadableRecording, match="is not a file"):
        read_recording(tmp_path / "pipe.wav")


def test_damaged_bytes_end_in_audio_or_in_a_clear_error(tmp_path):
    rng = np.random.default_rng(7)
    for suffix in ("wav", "flac", "ogg", "mp3"):
        path = tmp_path / f"call.{suffix}"
        soundfile.write(path, tone(0.5, 16000), 16000)
        sound = path.read_bytes()
        for _ in range(25):
            content = bytearray(sound)
            for place in rng.integers(0, min(len(content), 400), 6):
                content[place] = rng.integers(0, 256)
            path.write_bytes(content)
            with contextlib.suppress(AudioError):
                assert len(read_recording(path).samples) > 0


def test_blocks_join_to_the_whole(tmp_path):
    path = tmp_path / "call.flac"
    noise = np.random.default_rng(1).standard_normal((44100 * 5, 2)).astype(np.float32) * 0.1
    soundfile.write(path, noise, 44100)
    blocks = list(iter_recording(path, channel=1))
    assert len(blocks) > 1
    assert np.array_equal(np.concatenate(blocks), read_recording(path, channel=1).samples)


def test_memory_does_not_grow_with_the_length(tmp_path):
    path = tmp_path / "long.flac"
    soundfile.write(path, np.zeros(8000 * 3600, np.int16), 8000)  # an hour: 58 MB if held
    tracemalloc.start()
    total = sum(len(block) for block in iter_recording(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == 8000 * 3600
    assert peak < 8_000_000


def test_a_recording_longer_than_fits_is_refused(tmp_path):
    path = tmp_path / "long.flac"
    soundfile.write(path, np.zeros(8000 * 3600 + 1, np.int16), 8000)
    with pytest.raises(UnreadableRecording, match="longer than 1 hours"):
        read_recording(path, longest_s=3600)
