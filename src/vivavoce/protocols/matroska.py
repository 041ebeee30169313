"""Matroska as it is streamed: bytes in, cut anyhow; tracks, blocks and tags out; sans I/O.

Only what is needed of the call's audio is read. Segments and clusters are walked into whatever
size they claim: which element follows says where it belongs, so their ends need not be known.
Other elements are either held until they are whole, or passed over without being held.

No library on PyPI reads Matroska that is still being written: ebmlite, the one that is kept up,
needs a file that it can seek in.

Source: RFC 8794 (EBML) for how elements are written, RFC 9559 (Matroska) for what they mean.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from vivavoce.protocols.events import Malformed


class _Id:
    """Ids with their length marker. Source: RFC 8794, section 11.2; RFC 9559, section 5.1."""

    EBML = 0x1A45DFA3
    DOC_TYPE = 0x4282
    SEGMENT = 0x18538067
    INFO = 0x1549A966
    TIMESTAMP_SCALE = 0x2AD7B1
    TRACKS = 0x1654AE6B
    TRACK_ENTRY = 0xAE
    TRACK_NUMBER = 0xD7
    TRACK_NAME = 0x536E
    CODEC = 0x86
    ENCODINGS = 0x6D80
    AUDIO = 0xE1
    RATE = 0xB5
    CHANNELS = 0x9F
    BIT_DEPTH = 0x6264
    CLUSTER = 0x1F43B675
    TIMESTAMP = 0xE7
    SIMPLE_BLOCK = 0xA3
    BLOCK_GROUP = 0xA0
    BLOCK = 0xA1
    TAGS = 0x1254C367
    TAG = 0x7373
    SIMPLE_TAG = 0x67C8
    TAG_NAME = 0x45A3
    TAG_STRING = 0x4487


_WALKED = frozenset({_Id.SEGMENT, _Id.CLUSTER})
_HELD = frozenset(
    {
        *(_Id.EBML, _Id.INFO, _Id.TRACKS, _Id.TAGS),
        *(_Id.TIMESTAMP, _Id.SIMPLE_BLOCK, _Id.BLOCK_GROUP),
    }
)

_MOST_HELD_BYTES = 1024 * 1024
"""Not documented; chosen as a minute of telephone audio, in one block."""

_ID_BYTES, _SIZE_BYTES = 4, 8
"""Longest that Matroska has. Source: RFC 9559 on EBMLMaxIDLength and EBMLMaxSizeLength."""

_INTEGER_BYTES = 8
"""Longest integer. Source: RFC 8794, section 7.2."""

_DEFAULT_SCALE_NS = 1_000_000
_DEFAULT_RATE_HZ = 8000.0
_DEFAULT_CHANNELS = 1
"""Source: RFC 9559, sections 5.1.2.9, 5.1.4.1.29.1 and 5.1.4.1.29.3."""

_LACING = 0x06
"""Bits of a block's flags. Source: RFC 9559, section 10.2."""


@dataclass(frozen=True, slots=True)
class Document:
    """A new EBML document begins; nothing of the one before holds in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """A track of the document.

    Attributes:
        number: what its blocks name it by.
        name: as people call it; empty where it has none.
        codec: Matroska's name of how it is encoded, such as `A_PCM/INT/LIT`.
        rate_hz: samples a second, if it is audio.
        channels: interleaved in its blocks.
        bits: of a sample; None where the codec says.
    """

    number: int
    name: str = ""
    codec: str = ""
    rate_hz: float = _DEFAULT_RATE_HZ
    channels: int = _DEFAULT_CHANNELS
    bits: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One frame of a track.

    Attributes:
        track: its number.
        time_ns: when it begins, on the document's clock.
        data: as the codec wrote it.
    """

    track: int
    time_ns: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tags:
    """What one Tags element says, by name; names are told apart by case."""

    values: Mapping[str, str]


MatroskaEvent: TypeAlias = Document | Track | Block | Tags | Malformed


