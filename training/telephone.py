"""What a telephone does to a voice: codecs, loss, noise, level and band.

Every function takes and returns float32, shape (n,), full scale -1..1, 8 kHz, of the same length.
Codecs are the real ones: G.711 and GSM 06.10 from libsndfile, Opus and AMR-NB from the FFmpeg
libraries in PyAV, Speex from its own encoder. Their delay is taken out, so that speech stays where
it was.

Random ones take a `numpy.random.Generator`, so that the same seed gives the same audio.
"""

import io
import subprocess
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import partial
from typing import TypeAlias

import av
import numpy as np
import soundfile
import soxr
from av.audio.codeccontext import AudioCodecContext

from vivavoce.audio.arrays import CALL_RATE_HZ, Floats, Samples, to_float, to_int16

Codec: TypeAlias = Callable[[Floats], Floats]

# Codec frames of GSM 06.10, AMR-NB and (as set here) Opus: 20 ms.
_FRAME_SAMPLES = 160
# Look-ahead of the AMR-NB encoder, 5 ms in all modes of this implementation; measured by
# cross-correlation of a clip with its decoded copy (39 to 40 samples).
_AMR_DELAY_SAMPLES = 40
# Look-ahead of Speex' encoder and decoder together, measured likewise.
_SPEEX_DELAY_SAMPLES = 80
_MP3_RATE_HZ, _MP3_FRAME_SAMPLES = 16000, 576
# 3GPP TS 26.071: the eight bit rates of AMR-NB, in bit/s.
AMR_MODES_BPS = (4750, 5150, 5900, 6700, 7400, 7950, 10200, 12200)


def pcm(audio: Floats) -> Floats:
    """Linear PCM, 16 bit: the reference condition."""
    return to_float(to_int16(audio))


def mulaw(audio: Floats) -> Floats:
    """G.711 µ-law, as in North America and Japan and in most cloud telephony."""
    return _through_soundfile(audio, container="RAW", subtype="ULAW")


def alaw(audio: Floats) -> Floats:
    """G.711 A-law, as in Europe and most of the world."""
    return _through_soundfile(audio, container="RAW", subtype="ALAW")


def gsm(audio: Floats) -> Floats:
    """GSM 06.10 full rate, 13 kbit/s: old mobile calls and Asterisk recordings."""
    return _through_soundfile(audio, container="WAV", subtype="GSM610")


def opus(audio: Floats, bitrate_bps: int) -> Floats:
    """Opus in its narrow-band speech mode at a constant bit rate, 20 ms frames (RFC 6716)."""
    encoder = av.CodecContext.create("libopus", "w")
    # cutoff 4000 Hz is libopus' name for narrow band.
    encoder.options = {"application": "voip", "vbr": "off", "cutoff": "4000"}
    decoder = av.CodecContext.create("libopus", "r")
    decoded, rate_hz = _through_codec(to_int16(audio), encoder, decoder, bitrate_bps)
    # The decoder runs at 48 kHz and has dropped the encoder's look-ahead by itself ("pre-skip").
    return _fit(soxr.resample(decoded, rate_hz, CALL_RATE_HZ), len(audio))


def amr(audio: Floats, mode_bps: int) -> Floats:
    """AMR narrow band, the codec of 2G and 3G mobile calls.

    Args:
        audio: float32, shape (n,), 8 kHz.
        mode_bps: one of `AMR_MODES_BPS`.
    """
    if mode_bps not in AMR_MODES_BPS:
        raise ValueError(f"AMR-NB has no mode of {mode_bps} bit/s; it has {AMR_MODES_BPS}")
    encoder = av.CodecContext.create("libopencore_amrnb", "w")
    decoder = av.CodecContext.create("amrnb", "r")
    # One frame of silence behind, so that the delayed end comes out as well.
    padded = np.concatenate([to_int16(audio), np.zeros(_FRAME_SAMPLES, np.int16)])
    decoded, _ = _through_codec(padded, encoder, decoder, mode_bps)
    return _fit(decoded[_AMR_DELAY_SAMPLES:], len(audio))


