"""Amazon Connect's live media streaming, as Kinesis Video Streams gives it out; sans I/O.

The body of GetMedia is one fragment after the other, each a Matroska document of its own that holds
about a second: header, tracks, tags of Kinesis Video, a cluster of blocks, tags of Amazon Connect.

```
Tags     AWS_KINESISVIDEO_FRAGMENT_NUMBER ...      which fragment; numbers rise
Cluster  a block of 64 ms of either track          times are those of the producer, in ms
Tags     ContactId, MimeType ...                   whose call this is, and what the blocks hold
Tags     AWS_KINESISVIDEO_CONTINUATION_TOKEN ...   the fragment is complete
```

Whose audio it is follows after the audio, so a fragment is heard when it is complete. That also
tells a fragment that came twice by its number, and one that a lost connection cut off is left to
come again whole.

A stream outlives its call and serves the next one: the call is over when the ContactId changes.

Source: Kinesis Video Streams, GetMedia (tags) and quotas; Amazon Connect, "Plan for live media
streaming" (tracks); amazon-connect-realtime-transcription, KVSUtils.java and
KVSContactTagProcessor.java (names of old tracks, the end of a call); a fragment of Amazon Connect
as printed in N. Neudeck, "Building Python Audio Consumers for Amazon Connect Kinesis Media
Streams" (order, MimeType, and that the tracks say A_AAC though they hold L16).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from vivavoce.audio.arrays import CALL_RATE_HZ, Samples
from vivavoce.audio.resample import StreamResampler
from vivavoce.protocols.events import Audio, Closed, Gap, Malformed, WireEvent
from vivavoce.protocols.matroska import Block, Document, MatroskaEvent, MatroskaReader, Tags, Track
from vivavoce.protocols.native import HIGHEST_RATE_HZ, LOWEST_RATE_HZ

CALLER_TRACKS = ("AUDIO_FROM_CUSTOMER", "Track_audio/L16", "")
"""Names of the caller's track; the later ones are of older streams."""

AGENT_TRACK = "AUDIO_TO_CUSTOMER"
"""What the caller hears: agents, prompts."""

_NUMBER = "AWS_KINESISVIDEO_FRAGMENT_NUMBER"
_COMPLETE = "AWS_KINESISVIDEO_CONTINUATION_TOKEN"
_ERROR, _ERROR_ID = "AWS_KINESISVIDEO_ERROR_CODE", "AWS_KINESISVIDEO_ERROR_ID"
_CONTACT, _FORMAT = "ContactId", "MimeType"

_LINEAR_CODECS = ("A_PCM/INT/LIT", "A_AAC")
"""What a track may say of itself where no MimeType says what it holds; A_AAC is said of L16."""

_SAMPLE_BYTES = 2

_MOST_HELD_BYTES = 4 * 1024 * 1024
_EVENT_BYTES = 256
"""A fragment has at most 20 s: 640 KB of two tracks. Not documented; chosen well above that, and an
event counts as more than its data, so that small ones are not held without end."""

_JITTER_S = 0.04
"""A block that begins so near the end of the one before follows on it. Not documented; chosen below
the 64 ms of a block, so that one that is missing is noticed."""

_RESTART_S = 60.0
"""A newer fragment that begins so long before what was heard, or an hour after it, has another
clock. Not documented; chosen well above the 20 s of a fragment, and above any pause."""

_LONGEST_GAP_S = 3600.0

_NS = 1_000_000_000


