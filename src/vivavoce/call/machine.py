"""The call machine: what a call's audio amounts to, as a pure state machine.

It knows no socket, model, store or clock. Audio goes in by `push`, and events come out; evidence is
asked for by an event too (`EvidenceNeeded`) and answered by `accept`. The same audio gives the same
events however it was cut into chunks, so a call replayed from a recording gives the decisions of
the live call.

Speech is collected until `Plan.limit_samples`; an echo of the agent is none. On the way evidence is
taken at fixed amounts of net speech (the checkpoints) and at the end of the call. The first of it
serves an early risk of spoofing: there is not enough for any decision yet.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

from vivavoce.audio.arrays import CALL_RATE_HZ, Floats, Samples
from vivavoce.audio.leakage import LeakageFinder
from vivavoce.audio.quality import QualityMeter, Verdict
from vivavoce.call.speech import FRAME_SAMPLES, FrameDetector, Speech, SpeechCollector, joined
from vivavoce.scoring.spoofing import JUDGED_S, SpoofEvidence
from vivavoce.scoring.voices import VoicesFound

ENROLLMENT_S = 30
ENROLLMENT_SAMPLES = ENROLLMENT_S * CALL_RATE_HZ
"""Net speech for an enrolment. Source: voice-id-behaviour.md, section 9."""

FRAUD_S = 10
FRAUD_SAMPLES = FRAUD_S * CALL_RATE_HZ
"""Net speech for a fraud decision. Not documented; chosen as the authentication default."""

SHORTEST_EVIDENCE_SAMPLES = round(JUDGED_S * CALL_RATE_HZ)
"""Net speech that anything can be said of."""

EARLY_SAMPLES = (SHORTEST_EVIDENCE_SAMPLES, FRAUD_SAMPLES // 2)
"""Net speech for an early risk of spoofing. Not documented; chosen as early as can be, and half way
to the decision, where the risk is surer."""

_AHEAD_FROM_SAMPLES = round(4.5 * CALL_RATE_HZ)
_AHEAD_SAMPLES = 3 * CALL_RATE_HZ
"""Speech at the first look ahead, and from one to the next: half a second after each of the spoof
detector's windows is complete, which are 4 s long and 3 s apart."""