def speex(audio: Floats, quality: int) -> Floats:
    """Speex narrow band: older softphones and Asterisk trunks. Needs Debian's package speex.

    Args:
        audio: float32, shape (n,), 8 kHz.
        quality: 0..10; 2 is 6, 4 is 8, 8 is 15 kbit/s.
    """
    command = ["speexenc", "-n", "--quality", str(quality), "--rate", "8000", "--le", "-", "-"]
    # The encoder takes no less than a frame; one behind, so that the delayed end comes out as well.
    padded = np.pad(audio, (0, max(_FRAME_SAMPLES, 2 * _FRAME_SAMPLES - len(audio))))
    heard = to_int16(padded).astype("<i2").tobytes()
    coded = subprocess.run(command, input=heard, capture_output=True, check=True).stdout
    with av.open(io.BytesIO(coded)) as container:
        frames = [frame.to_ndarray().ravel() for frame in container.decode(audio=0)]
    return _fit(np.concatenate(frames)[_SPEEX_DELAY_SAMPLES:].astype(np.float32), len(audio))


def mp3(audio: Floats, bitrate_bps: int) -> Floats:
    """MP3 at 16 kHz (MPEG-2 layer III): what a recording may have been through before the call."""
    encoder = av.CodecContext.create("libmp3lame", "w")
    decoder = av.CodecContext.create("mp3", "r")
    wide = to_int16(soxr.resample(audio, CALL_RATE_HZ, _MP3_RATE_HZ))
    # Two frames behind, so that the delayed end comes out as well.
    padded = np.pad(wide, (0, 2 * _MP3_FRAME_SAMPLES))
    decoded, _ = _through_codec(
        padded,
        encoder,
        decoder,
        bitrate_bps,
        rate_hz=_MP3_RATE_HZ,
        frame_samples=_MP3_FRAME_SAMPLES,
        sample_format="s16p",
    )
    # The decoder has dropped the encoder's delay by itself.
    return _fit(soxr.resample(decoded, _MP3_RATE_HZ, CALL_RATE_HZ), len(audio))


def lose_packets(audio: Floats, rate: float, packet_ms: int, rng: np.random.Generator) -> Floats:
    """Lose a share of packets; the receiver repeats the last one, ever quieter, then is silent.

    Args:
        audio: float32, shape (n,), 8 kHz.
        rate: share of packets lost, 0..1, each independently.
        packet_ms: length of a packet.
        rng: source of chance.
    """
    packet_samples = packet_ms * CALL_RATE_HZ // 1000
    heard = audio.copy()
    last = np.zeros(packet_samples, np.float32)
    for start in range(0, len(audio), packet_samples):
        packet = heard[start : start + packet_samples]
        if rng.random() >= rate:
            last = packet.copy()
            continue
        last = np.resize(last, packet_samples) * np.float32(0.5)
        packet[:] = last[: len(packet)]
    return heard


def add_noise(
    audio: Floats, snr_db: float, rng: np.random.Generator, *, tilt_db_per_octave: float = -3.0
) -> Floats:
    """Add steady noise at a ratio to the level of the speech.

    Args:
        audio: float32, shape (n,), 8 kHz.
        snr_db: level of the active speech over that of the noise.
        rng: source of chance.
        tilt_db_per_octave: colour of the noise: 0 white, -3 pink, -6 brown (a room, a car).
    """
    if len(audio) == 0:
        return audio.copy()
    spectrum = np.fft.rfft(rng.standard_normal(len(audio)))
    hz = np.fft.rfftfreq(len(audio), 1 / CALL_RATE_HZ)
    # Below 50 Hz no telephone carries anything; a steeper noise would be all rumble.
    spectrum *= np.maximum(hz, 50.0) ** (tilt_db_per_octave / (20 * np.log10(2)))
    noise = np.fft.irfft(spectrum, len(audio))
    noise *= _rms(audio[_active(audio)]) / max(_rms(noise), 1e-12) / 10 ** (snr_db / 20)
    return _clipped(audio + noise)


def set_level(audio: Floats, level_dbfs: float) -> Floats:
    """Bring the active speech to a level (RMS, relative to full scale); louder peaks clip."""
    rms = _rms(audio[_active(audio)])
    if rms == 0:
        return audio.copy()
    return _clipped(audio * (10 ** (level_dbfs / 20) / rms))