class MatroskaReader:
    """Documents one after the other."""

    def __init__(self) -> None:
        self._waiting = bytearray()  # the beginning of an element whose end has not come
        self._passed_over = 0  # bytes to come of an element that nothing is wanted of
        self._began = self._broken = False
        self._scale_ns = _DEFAULT_SCALE_NS
        self._cluster: int | None = None

    def receive_bytes(self, data: bytes) -> list[MatroskaEvent]:
        """Take what came; after a `Malformed` nothing is looked at any more."""
        if self._broken:
            return []
        self._waiting += data
        events: list[MatroskaEvent] = []
        try:
            self._read(events)
        except _NotMatroskaError as error:
            self._broken = True
            events.append(Malformed(reason=str(error)))
        return events

    def _read(self, events: list[MatroskaEvent]) -> None:
        """Take the elements that are whole; what they say goes to the end of `events`."""
        start = 0
        try:
            while True:
                skipped = min(self._passed_over, len(self._waiting) - start)
                self._passed_over -= skipped
                start += skipped
                head = None if self._passed_over else _read_head(self._waiting, start)
                if head is None:
                    return
                end = self._end_of(head)
                if end > len(self._waiting):
                    return
                start = end
                if head.identifier in _HELD:
                    events += self._take(head.identifier, bytes(self._waiting[head.end : end]))
        finally:
            del self._waiting[:start]

    def _end_of(self, head: "_Head") -> int:
        """Up to where an element must have come before the next one is looked at."""
        if not self._began and head.identifier != _Id.EBML:
            raise _NotMatroskaError(f"Matroska begins with 1a45dfa3, not {head.identifier:x}")
        self._began = True
        if head.identifier in _WALKED:
            return head.end
        if head.size is None:
            raise _NotMatroskaError(f"Element {head.identifier:x} does not say how long it is")
        if head.identifier not in _HELD:
            self._passed_over = head.size
            return head.end
        if head.size > _MOST_HELD_BYTES:
            raise _NotMatroskaError(f"Element {head.identifier:x} has {head.size} bytes")
        return head.end + head.size

    def _take(self, identifier: int, data: bytes) -> Iterator[MatroskaEvent]:
        """A held element, whole."""
        match identifier:
            case _Id.EBML:
                yield self._begin(data)
            case _Id.INFO:
                scale_ns = _integer(_values(data).get(_Id.TIMESTAMP_SCALE), _DEFAULT_SCALE_NS)
                self._scale_ns = scale_ns
            case _Id.TRACKS:
                yield from _read_tracks(data)
            case _Id.TIMESTAMP:
                self._cluster = _integer(data)
            case _Id.SIMPLE_BLOCK:
                yield self._read_block(data)
            case _Id.BLOCK_GROUP:
                yield from (self._read_block(block) for block in _all(data, _Id.BLOCK))
            case _:
                yield _read_tags(data)

    def _begin(self, data: bytes) -> Document:
        kind = _text(_values(data).get(_Id.DOC_TYPE, b"matroska"))
        if kind not in ("matroska", "webm"):
            raise _NotMatroskaError(f"The document is {kind!r}, not Matroska")
        self._scale_ns, self._cluster = _DEFAULT_SCALE_NS, None
        return Document()

    def _read_block(self, data: bytes) -> Block:
        """Source: RFC 9559, section 10: track number, time in the cluster, flags, frame."""
        if self._cluster is None:
            raise _NotMatroskaError("A block came before its cluster's time")
        track, at = _read_number(data, 0, longest=_SIZE_BYTES) or (None, 0)
        if track is None or len(data) < at + 3:
            raise _NotMatroskaError("A block is too short")
        (offset,) = struct.unpack_from(">h", data, at)
        if data[at + 2] & _LACING:
            raise _NotMatroskaError("A block holds several frames (lacing), which is not served")
        time_ns = (self._cluster + offset) * self._scale_ns
        return Block(track=track, time_ns=time_ns, data=data[at + 3 :])


class _NotMatroskaError(Exception):
    pass


@dataclass(frozen=True, slots=True)
class _Head:
    """What precedes an element's content; the size is None where it is not known."""

    identifier: int
    size: int | None
    end: int


