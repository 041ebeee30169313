"""Twilio's Media Streams: JSON messages with mu-law audio in base64 over a WebSocket; sans I/O.

Messages are numbered (`sequenceNumber`) and may come out of order; a few are held back until the
one before them has come. `inbound` is the caller, `outbound` whom the caller hears. Numbers are
written as strings.

Source: Twilio's documentation, "Media Streams - WebSocket Messages"; Telnyx's, whose messages are
nearly the same, says that their order is not guaranteed.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from vivavoce.audio.arrays import CALL_RATE_HZ, Samples
from vivavoce.audio.g711 import decode_mu_law
from vivavoce.errors import InvalidRequest
from vivavoce.protocols.events import Announced, Audio, Closed, Gap, WireEvent

_MOST_AHEAD = 16
"""Messages that wait for one before them: a third of a second of one track. Not documented; chosen
as longer than any network reorders and shorter than anybody notices."""

_JITTER_SAMPLES = CALL_RATE_HZ * 60 // 1000
"""Timestamps are rounded and late by a packet or two; more is audio that is missing."""

_LONGEST_GAP_SAMPLES = 3600 * CALL_RATE_HZ
_MOST_AGENT_SAMPLES = CALL_RATE_HZ
"""What whom the caller hears may say ahead of the caller, before the oldest of it is dropped."""

_FORMAT = {"encoding": "audio/x-mulaw", "sampleRate": CALL_RATE_HZ, "channels": 1}


class TwilioStream:
    """One connection."""

    def __init__(self) -> None:
        self._next = 1  # number of the message whose turn it is
        self._ahead: dict[int, Mapping[str, Any]] = {}
        self._is_started = self._is_over = False
        self._has_agent = False
        self._agent = np.zeros(0, np.int16)  # said, and not yet passed on beside the caller
        self._position: int | None = None  # where the caller's next sample belongs

    def receive_text(self, text: str) -> list[WireEvent]:
        """Take a message; types that say nothing of the caller's voice are passed over.

        Raises:
            InvalidRequest: it is none, or what it says cannot be.
        """
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict) or "event" not in message:
            raise InvalidRequest('A message must be a JSON object such as {"event": "media", ...}')
        return self._in_turn(cast("dict[str, Any]", message))

    def receive_bytes(self, data: bytes) -> list[WireEvent]:
        """Refuse: Twilio sends no binary messages.

        Raises:
            InvalidRequest: always.
        """
        del data
        raise InvalidRequest("Media Streams has text messages only")

    def finish(self) -> list[WireEvent]:
        """The connection is over; what waited for a message before it does so no longer."""
        events: list[WireEvent] = []
        for number in sorted(self._ahead):
            events += self._receive(self._ahead.pop(number))
        return events

    def _in_turn(self, message: Mapping[str, Any]) -> list[WireEvent]:
        """Handle what is due, now that this message has come."""
        if "sequenceNumber" not in message:
            return self._receive(message)  # such as `connected`
        number = _number(message, "sequenceNumber")
        if message["event"] == "start" and not self._is_started:
            self._next = number  # nothing can come before it
        if number < self._next or number in self._ahead:
            return []  # it came twice, or too late
        self._ahead[number] = message
        if len(self._ahead) > _MOST_AHEAD:
            self._next = min(self._ahead)  # whatever was before it is not waited for any longer
        events: list[WireEvent] = []
        while (due := self._ahead.pop(self._next, None)) is not None:
            self._next += 1
            events += self._receive(due)
        return events

    def _receive(self, message: Mapping[str, Any]) -> list[WireEvent]:
        if self._is_over:
            return []
        match message["event"]:
            case "start":
                return self._start(_object(message, "start"))
            case "media":
                return self._media(_object(message, "media"))
            case "stop":
                self._is_over = True
                return [Closed()]
            case _:
                return []  # connected, dtmf, mark, and whatever comes with time

    def _start(self, start: Mapping[str, Any]) -> list[WireEvent]:
        if self._is_started:
            raise InvalidRequest("The stream has started already; a connection is for one call")
        name = start.get("callSid")
        if not isinstance(name, str):
            raise InvalidRequest("start must say its callSid")
        form = _object(start, "mediaFormat")
        if {key: form.get(key) for key in _FORMAT} != _FORMAT:
            raise InvalidRequest(f"mediaFormat must be {json.dumps(_FORMAT)}")
        tracks = start.get("tracks")
        if not isinstance(tracks, list) or "inbound" not in tracks:
            raise InvalidRequest('tracks must hold "inbound", which is the caller')
        self._is_started = True
        self._has_agent = "outbound" in tracks
        domain_id = _object({"customParameters": {}, **start}, "customParameters").get("DomainId")
        return [
            Announced(
                name=name, domain_id=None if domain_id is None else str(domain_id), facts=start
            )
        ]

    def _media(self, media: Mapping[str, Any]) -> list[WireEvent]:
        if not self._is_started:
            raise InvalidRequest("Media came before start, which says whose it is")
        try:
            samples = decode_mu_law(base64.b64decode(media.get("payload", ""), validate=True))
        except (ValueError, TypeError):
            raise InvalidRequest("payload must be base64") from None
        # Without a track it is the only one.
        match media.get("track", "inbound"):
            case "inbound":
                return self._heard(samples, _number(media, "timestamp"))
            case "outbound":
                said = np.concatenate([self._agent, samples])
                self._agent = said[-_MOST_AGENT_SAMPLES:]
                return []
            case _:
                raise InvalidRequest("track must be inbound or outbound")

    def _heard(self, samples: Samples, timestamp_ms: int) -> list[WireEvent]:
        if not len(samples):
            return []
        events: list[WireEvent] = []
        here = timestamp_ms * CALL_RATE_HZ // 1000
        if self._position is None:
            self._position = here
        missing = here - self._position
        if missing > _JITTER_SAMPLES:
            events.append(Gap(samples=min(missing, _LONGEST_GAP_SAMPLES)))
            self._position = here
        self._position += len(samples)
        agent = self._beside(len(samples)) if self._has_agent else None
        return [*events, Audio(samples=samples, agent=agent)]

    def _beside(self, count: int) -> Samples:
        """What was said to the caller at about the same time, silence where nothing was."""
        said, self._agent = self._agent[:count], self._agent[count:]
        return np.concatenate([said, np.zeros(count - len(said), np.int16)])


def _object(message: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = message.get(name)
    if not isinstance(value, dict):
        raise InvalidRequest(f"{name} must be a JSON object")
    return cast("Mapping[str, Any]", value)


def _number(message: Mapping[str, Any], name: str) -> int:
    """A number, which is written as a string."""
    value = message.get(name)
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise InvalidRequest(f"{name} must be a whole number")
    return int(text)