def _looks_ahead(net_samples: int) -> int:
    """How many there are until so much speech."""
    return max(0, 1 + (net_samples - _AHEAD_FROM_SAMPLES) // _AHEAD_SAMPLES)


def samples_to_s(samples: int) -> float:
    """Seconds that a number of samples at `CALL_RATE_HZ` last."""
    return samples / CALL_RATE_HZ


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much speech a call is to give.

    Attributes:
        authentication_samples: net speech for an authentication decision.
        fraud_samples: net speech for a fraud decision.
        limit_samples: net speech after which nothing more is collected.
    """

    authentication_samples: int = 10 * CALL_RATE_HZ
    fraud_samples: int = FRAUD_SAMPLES
    limit_samples: int = ENROLLMENT_SAMPLES

    def checkpoints(self) -> tuple[int, ...]:
        """Amounts of net speech at which evidence is taken, rising.

        The second third of the way to the limit is one more than decisions need: a caller who was
        not certain at first becomes so without waiting for the end.
        """
        between = self.limit_samples * 2 // 3
        decisions = {self.authentication_samples, self.fraud_samples, between, self.limit_samples}
        return tuple(sorted(decisions.union(EARLY_SAMPLES)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Audio:
    """What was said next.

    Attributes:
        samples: by the caller, shape (n,) at `CALL_RATE_HZ`.
        agent: by whom the caller hears, at the same moments; None where that is not known.
    """

    samples: Samples
    agent: Samples | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """So many samples of the call are missing at this point.

    Attributes:
        samples: how many.
        is_loss: whether they were lost; otherwise they were kept from us on purpose.
    """

    samples: int
    is_loss: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Configure:
    """The session was given another minimum of speech for authentication."""

    authentication_samples: int


Item: TypeAlias = Audio | Gap | Configure


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceNeeded:
    """The machine asks: what do the engines say of this speech?

    Attributes:
        number: counts up from 1; the answer carries it.
        speech: all net speech so far, shape (n,).
        start: index in the call of the first sample of speech.
        end: index after the last one.
    """

    number: int
    speech: Samples = field(repr=False)
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceAnswer:
    """The engines answer.

    Attributes:
        number: of the request.
        vector: the caller's voice, shape (dimension,), unit length.
        spoof: what the speech says of spoofing; None where it could not be judged.
        voices: whether more than one voice was heard; None where that could not be judged.
    """

    number: int
    vector: Floats = field(repr=False)
    spoof: SpoofEvidence | None
    voices: VoicesFound | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceReady:
    """There is new evidence to decide on.

    Attributes:
        number: counts up from 1.
        net_speech_samples: net speech it rests on.
        start: index in the call of the first sample of speech.
        end: index after the last one.
        vector: the caller's voice, shape (dimension,), unit length.
        spoof: what the speech says of spoofing; None where it could not be judged.
        voices: whether more than one voice was heard; None where that could not be judged.
    """

    number: int
    net_speech_samples: int
    start: int
    end: int
    vector: Floats = field(repr=False)
    spoof: SpoofEvidence | None
    voices: VoicesFound | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechAhead:
    """There is more speech; what can be found of it now need not be found at the next checkpoint.

    Attributes:
        speech: all net speech so far, shape (n,).
    """

    speech: Samples = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechComplete:
    """All the speech that the plan wants has been collected."""


Event: TypeAlias = EvidenceNeeded | EvidenceReady | SpeechAhead | SpeechComplete


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a call has come; all counts in samples at `CALL_RATE_HZ`."""

    received_samples: int = 0
    net_speech_samples: int = 0
    lost_samples: int = 0
    quality: Verdict = "UNKNOWN"


class CallMachine:
    """One call."""

    def __init__(self, detector: FrameDetector, plan: Plan) -> None:
        self._collector = SpeechCollector(detector)
        self._plan = plan
        self._meter = QualityMeter()
        self._leakage = LeakageFinder()
        self._speech: list[Speech] = []
        self._net_samples = 0
        self._uncounted = np.zeros(0, np.int16)  # received, not yet judged
        self._counted_to = 0  # index in the call of the first of these
        self._evidence_samples = 0  # net speech that the latest evidence request covers
        self._requests: dict[int, EvidenceNeeded] = {}  # asked, not yet answered
        self._certainty = (0, 1.0)  # number of the latest answer on spoofing, and its certainty
        self._two_voices = (0, False)  # number of the latest answer on voices, and what it was
        self._asked = 0

    def push(self, item: Item) -> list[Event]:
        """Take what comes next."""
        match item:
            case Audio(samples=samples) if self.complete:
                # Its speech is not told from its noise any more, so it must not count as either.
                self._meter.add_unheard(len(samples))
                return []
            case Audio(samples=samples, agent=agent):
                self._uncounted = np.concatenate([self._uncounted, samples])
                self._leakage.push(samples, agent)
                events = self._collect(self._collector.push(samples))
                self._count(self._collector.position - self._counted_to)
                return events
            case Gap(samples=samples, is_loss=is_loss):
                if is_loss:
                    self._meter.add_loss(samples)
                if self.complete:
                    return []
                events = self._collect(self._collector.gap(samples))
                self._leakage.gap(samples)
                self._count(len(self._uncounted))
                self._counted_to = self._collector.position
                return events
            case Configure(authentication_samples=samples):
                self._plan = replace(self._plan, authentication_samples=samples)
                due = self._evidence_samples < samples <= self._net_samples
                return [self._ask()] if due else []

    def accept(self, answer: EvidenceAnswer) -> list[Event]:
        """Take the engines' answer to an `EvidenceNeeded`."""
        request = self._requests.pop(answer.number)
        if answer.spoof is not None:
            # Answers may come in any order; the one on the most speech counts.
            self._certainty = max(self._certainty, (answer.number, answer.spoof.certainty))
        if answer.voices is not None:
            self._two_voices = max(self._two_voices, (answer.number, answer.voices.are_two))
        return [
            EvidenceReady(
                number=request.number,
                net_speech_samples=len(request.speech),
                start=request.start,
                end=request.end,
                vector=answer.vector,
                spoof=answer.spoof,
                voices=answer.voices,
            )
        ]

    def finish(self) -> list[Event]:
        """The call is over; asks once more if there is speech that no evidence covers."""
        if self.complete:
            return []
        events = self._collect(self._collector.finish())
        self._count(len(self._uncounted))
        unheard = self._net_samples > self._evidence_samples
        if unheard and self._net_samples >= SHORTEST_EVIDENCE_SAMPLES:
            events.append(self._ask())
        return events

    @property
    def complete(self) -> bool:
        """Whether all speech that the plan wants has been collected."""
        return self._net_samples >= self._plan.limit_samples

    @property
    def progress(self) -> Progress:
        """How far the call has come."""
        _, certainty = self._certainty
        _, two_voices = self._two_voices
        return Progress(
            received_samples=self._meter.received_samples + len(self._uncounted),
            net_speech_samples=self._net_samples,
            lost_samples=self._meter.lost_samples,
            quality=self._meter.verdict(certainty=certainty, two_voices=two_voices),
        )

    def speech(self) -> Samples:
        """All net speech so far, shape (n,)."""
        return np.concatenate([part.samples for part in self._speech] or [np.zeros(0, np.int16)])

    def _count(self, judged: int) -> None:
        """Count for the quality what was judged, but none of it beyond the speech that is wanted.

        By position, since it must not matter in which pieces the audio came.
        """
        if self.complete:
            judged = self._speech[-1].end - self._counted_to
            self._meter.add_unheard(max(0, len(self._uncounted) - judged))
            rest = self._uncounted[:0]
        else:
            rest = self._uncounted[judged:]
        heard = self._uncounted[:judged]
        self._meter.add_audio(heard)
        self._counted_to += len(heard)
        self._uncounted = rest

    def _collect(self, found: list[Speech]) -> list[Event]:
        events: list[Event] = []
        checkpoints = self._plan.checkpoints()
        for speech in self._without_leaks(found):
            if self.complete:
                break
            self._meter.add_speech(speech.samples)
            self._speech.append(speech)
            before, self._net_samples = self._net_samples, self._net_samples + len(speech.samples)
            if any(before < mark <= self._net_samples for mark in checkpoints):
                events.append(self._ask())
            elif _looks_ahead(before) < _looks_ahead(self._net_samples):
                self._speech = joined(self._speech)
                events.append(SpeechAhead(speech=self.speech()))
            if self.complete:
                events.append(SpeechComplete())
        return events

    def _without_leaks(self, found: list[Speech]) -> Iterator[Speech]:
        """The speech but for frames that hold the agent's voice."""
        for speech in found:
            ends = range(speech.start + FRAME_SAMPLES, speech.end + 1, FRAME_SAMPLES)
            leaked = [self._leakage.is_leaked(end) for end in ends]
            if not any(leaked):
                yield speech
                continue
            frames = speech.samples.reshape(-1, FRAME_SAMPLES)
            for number, (frame, is_leaked) in enumerate(zip(frames, leaked, strict=True)):
                if is_leaked:
                    self._meter.add_leaked(frame)
                else:
                    yield Speech(start=speech.start + number * FRAME_SAMPLES, samples=frame)

    def _ask(self) -> EvidenceNeeded:
        self._asked += 1
        self._evidence_samples = self._net_samples
        self._speech = joined(self._speech)
        request = EvidenceNeeded(
            number=self._asked,
            speech=self.speech(),
            start=self._speech[0].start,
            end=self._speech[-1].end,
        )
        self._requests[request.number] = request
        return request