class KinesisStream:
    """What GetMedia gives of one call, over any number of connections."""

    def __init__(self) -> None:
        self._reader = MatroskaReader()
        self._fragment = _Fragment()
        self._contact: str | None = None
        self._latest: str | None = None
        self._line: _Line | None = None
        self._closed = False

    @property
    def latest_fragment(self) -> str | None:
        """Number of the last fragment that was heard; after it the next connection goes on."""
        return self._latest

    def receive_bytes(self, data: bytes) -> list[WireEvent]:
        """Take what came, cut anyhow; what comes after the end of the call is not looked at."""
        events: list[WireEvent] = []
        for event in self._reader.receive_bytes(data):
            if self._closed:
                break
            events += self._receive(event)
        return events

    def reconnect(self) -> None:
        """The connection was lost; the fragment that it cut off comes again on the next one."""
        self._reader = MatroskaReader()
        self._fragment = _Fragment()

    def finish(self) -> list[WireEvent]:
        """Nothing more comes; a fragment that may belong to the next call is dropped."""
        if self._closed:
            return []
        known = self._contact is None or _CONTACT in self._fragment.tags
        events = self._complete() if known else []
        return events if self._closed else [*events, *self._end()]

    def _receive(self, event: MatroskaEvent) -> list[WireEvent]:
        match event:
            case Document():
                events = self._complete()
                self._fragment = _Fragment()
                return events
            case Malformed(reason=reason):
                return self._refuse(reason)
            case Tags(values=tags) if _ERROR in tags or _ERROR_ID in tags:
                code, number = tags.get(_ERROR, "no reason"), tags.get(_ERROR_ID, "no number")
                return self._refuse(f"Kinesis Video ended the stream: {code} ({number})")
            case Track() | Block() | Tags():
                self._fragment.add(event)
        if self._fragment.held_bytes > _MOST_HELD_BYTES:
            return self._refuse("A fragment is longer than Kinesis Video has them")
        if isinstance(event, Tags) and _COMPLETE in event.values and self._fragment.blocks:
            return self._complete()
        return []

    def _complete(self) -> list[WireEvent]:
        """The fragment is whole: hear it, unless it is another call's, or was heard before."""
        fragment = self._fragment
        self._fragment = fragment.following()
        contact = fragment.tags.get(_CONTACT)
        if contact is not None and self._contact not in (None, contact):
            return self._end()
        self._contact = contact or self._contact
        number = fragment.number
        if number is not None:
            if self._latest is not None and int(number) <= int(self._latest):
                return []
            self._latest = number
        if not fragment.blocks:
            return []
        try:
            return self._hear(fragment, is_newer=number is not None)
        except _NotServedError as error:
            return self._refuse(str(error))

    def _hear(self, fragment: "_Fragment", *, is_newer: bool) -> list[WireEvent]:
        caller = fragment.caller()
        if caller is None:
            return []
        rate_hz = _linear_rate(caller, fragment.tags.get(_FORMAT))
        events: list[WireEvent] = []
        if self._line is None or self._line.rate_hz != rate_hz:
            events += [] if self._line is None else self._line.finish()
            self._line = _Line(rate_hz)
        agent = next((t for t in fragment.tracks.values() if t.name == AGENT_TRACK), None)
        if agent is not None and _linear_rate(agent, fragment.tags.get(_FORMAT)) != rate_hz:
            raise _NotServedError("The tracks differ in their sampling rates")
        heard = fragment.blocks_of(caller)
        other = None if agent is None else fragment.blocks_of(agent)
        return [*events, *self._line.hear(heard, other, is_newer=is_newer)]

    def _end(self) -> list[WireEvent]:
        self._closed = True
        return [*([] if self._line is None else self._line.finish()), Closed()]

    def _refuse(self, reason: str) -> list[WireEvent]:
        self._closed = True
        return [Malformed(reason=reason)]


