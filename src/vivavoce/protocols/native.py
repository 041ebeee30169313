"""The native dialect: raw audio in binary messages, JSON in text messages; sans I/O.

Binary messages hold interleaved samples of the encoding, rate and channels named in the URL's
query. They may have any length: a sample may be split between two of them. The text message
`{"type": "end"}` ends the call.

Source: docs/reference/native-websocket.md; there is no standard behind it.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from vivavoce.audio.arrays import CALL_RATE_HZ, Samples
from vivavoce.audio.g711 import decode_a_law, decode_mu_law
from vivavoce.audio.resample import StreamResampler
from vivavoce.errors import BadAudioParameters, InvalidRequest
from vivavoce.protocols.events import Audio, Closed, WireEvent

LOWEST_RATE_HZ = 8000
HIGHEST_RATE_HZ = 48000


class Encoding(Enum):
    """How a sample is written."""

    L16 = "l16"
    MULAW = "mulaw"
    ALAW = "alaw"

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample."""
        return 2 if self is Encoding.L16 else 1


class CloseCode:
    """Close codes of the WebSocket. Those below 4000 are of RFC 6455, section 7.4.1."""

    DONE = 1000
    GOING_AWAY = 1001
    INVALID_TEXT = 1007
    TOKEN_REJECTED = 1008
    INTERNAL_ERROR = 1011
    AT_CAPACITY = 1013
    BAD_PARAMETERS = 4400
    NO_SUCH_SESSION = 4404
    IDLE = 4408
    ALREADY_STREAMING = 4409


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What the binary messages hold.

    Attributes:
        encoding: of a sample.
        rate_hz: samples a second.
        channels: interleaved, 1 or 2.
        channel: which of them is the caller's; the other one is the agent's.
    """

    encoding: Encoding = Encoding.L16
    rate_hz: int = CALL_RATE_HZ
    channels: int = 1
    channel: int = 0


def read_parameters(query: Mapping[str, str]) -> Parameters:
    """The parameters in a URL's query; what is absent has its default.

    Raises:
        BadAudioParameters: a value that is not served.
    """
    names = [encoding.value for encoding in Encoding]
    encoding = query.get("encoding", Encoding.L16.value).lower()
    if encoding not in names:
        raise BadAudioParameters(f"encoding must be one of {', '.join(names)}")
    channels = _number(query, "channels", default=1, lowest=1, highest=2)
    return Parameters(
        encoding=Encoding(encoding),
        rate_hz=_number(
            query, "rate", default=CALL_RATE_HZ, lowest=LOWEST_RATE_HZ, highest=HIGHEST_RATE_HZ
        ),
        channels=channels,
        channel=_number(query, "channel", default=0, lowest=0, highest=channels - 1),
    )


class NativeStream:
    """One connection."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self._frame_bytes = parameters.encoding.sample_bytes * parameters.channels
        self._split = b""  # the beginning of a frame whose end is in the next message
        # The caller's channel first, then the agent's where there is one.
        self._channels = [
            (parameters.channel + turn) % parameters.channels for turn in range(parameters.channels)
        ]
        self._resamplers = [
            StreamResampler(parameters.rate_hz, CALL_RATE_HZ) for _ in self._channels
        ]

    def receive_bytes(self, data: bytes) -> list[WireEvent]:
        """Take a binary message."""
        data = self._split + data
        whole = len(data) - len(data) % self._frame_bytes
        self._split = data[whole:]
        decoded = self._decode(data[:whole])
        return _audio(
            resampler.push(decoded[channel :: self._parameters.channels])
            for channel, resampler in zip(self._channels, self._resamplers, strict=True)
        )

    def receive_text(self, text: str) -> list[WireEvent]:
        """Take a text message; types that this version does not know are passed over.

        Raises:
            InvalidRequest: it is not a JSON object with a type.
        """
        try:
            message: Any = json.loads(text)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict) or "type" not in message:
            raise InvalidRequest('A text message must be a JSON object such as {"type": "end"}')
        return [*self.finish(), Closed()] if message["type"] == "end" else []

    def finish(self) -> list[WireEvent]:
        """The connection is over; what is left of a split sample is dropped."""
        return _audio(resampler.finish() for resampler in self._resamplers)

    def _decode(self, data: bytes) -> Samples:
        match self._parameters.encoding:
            case Encoding.L16:
                return np.frombuffer(data, dtype="<i2").astype(np.int16)
            case Encoding.MULAW:
                return decode_mu_law(data)
            case Encoding.ALAW:
                return decode_a_law(data)


def _audio(channels: Iterable[Samples]) -> list[WireEvent]:
    """The next audio of the caller, and of the agent where that is known; nothing of no samples."""
    samples, *agents = channels
    agent = agents[0] if agents else None
    return [Audio(samples=samples, agent=agent)] if len(samples) else []


def _number(query: Mapping[str, str], name: str, *, default: int, lowest: int, highest: int) -> int:
    text = query.get(name, str(default))
    # str.isdecimal alone admits digits of every script; int() does too, so nothing else is needed.
    number = int(text) if text.isdecimal() and len(text) < 8 else -1
    if not lowest <= number <= highest:
        raise BadAudioParameters(f"{name} must be a whole number from {lowest} to {highest}")
    return number