def _read_head(data: bytes | bytearray, start: int) -> _Head | None:
    """The head of an element; None if its end has not come."""
    if start == len(data):
        return None
    length = _length_of(data[start], longest=_ID_BYTES)
    if len(data) < start + length:
        return None
    identifier = int.from_bytes(data[start : start + length], "big")
    size = _read_number(data, start + length, longest=_SIZE_BYTES)
    return None if size is None else _Head(identifier, *size)


def _read_number(
    data: bytes | bytearray, start: int, *, longest: int
) -> tuple[int | None, int] | None:
    """A number of variable length and where it ends; None if that has not come.

    Instead of the number None where all its bits are set: not known. Source: RFC 8794, sections 4
    and 6.2.
    """
    if start >= len(data):
        return None
    length = _length_of(data[start], longest=longest)
    if len(data) < start + length:
        return None
    marker = 1 << 7 * length
    number = int.from_bytes(data[start : start + length], "big") - marker
    return (None if number == marker - 1 else number), start + length


def _length_of(first: int, *, longest: int) -> int:
    """Bytes of a number, from its first one: the zero bits before the marker, and one."""
    length = 9 - first.bit_length()
    if length > longest:
        raise _NotMatroskaError(f"No element begins with {first:02x}")
    return length


def _children(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The elements in one that is held, by id."""
    start = 0
    while start < len(data):
        head = _read_head(data, start)
        if head is None or head.size is None or head.end + head.size > len(data):
            raise _NotMatroskaError("An element reaches beyond the one that it is in")
        start = head.end + head.size
        yield head.identifier, data[head.end : start]


def _values(data: bytes) -> dict[int, bytes]:
    return dict(_children(data))


def _all(data: bytes, identifier: int) -> Iterator[bytes]:
    return (content for found, content in _children(data) if found == identifier)


def _read_tracks(data: bytes) -> Iterator[Track]:
    for entry in _all(data, _Id.TRACK_ENTRY):
        values = _values(entry)
        audio = _values(values.get(_Id.AUDIO, b""))
        if _Id.ENCODINGS in values:
            raise _NotMatroskaError("A track is compressed or encrypted, which is not served")
        yield Track(
            number=_integer(values.get(_Id.TRACK_NUMBER)),
            name=_text(values.get(_Id.TRACK_NAME, b"")),
            codec=_text(values.get(_Id.CODEC, b"")),
            rate_hz=_float(audio[_Id.RATE]) if _Id.RATE in audio else _DEFAULT_RATE_HZ,
            channels=_integer(audio.get(_Id.CHANNELS), _DEFAULT_CHANNELS),
            bits=_integer(audio[_Id.BIT_DEPTH]) if _Id.BIT_DEPTH in audio else None,
        )


def _read_tags(data: bytes) -> Tags:
    found = [_values(simple) for tag in _all(data, _Id.TAG) for simple in _all(tag, _Id.SIMPLE_TAG)]
    named = [tag for tag in found if _Id.TAG_NAME in tag]
    return Tags(
        values={_text(tag[_Id.TAG_NAME]): _text(tag.get(_Id.TAG_STRING, b"")) for tag in named}
    )


def _integer(data: bytes | None, default: int = 0) -> int:
    if data is None:
        return default
    if len(data) > _INTEGER_BYTES:
        raise _NotMatroskaError(f"An integer has {len(data)} bytes")
    return int.from_bytes(data, "big")


def _float(data: bytes) -> float:
    """Source: RFC 8794, section 7.3."""
    match len(data):
        case 0:
            return 0.0
        case 4:
            (number,) = struct.unpack(">f", data)
        case 8:
            (number,) = struct.unpack(">d", data)
        case length:
            raise _NotMatroskaError(f"A floating point number has {length} bytes")
    return float(number)


def _text(data: bytes) -> str:
    """Text may be padded with zeros. Source: RFC 8794, section 7.5."""
    return data.split(b"\0", 1)[0].decode(errors="replace")