def band_limit(audio: Floats, low_hz: float, high_hz: float) -> Floats:
    """Keep a band, with edges 100 Hz wide; the classic telephone band is 300 to 3400 Hz."""
    spectrum = np.fft.rfft(audio, len(audio) + CALL_RATE_HZ // 10)
    hz = np.fft.rfftfreq(len(audio) + CALL_RATE_HZ // 10, 1 / CALL_RATE_HZ)
    gain = np.interp(hz, [low_hz - 50, low_hz + 50], [0, 1]) if low_hz > 0 else np.ones_like(hz)
    if high_hz < CALL_RATE_HZ / 2:
        gain = gain * np.interp(hz, [high_hz - 50, high_hz + 50], [1, 0])
    return np.fft.irfft(spectrum * gain, len(audio) + CALL_RATE_HZ // 10)[: len(audio)].astype(
        np.float32
    )


CODECS: Mapping[str, Codec] = {
    "pcm": pcm,
    "mulaw": mulaw,
    "alaw": alaw,
    "gsm": gsm,
    "opus-10k": partial(opus, bitrate_bps=10_000),
    "opus-16k": partial(opus, bitrate_bps=16_000),
    "opus-24k": partial(opus, bitrate_bps=24_000),
    "amr-12.2": partial(amr, mode_bps=12_200),
    "amr-7.95": partial(amr, mode_bps=7_950),
    "amr-5.9": partial(amr, mode_bps=5_900),
    "amr-4.75": partial(amr, mode_bps=4_750),
}
"""Codecs by the name that tables use."""


def _through_soundfile(audio: Floats, *, container: str, subtype: str) -> Floats:
    buffer = io.BytesIO()
    kind = {"samplerate": CALL_RATE_HZ, "format": container, "subtype": subtype}
    soundfile.write(buffer, to_int16(audio), **kind)
    buffer.seek(0)
    if container == "RAW":
        decoded, _ = soundfile.read(buffer, dtype="int16", channels=1, **kind)
    else:
        decoded, _ = soundfile.read(buffer, dtype="int16")
    return _fit(to_float(decoded), len(audio))


def _through_codec(
    samples: Samples,
    encoder: AudioCodecContext,
    decoder: AudioCodecContext,
    bitrate_bps: int,
    *,
    rate_hz: int = CALL_RATE_HZ,
    frame_samples: int = _FRAME_SAMPLES,
    sample_format: str = "s16",
) -> tuple[Floats, int]:
    """Encode and decode frame by frame; the decoded floats and their rate."""
    encoder.sample_rate = rate_hz
    encoder.layout = "mono"
    encoder.format = sample_format
    encoder.bit_rate = bitrate_bps
    encoder.time_base = Fraction(1, rate_hz)
    encoder.open()
    decoder.sample_rate = rate_hz
    decoder.layout = "mono"
    if encoder.extradata:
        decoder.extradata = encoder.extradata

    padded = np.pad(samples, (0, -len(samples) % frame_samples))
    packets: list[av.Packet] = []
    for start in range(0, len(padded), frame_samples):
        frame = av.AudioFrame.from_ndarray(
            padded[None, start : start + frame_samples], format=sample_format, layout="mono"
        )
        frame.sample_rate = rate_hz
        frame.pts = start
        frame.time_base = Fraction(1, rate_hz)
        packets += encoder.encode(frame)
    packets += encoder.encode(None)

    frames = [frame for packet in packets for frame in decoder.decode(packet)]
    frames += decoder.decode(None)
    if not frames:
        return np.zeros(0, np.float32), rate_hz
    blocks = [frame.to_ndarray().reshape(-1) for frame in frames]
    decoded = np.concatenate(blocks)
    if decoded.dtype == np.int16:
        decoded = to_float(decoded)
    return decoded.astype(np.float32), frames[0].sample_rate


def _active(audio: Floats) -> np.ndarray:
    """Mask of samples in 20 ms frames that are within 30 dB of the loud ones (95th percentile)."""
    count = -(-len(audio) // _FRAME_SAMPLES)
    padded = np.pad(audio, (0, count * _FRAME_SAMPLES - len(audio)))
    power = np.mean(padded.reshape(count, _FRAME_SAMPLES).astype(np.float64) ** 2, axis=1)
    loud = np.quantile(power, 0.95) if count else 0.0
    return np.repeat(power >= loud / 1000, _FRAME_SAMPLES)[: len(audio)]


def _rms(audio: np.ndarray) -> float:
    return float(np.sqrt(np.mean(audio.astype(np.float64) ** 2))) if len(audio) else 0.0


def _clipped(audio: np.ndarray) -> Floats:
    return np.clip(audio, -1.0, 1.0).astype(np.float32)


def _fit(audio: Floats, length: int) -> Floats:
    """Exactly `length` samples: cut, or silence behind."""
    return np.pad(audio[:length], (0, max(0, length - len(audio)))).astype(np.float32)