@dataclass(slots=True)
class _Fragment:
    """What came of a fragment so far."""

    tracks: dict[int, Track] = field(default_factory=dict[int, Track])
    tags: dict[str, str] = field(default_factory=dict[str, str])
    blocks: list[Block] = field(default_factory=list[Block])
    held_bytes: int = 0

    @property
    def number(self) -> str | None:
        """Source: the service description of kinesis-video-media, FragmentNumberString."""
        text = self.tags.get(_NUMBER, "")
        return text if re.fullmatch("[0-9]{1,128}", text) else None

    def following(self) -> "_Fragment":
        """What comes next in the same document, where the tracks are the same."""
        fragment = _Fragment()
        for track in self.tracks.values():
            fragment.add(track)
        return fragment

    def add(self, event: Track | Block | Tags) -> None:
        self.held_bytes += _EVENT_BYTES
        match event:
            case Track(number=number, name=name, codec=codec):
                self.tracks[number] = event
                self.held_bytes += len(name) + len(codec)
            case Tags(values=values):
                self.tags |= values
                self.held_bytes += sum(len(name) + len(values[name]) for name in values)
            case Block(data=data):
                self.blocks.append(event)
                self.held_bytes += len(data)

    def caller(self) -> Track | None:
        """The caller's track, by its name: numbers may be anything."""
        named = {track.name: track for track in reversed(self.tracks.values())}
        return next((named[name] for name in CALLER_TRACKS if name in named), None)

    def blocks_of(self, track: Track) -> list[Block]:
        """A track's blocks in the order of their time."""
        blocks = (block for block in self.blocks if block.track == track.number)
        return sorted(blocks, key=lambda block: block.time_ns)


class _NotServedError(Exception):
    pass


def _linear_rate(track: Track, mime_type: str | None) -> int:
    """Samples a second of a track, which must be 16-bit linear, one channel."""
    if mime_type is not None:
        kind, *parameters = mime_type.replace(" ", "").split(";")
        values = dict(re.findall(r"(\w+)=(\d{1,6})\b", ";".join(parameters)))
        rate_hz = float(values.get("rate", CALL_RATE_HZ))
        linear, channels = kind.lower() == "audio/l16", int(values.get("channels", 1))
    else:
        rate_hz, channels = track.rate_hz, track.channels
        linear = track.codec in _LINEAR_CODECS and track.bits in (None, 8 * _SAMPLE_BYTES)
    if not linear or channels != 1:
        raise _NotServedError(
            f"Track {track.name!r} holds {mime_type or track.codec}, not L16 of one channel"
        )
    if not (rate_hz.is_integer() and LOWEST_RATE_HZ <= rate_hz <= HIGHEST_RATE_HZ):
        raise _NotServedError(f"Track {track.name!r} has {rate_hz:g} samples a second")
    return int(rate_hz)


@dataclass(frozen=True, slots=True)
class _Piece:
    """Samples, shape (n,), and the index of the first one on the producer's clock."""

    start: int
    samples: Samples

    @property
    def end(self) -> int:
        return self.start + len(self.samples)


class _Line:
    """The call on the producer's clock: both tracks, at one rate."""

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self._start_clock()
        self._narrowing = _Narrowing(rate_hz)

    def _start_clock(self) -> None:
        self._caller, self._agent = _Placing(self.rate_hz), _Placing(self.rate_hz)
        self._said: list[_Piece] = []  # by the agent, while the caller's part may still come

    def hear(
        self, caller: Sequence[Block], agent: Sequence[Block] | None, *, is_newer: bool
    ) -> list[WireEvent]:
        """A fragment's blocks of both tracks, the agent's if there is one.

        Args:
            caller: in the order of their time.
            agent: in the order of their time.
            is_newer: the fragment is known not to have come before.
        """
        if caller and self._caller.has_other_clock(caller[0], is_newer=is_newer):
            self._start_clock()
        self._said += self._agent.place(agent or ())
        events: list[WireEvent] = []
        heard_to = self._caller.position
        for run in _joined(self._caller.place(caller)):
            if heard_to is not None and run.start > heard_to:
                events += [*self.finish(), self._gap(run.start - heard_to)]
            heard_to = run.end
            said = None if agent is None else _overlaid(self._said, run)
            events += self._narrowing.push(run.samples, said)
        # Of the agent's only what reaches beyond the caller's is still waited for.
        self._said = [piece for piece in self._said if caller and piece.end > (heard_to or 0)]
        return events

    def finish(self) -> list[WireEvent]:
        """What follows does not join on."""
        events = self._narrowing.finish()
        self._narrowing = _Narrowing(self.rate_hz)
        return events

    def _gap(self, samples: int) -> Gap:
        return Gap(samples=round(samples * CALL_RATE_HZ / self.rate_hz))


