"""Genesys Cloud's AudioHook, version 2: JSON messages and mu-law audio over a WebSocket; sans I/O.

Genesys is the client. It opens a session for a conversation and offers media; we choose both sides
of the call where that is offered, so that the agent's voice is told from the caller's. Messages are
numbered in both directions, by one more each, and each says which of the other side's came last.

Source: Genesys's AudioHook protocol reference and its reference implementation
(purecloudlabs/audiohook-reference-implementation, `app/audiohook/src/protocol`).
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias, cast

from vivavoce.audio.arrays import CALL_RATE_HZ
from vivavoce.audio.g711 import decode_mu_law
from vivavoce.errors import InvalidRequest
from vivavoce.protocols.events import Announced, Audio, Closed, Gap, Malformed, WireEvent

MAX_TEXT_CHARACTERS = 65535
"""Longest text message. Source: protocol reference, "Message format"."""

NO_CALL = "00000000-0000-0000-0000-000000000000"
"""The conversation of a probe, by which Genesys checks a new integration: there is no call."""

DisconnectReason: TypeAlias = Literal["completed", "unauthorized", "error"]

_VERSION = "2"
_DURATION = re.compile(r"PT([0-9]{1,7}(?:\.[0-9]{1,9})?)S")
_WANTED_CHANNELS = (["external", "internal"], ["external"])
"""What we choose from, best first: caller and agent, or the caller alone."""


class AudioHookStream:
    """One connection."""

    def __init__(self, *, session_id: str, organization_id: str) -> None:
        """Begin.

        Args:
            session_id: of the connection, as its headers say.
            organization_id: whose it is, as its headers say.
        """
        self._session_id = session_id
        self._organization_id = organization_id
        self._theirs = 0  # number of their last message
        self._ours = 0  # of ours
        self._answers: list[str] = []
        self._state: Literal["new", "opening", "open", "paused", "over"] = "new"
        self._media: Mapping[str, Any] | None = None  # what was chosen
        self._is_disconnecting = False
        self.is_probe = False
        self.round_trip_s: float | None = None  # as the client last measured it
        self.error: str | None = None  # the last one that the client told of

    # --- what comes

    def receive_bytes(self, data: bytes) -> list[WireEvent]:
        """Take audio: mu-law, one byte a sample, channels interleaved.

        Raises:
            InvalidRequest: it came where there can be none.
        """
        if self._is_disconnecting:
            return []
        if self._state != "open" or self._media is None:
            raise InvalidRequest("Audio came while the session was not open for it")
        channels = len(self._media["channels"])
        # A channel that is one byte short would be taken for the other one from here on.
        rest = len(data) % channels
        reason = f"A frame of {channels} channels has a whole number of bytes for each"
        events: list[WireEvent] = [Malformed(reason=reason)] if rest else []
        samples = decode_mu_law(data[: len(data) - rest])
        if not len(samples):
            return events
        agent = samples[1::2] if channels == 2 else None
        return [Audio(samples=samples[::channels], agent=agent), *events]

    def receive_text(self, text: str) -> list[WireEvent]:
        """Take a message.

        Raises:
            InvalidRequest: it is none, is out of turn, or has parameters that cannot be.
        """
        message = self._read(text)
        kind, parameters = message["type"], message["parameters"]
        if self._is_disconnecting and kind != "close":
            return []
        handlers: Mapping[str, Callable[[Mapping[str, Any]], list[WireEvent]]] = {
            "open": self._open,
            "close": self._close,
            "ping": self._ping,
            "paused": self._paused,
            "resumed": self._resumed,
            "discarded": self._discarded,
            "update": self._update,
            "error": self._error,
        }
        if kind not in handlers:
            raise InvalidRequest(f"There is no client message of type {kind!r}")
        return handlers[kind](parameters)

    def finish(self) -> list[WireEvent]:
        """The connection is over."""
        self._state = "over"
        return []

    @property
    def is_over(self) -> bool:
        """Whether the client has closed the session, or the connection is over."""
        return self._state == "over"

    # --- what we say

    def take_answers(self) -> list[str]:
        """The messages to send, in their order."""
        answers, self._answers = self._answers, []
        return answers

    def opened(self) -> None:
        """Accept the call that was announced, or the probe."""
        self._say("opened", {"media": [] if self._media is None else [self._media]})
        self._state = "open"

    def closed(self) -> None:
        """Everything of a call that the client closed has been decided on."""
        self._say("closed", {})
        self._state = "over"

    def disconnect(self, reason: DisconnectReason, info: str) -> None:
        """Ask the client to close; until it does so, it is not listened to any more."""
        if not self._is_disconnecting and self._state != "over":
            self._is_disconnecting = True
            self._say("disconnect", {"reason": reason, "info": info})

    def reconnect(self, info: str) -> None:
        """Ask the client to go on with the call on another connection."""
        if self._state in ("open", "paused") and not self._is_disconnecting:
            self._say("reconnect", {"info": info})

    # --- messages by type

    def _open(self, parameters: Mapping[str, Any]) -> list[WireEvent]:
        if self._state != "new":
            raise InvalidRequest("The session has been opened already")
        if parameters.get("organizationId") != self._organization_id:
            raise InvalidRequest("organizationId is not the one of the connection's headers")
        conversation = parameters.get("conversationId")
        if not isinstance(conversation, str):
            raise InvalidRequest("open must say its conversationId")
        self._state = "opening"
        self.is_probe = conversation == NO_CALL
        if self.is_probe:
            return []
        self._media = _choose(parameters.get("media"))
        domain_id = _object(parameters.get("customConfig")).get("DomainId")
        return [
            Announced(
                name=conversation,
                domain_id=None if domain_id is None else str(domain_id),
                facts=parameters,
            )
        ]

    def _close(self, parameters: Mapping[str, Any]) -> list[WireEvent]:
        if self._state == "over":
            return []
        self._state = "over"
        return [Closed(returns=parameters.get("reason") == "reconnect")]

    def _ping(self, parameters: Mapping[str, Any]) -> list[WireEvent]:
        if "rtt" in parameters:
            self.round_trip_s = _seconds(parameters["rtt"])
        self._say("pong", {})  # names the ping by its number, as every message names the last one
        return []

    def _paused(self, _parameters: Mapping[str, Any]) -> list[WireEvent]:
        self._require_open()
        self._state = "paused"
        # What follows does not join on, however short the pause.
        return [Gap(samples=0, is_loss=False)]

    def _resumed(self, parameters: Mapping[str, Any]) -> list[WireEvent]:
        self._require_open()
        self._state = "open"
        return [Gap(samples=_samples(parameters, "discarded"), is_loss=False)]

    def _discarded(self, parameters: Mapping[str, Any]) -> list[WireEvent]:
        self._require_open()
        return [Gap(samples=_samples(parameters, "discarded"))]

    def _update(self, _parameters: Mapping[str, Any]) -> list[WireEvent]:
        self._require_open()
        # Another language; voices are heard in all of them.
        self._say("updated", {})
        return []

    def _error(self, parameters: Mapping[str, Any]) -> list[WireEvent]:
        self.error = f"{parameters.get('code')}: {parameters.get('message')}"
        return []

    # --- rules of all messages

    def _read(self, text: str) -> Mapping[str, Any]:
        """A message with the members that all of them have."""
        if len(text) > MAX_TEXT_CHARACTERS:
            raise InvalidRequest(f"A message has {MAX_TEXT_CHARACTERS} characters at most")
        try:
            message = _object(json.loads(text))
        except (ValueError, RecursionError):
            message = _object(None)
        if message.get("version") != _VERSION:
            raise InvalidRequest('A text message must be a JSON object of version "2"')
        if not isinstance(message.get("type"), str):
            raise InvalidRequest("A message must say its type")
        if not isinstance(message.get("parameters"), dict):
            raise InvalidRequest("A message must have parameters")
        if message.get("id") != self._session_id:
            raise InvalidRequest("id is not the one of the connection's headers")
        number, last_of_ours = message.get("seq"), message.get("serverseq")
        if number != self._theirs + 1 or isinstance(number, bool):
            raise InvalidRequest(f"seq must be {self._theirs + 1}, one more than the last")
        if not isinstance(last_of_ours, int) or not 0 <= last_of_ours <= self._ours:
            raise InvalidRequest(f"serverseq must be from 0 to {self._ours}, our last message")
        self._theirs += 1
        if self._state == "new" and message["type"] not in ("open", "close", "error"):
            raise InvalidRequest("A session begins with open")
        return message

    def _require_open(self) -> None:
        if self._state not in ("open", "paused"):
            raise InvalidRequest("The session is not open")

    def _say(self, kind: str, parameters: Mapping[str, Any]) -> None:
        self._ours += 1
        message = {
            "version": _VERSION,
            "type": kind,
            "id": self._session_id,
            "seq": self._ours,
            "clientseq": self._theirs,
            "parameters": parameters,
        }
        self._answers.append(json.dumps(message))


def _choose(offers: object) -> Mapping[str, Any]:
    """The best of the media that were offered, as it was offered."""
    listed = cast("list[object]", offers) if isinstance(offers, list) else []
    known = [_object(each) for each in listed]
    for channels in _WANTED_CHANNELS:
        for offer in known:
            form = (offer.get("type"), offer.get("format"), offer.get("rate"))
            if form == ("audio", "PCMU", CALL_RATE_HZ) and offer.get("channels") == channels:
                return offer
    raise InvalidRequest(
        "None of the offered media holds the caller: PCMU at 8000 Hz, with the channel external"
    )


def _object(value: object) -> Mapping[str, Any]:
    """A JSON object; an empty one in place of anything else."""
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def _samples(parameters: Mapping[str, Any], name: str) -> int:
    return round(_seconds(parameters.get(name)) * CALL_RATE_HZ)


def _seconds(duration: object) -> float:
    """An ISO 8601 duration in seconds alone, as AudioHook has it."""
    match = _DURATION.fullmatch(duration) if isinstance(duration, str) else None
    if match is None:
        raise InvalidRequest("A duration must be like PT1.2S")
    return float(match[1])
