"""Net speech: which samples of a call are somebody speaking.

Voice activity is judged in frames of 32 ms. A short burst is not speech yet, a short pause is still
speech; everything else that is silence, noise or music falls out. Positions are absolute sample
indices of the call at `CALL_RATE_HZ`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vivavoce.audio.arrays import CALL_RATE_HZ, Samples
from vivavoce.audio.resample import StreamDoubler

FRAME_SAMPLES = 256
"""One voice activity frame at `CALL_RATE_HZ`: 32 ms, the detector's 512 samples at 16 kHz."""

DETECTOR_RATE_HZ = 16000

GROUP_FRAMES = 4
"""Frames that are judged together, 128 ms: the detector takes a third of the time that it takes for
one after the other, and a decision comes 48 ms later in the mean."""

ONSET_PROBABILITY = 0.5
"""Speech begins at this probability. Source: Silero VAD's recommended threshold."""

OFFSET_PROBABILITY = 0.35
"""Speech goes on above this one. Source: Silero VAD's own iterator stops 0.15 below the onset."""

MIN_BURST_FRAMES = 3
"""Speech shorter than 96 ms is a click or a breath. Not documented; chosen as below a syllable."""

MAX_PAUSE_FRAMES = 4
"""A pause of up to 128 ms is a stop consonant, not silence. Not documented; chosen so."""


_DETECTOR_FRAME_SAMPLES = FRAME_SAMPLES * DETECTOR_RATE_HZ // CALL_RATE_HZ


class FrameDetector(Protocol):
    """Judges one frame after the other of one call; keeps state between them."""

    def probabilities(self, frames: Samples) -> Sequence[float]:
        """Probabilities 0..1 that the next frames hold speech; shape (n, 512), 16 kHz."""
        ...

    def reset(self) -> None:
        """Forget what was heard: the next frame does not follow on the last one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Speech:
    """Neighbouring frames of speech.

    Attributes:
        start: index of the first sample in the call.
        samples: shape (n,), n a multiple of `FRAME_SAMPLES`.
    """

    start: int
    samples: Samples

    @property
    def end(self) -> int:
        """Index after the last sample."""
        return self.start + len(self.samples)


def joined(parts: Sequence[Speech]) -> list[Speech]:
    """The same speech with neighbours in one piece: a frame by itself takes twice its samples."""
    runs: list[list[Speech]] = []
    for part in parts:
        if runs and runs[-1][-1].end == part.start:
            runs[-1].append(part)
        else:
            runs.append([part])
    return [
        Speech(start=run[0].start, samples=np.concatenate([part.samples for part in run]))
        for run in runs
    ]


class SpeechCollector:
    """Turns a call's samples into its net speech; the same for every chunking of the input."""

    def __init__(self, detector: FrameDetector) -> None:
        self._detector = detector
        self._rule = _SpeechRule()
        self._resampler = StreamDoubler()
        self._unjudged = np.zeros(0, np.int16)  # call samples whose frame has no verdict yet
        self._upsampled = np.zeros(0, np.int16)  # the same moments at the detector's rate
        self._position = 0  # index of the first unjudged sample

    @property
    def position(self) -> int:
        """Index in the call of the first sample that has not been judged."""
        return self._position

    def push(self, samples: Samples) -> list[Speech]:
        """Take the next samples of the call, shape (n,); gives the speech that became certain."""
        self._unjudged = np.concatenate([self._unjudged, samples])
        self._upsampled = np.concatenate([self._upsampled, self._resampler.push(samples)])
        # Whole groups, counted from the beginning: how the detector rounds may depend on how many
        # frames it is given, and what comes out must not depend on how the audio arrived.
        frames = self._whole_frames()
        return list(self._judge(frames - frames % GROUP_FRAMES))

    def gap(self, samples: int) -> list[Speech]:
        """Note that so many samples of the call were lost; speech does not go on across them."""
        found = self.finish()
        self._position += samples
        self._detector.reset()
        return found

    def finish(self) -> list[Speech]:
        """No more samples follow directly; gives what can still be judged.

        Less than one frame may be left over; it is not counted.
        """
        self._upsampled = np.concatenate([self._upsampled, self._resampler.finish()])
        found = list(self._judge(self._whole_frames()))
        self._rule.close()
        self._position += len(self._unjudged)
        self._unjudged = self._unjudged[:0]
        self._upsampled = self._upsampled[:0]
        self._resampler = StreamDoubler()
        return found

    def _whole_frames(self) -> int:
        return min(
            len(self._upsampled) // _DETECTOR_FRAME_SAMPLES, len(self._unjudged) // FRAME_SAMPLES
        )

    def _judge(self, frames: int) -> Iterator[Speech]:
        if not frames:
            return
        end, heard_end = frames * FRAME_SAMPLES, frames * _DETECTOR_FRAME_SAMPLES
        judged, self._unjudged = self._unjudged[:end], self._unjudged[end:]
        heard, self._upsampled = self._upsampled[:heard_end], self._upsampled[heard_end:]
        groups = heard.reshape(frames, _DETECTOR_FRAME_SAMPLES)
        for first in range(0, frames, GROUP_FRAMES):
            group = groups[first : first + GROUP_FRAMES]
            for index, probability in enumerate(self._detector.probabilities(group), start=first):
                offset = index * FRAME_SAMPLES
                frame = Speech(
                    start=self._position + offset,
                    samples=judged[offset : offset + FRAME_SAMPLES],
                )
                if (speech := self._rule.judge(frame, probability)) is not None:
                    yield speech
        self._position += frames * FRAME_SAMPLES


class _SpeechRule:
    """Hysteresis over frames: bursts must last, pauses may not."""

    def __init__(self) -> None:
        self._speaking = False
        self._held: list[Speech] = []  # a burst not yet long enough, or a pause not yet too long

    def judge(self, frame: Speech, probability: float) -> Speech | None:
        """What became certain with this frame."""
        if self._speaking:
            return self._while_speaking(frame, probability)
        if probability < ONSET_PROBABILITY:
            self._held.clear()
            return None
        self._held.append(frame)
        if len(self._held) < MIN_BURST_FRAMES:
            return None
        self._speaking = True
        return self._release()

    def close(self) -> None:
        """Silence follows: an open pause or burst is dropped."""
        self._speaking = False
        self._held.clear()

    def _while_speaking(self, frame: Speech, probability: float) -> Speech | None:
        self._held.append(frame)
        if probability >= OFFSET_PROBABILITY:
            return self._release()
        if len(self._held) > MAX_PAUSE_FRAMES:
            self.close()
        return None

    def _release(self) -> Speech:
        held, self._held = self._held, []
        if len(held) == 1:
            return held[0]
        return Speech(
            start=held[0].start, samples=np.concatenate([frame.samples for frame in held])
        )


def collect_net_speech(samples: Samples, detector: FrameDetector) -> Samples:
    """The net speech of a whole recording, shape (n,) at `CALL_RATE_HZ`.

    The same rule as in a live call. `detector` must be fresh or reset.
    """
    collector = SpeechCollector(detector)
    found = [*collector.push(samples), *collector.finish()]
    return np.concatenate([speech.samples for speech in found] or [np.zeros(0, np.int16)])