class _Placing:
    """Puts the blocks of a track one after the other."""

    def __init__(self, rate_hz: int) -> None:
        self.position: int | None = None
        """Index after the last sample."""
        self._rate_hz = rate_hz
        self._latest_ns: int | None = None

    def has_other_clock(self, block: Block, *, is_newer: bool) -> bool:
        """Whether a block's time has nothing to do with those before."""
        if self.position is None:
            return False
        ahead_s = (self._index(block) - self.position) / self._rate_hz
        return ahead_s > _LONGEST_GAP_S or (is_newer and ahead_s < -_RESTART_S)

    def place(self, blocks: Iterable[Block]) -> list[_Piece]:
        """What is new of some blocks, in the order of their time."""
        pieces: list[_Piece] = []
        for block in blocks:
            if self._latest_ns is not None and block.time_ns <= self._latest_ns:
                continue  # it came before
            self._latest_ns = block.time_ns
            piece = self._put(self._index(block), _read_samples(block.data))
            self.position = piece.end
            pieces.append(piece)
        return pieces

    def _put(self, start: int, samples: Samples) -> _Piece:
        if self.position is None or start > self.position + _JITTER_S * self._rate_hz:
            return _Piece(start, samples)
        if start < self.position - _JITTER_S * self._rate_hz:
            samples = samples[self.position - start :]
        return _Piece(self.position, samples)

    def _index(self, block: Block) -> int:
        return block.time_ns * self._rate_hz // _NS


class _Narrowing:
    """Brings both tracks to the rate of a call, in step."""

    def __init__(self, rate_hz: int) -> None:
        self._caller = StreamResampler(rate_hz, CALL_RATE_HZ)
        self._agent = StreamResampler(rate_hz, CALL_RATE_HZ)
        self._has_agent = False

    def push(self, caller: Samples, agent: Samples | None) -> list[WireEvent]:
        """Samples of the same moments, each of shape (n,)."""
        self._has_agent = agent is not None
        said = self._agent.push(np.zeros_like(caller) if agent is None else agent)
        return self._audio(self._caller.push(caller), said)

    def finish(self) -> list[WireEvent]:
        """The rest."""
        return self._audio(self._caller.finish(), self._agent.finish())

    def _audio(self, caller: Samples, agent: Samples) -> list[WireEvent]:
        if not len(caller):
            return []
        return [Audio(samples=caller, agent=agent if self._has_agent else None)]


def _read_samples(data: bytes) -> Samples:
    if len(data) % _SAMPLE_BYTES:
        raise _NotServedError(f"{len(data)} bytes are no whole number of 16-bit samples")
    return np.frombuffer(data, dtype="<i2").astype(np.int16)


def _joined(pieces: Iterable[_Piece]) -> list[_Piece]:
    """Pieces that follow on each other as one."""
    runs: list[list[_Piece]] = []
    for piece in pieces:
        if runs and runs[-1][-1].end == piece.start:
            runs[-1].append(piece)
        else:
            runs.append([piece])
    return [_Piece(run[0].start, np.concatenate([part.samples for part in run])) for run in runs]


def _overlaid(pieces: Iterable[_Piece], run: _Piece) -> Samples:
    """What pieces hold of a run's moments, shape (n,); silence where they hold nothing."""
    samples = np.zeros(len(run.samples), np.int16)
    for piece in pieces:
        start, end = max(piece.start, run.start), min(piece.end, run.end)
        if start < end:
            samples[start - run.start : end - run.start] = piece.samples[
                start - piece.start : end - piece.start
            ]
    return samples
