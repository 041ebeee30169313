"""Writes Matroska as Kinesis Video Streams gives out a call of Amazon Connect.

After a fragment of Amazon Connect as printed in N. Neudeck, "Building Python Audio Consumers for
Amazon Connect Kinesis Media Streams": names, order and values are those, ids are of RFC 9559.
"""

import struct

CALLER, AGENT = "AUDIO_FROM_CUSTOMER", "AUDIO_TO_CUSTOMER"
CONTACT = "d111f871-5fe7-40b1-b5f7-6b67060de0c2"
NEXT_CONTACT = "29b1b7f8-3c9e-4a52-8a53-1fd2f1e3d8a4"
FIRST_NUMBER = 91343852333181531502161607852955530730504675150
BEGAN_MS = 1726677688724
BLOCK_BYTES = 1024
BLOCK_MS = 64

EBML, SEGMENT, INFO, CLUSTER = 0x1A45DFA3, 0x18538067, 0x1549A966, 0x1F43B675
TRACKS, TAGS, VOID, CRC32 = 0x1654AE6B, 0x1254C367, 0xEC, 0xBF
SIMPLE_BLOCK, BLOCK_GROUP, BLOCK, TIMESTAMP = 0xA3, 0xA0, 0xA1, 0xE7
UNKNOWN_SIZE = b"\x01\xff\xff\xff\xff\xff\xff\xff"


def head(identifier, size=None):
    """Id and size; without a size, that of an element whose end is not known."""
    return _bytes(identifier) + (UNKNOWN_SIZE if size is None else _size(size))


def element(identifier, *content):
    """An element of bytes, a whole number, a text or other elements."""
    data = b"".join(_content(part) for part in content)
    return head(identifier, len(data)) + data


def document(*content):
    """A document whose segment is as long as it may be."""
    header = element(EBML, element(0x4286, 1), element(0x4282, "matroska"))
    return header + head(SEGMENT) + b"".join(content)


def track(number, name=None, codec="A_AAC", *, rate_hz=None, bits=None):
    parts = [element(0xD7, number), element(0x83, 2), element(0x86, codec)]
    if name is not None:
        parts.append(element(0x536E, name))
    audio = [] if rate_hz is None else [element(0xB5, struct.pack(">d", rate_hz))]
    audio += [] if bits is None else [element(0x6264, bits)]
    return element(0xAE, *parts, *([element(0xE1, *audio)] if audio else []))


def tags(**values):
    """Tags, each a Tag of its own, as Amazon Connect writes them."""
    simple = [
        element(0x67C8, element(0x45A3, name), element(0x4487, value))
        for name, value in values.items()
    ]
    return element(TAGS, *(element(0x7373, one) for one in simple))


def block(number, offset, data, *, flags=0x80):
    return element(SIMPLE_BLOCK, bytes([0x80 | number]), struct.pack(">hB", offset, flags), data)


def cluster(time, *content):
    return element(CLUSTER, element(TIMESTAMP, time), element(0xA7, 0), *content)


def fragment(
    index,
    caller=None,
    agent=None,
    *,
    contact: str | None = CONTACT,
    at_ms=None,
    number=None,
    names=(CALLER, AGENT),
    **more,
):
    """One fragment of a call.

    Args:
        index: which one; its number counts from the call's first.
        caller: what the caller said, bytes of L16; None for no such track.
        agent: the same of the agent.
        contact: whose call it is.
        at_ms: when it begins; by default a second after the one before.
        number: of the fragment, if not by the index.
        names: of the two tracks, which are 1 and 2.
        more: further tags after the cluster.
    """
    at_ms = BEGAN_MS + 1024 * index if at_ms is None else at_ms
    said = [(1, caller), (2, agent)]
    blocks = sorted(
        (place // 2 * 1000 // 8000, number, data[place : place + BLOCK_BYTES])
        for number, data in said
        if data is not None
        for place in range(0, len(data), BLOCK_BYTES)
    )
    number = FIRST_NUMBER + index if number is None else number
    contact_tags = {} if contact is None else {"ContactId": contact}
    return document(
        element(INFO, element(0x2AD7B1, 1_000_000)),
        element(TRACKS, *(track(n, names[n - 1]) for n, data in said if data is not None)),
        tags(
            AWS_KINESISVIDEO_FRAGMENT_NUMBER=str(number),
            AWS_KINESISVIDEO_SERVER_TIMESTAMP="1726677687.758",
            AWS_KINESISVIDEO_PRODUCER_TIMESTAMP=f"{at_ms / 1000:.3f}",
        ),
        cluster(at_ms, *(block(number, offset, data) for offset, number, data in blocks)),
        *(
            tags(**{name: value})
            for name, value in {
                **contact_tags,
                "MimeType": "audio/L16;rate=8000;channels=1;",
                "Events": "[]",
                **more,
            }.items()
        ),
        tags(
            AWS_KINESISVIDEO_MILLIS_BEHIND_NOW="0",
            AWS_KINESISVIDEO_CONTINUATION_TOKEN=str(number),
        ),
    )


def call(caller, agent=None, *, second_bytes=16 * BLOCK_BYTES, **more):
    """The fragments of a call, a little over a second each."""
    return [
        fragment(
            place // second_bytes,
            caller[place : place + second_bytes],
            None if agent is None else agent[place : place + second_bytes],
            **more,
        )
        for place in range(0, len(caller), second_bytes)
    ]


def _bytes(number):
    return number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big")


def _size(size):
    for length in range(1, 9):
        if size < (1 << 7 * length) - 1:
            return (size | 1 << 7 * length).to_bytes(length, "big")
    raise ValueError(size)


def _content(part):
    match part:
        case int():
            return _bytes(part)
        case str():
            return part.encode()
        case _:
            return part
