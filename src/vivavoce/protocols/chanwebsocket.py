"""Asterisk's WebSocket channel: raw codec frames in binary messages, events in text; sans I/O.

An event is a line, `MEDIA_START connection_id:... format:ulaw optimal_frame_size:160`, or with
`control_message_format = json` an object, `{"event": "MEDIA_START", "format": "ulaw", ...}`. The
first one says what the audio is. There is no event for the end: the connection closes.

Source: Asterisk's documentation, "WebSocket" (channel drivers), and channels/chan_websocket.c of
Asterisk 22.
"""

import json
from collections.abc import Mapping
from typing import Any, cast

from vivavoce.audio.arrays import CALL_RATE_HZ
from vivavoce.errors import InvalidRequest
from vivavoce.protocols.audiosocket import RATES_HZ
from vivavoce.protocols.events import WireEvent
from vivavoce.protocols.native import Encoding, NativeStream, Parameters

SUBPROTOCOL = "media"
"""What `protocols` in websocket_client.conf names for audio."""

FORMATS: Mapping[str, Parameters] = {
    "ulaw": Parameters(encoding=Encoding.MULAW),
    "alaw": Parameters(encoding=Encoding.ALAW),
    "slin": Parameters(),
    **{
        f"slin{rate_hz // 1000}": Parameters(rate_hz=rate_hz)
        for rate_hz in RATES_HZ.values()
        if rate_hz != CALL_RATE_HZ
    },
}
"""Codecs by Asterisk's name for them that need no decoder of their own."""


class ChanWebSocketStream:
    """One connection."""

    def __init__(self) -> None:
        self._audio: NativeStream | None = None

    def receive_bytes(self, data: bytes) -> list[WireEvent]:
        """Take a binary message.

        Raises:
            InvalidRequest: nothing has said yet what it holds.
        """
        if self._audio is None:
            raise InvalidRequest("Audio came before MEDIA_START, which says in what format it is")
        return self._audio.receive_bytes(data)

    def receive_text(self, text: str) -> list[WireEvent]:
        """Take an event; those that say nothing of the caller's audio are passed over.

        Raises:
            InvalidRequest: it is none, or it announces a format that is not served.
        """
        name, values = _read(text)
        if name != "MEDIA_START":
            return []
        if self._audio is not None:
            raise InvalidRequest("MEDIA_START came twice; a connection is for one call")
        codec = str(values.get("format", ""))
        if codec not in FORMATS:
            raise InvalidRequest(
                f"Format {codec!r} is not served; dial with c(ulaw), or one of {', '.join(FORMATS)}"
            )
        self._audio = NativeStream(FORMATS[codec])
        return []

    def finish(self) -> list[WireEvent]:
        """The connection is over; what is left of a split sample is dropped."""
        return [] if self._audio is None else self._audio.finish()


def _read(text: str) -> tuple[str, Mapping[str, Any]]:
    """An event's name and values, of either form."""
    if not text.startswith("{"):
        name, *rest = text.split() or [""]
        # A channel's name may hold colons itself.
        pairs = (word.partition(":") for word in rest)
        return name, {key: value for key, _, value in pairs}
    try:
        message = cast("dict[str, Any]", json.loads(text))  # begins with a brace
    except (ValueError, RecursionError):
        message = {}
    event = message.get("event")
    if not isinstance(event, str):
        raise InvalidRequest('A JSON message must hold an event, such as {"event": "MEDIA_START"}')
    return event, message
