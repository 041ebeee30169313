"""Asterisk's AudioSocket: a call's audio over TCP, in frames; sans I/O.

A frame is a byte that says its kind, the length of what follows as two bytes, big end first, and
that. The first frame names the call by a UUID. There is neither encryption nor a password: who
knows the UUID is who may speak.

Source: Asterisk's documentation, "AudioSocket" (channel drivers), and res/res_audiosocket.c of
Asterisk 22; the README of CyCoreSystems/audiosocket for the kinds of before.
"""

from uuid import UUID

from vivavoce.protocols.events import Closed, Malformed, Named, WireEvent
from vivavoce.protocols.native import NativeStream, Parameters

HANGUP, IDENTITY, SILENCE, DIGIT, ERROR = 0x00, 0x01, 0x02, 0x03, 0xFF

RATES_HZ = {
    0x10: 8000,
    0x11: 12000,
    0x12: 16000,
    0x13: 24000,
    0x14: 32000,
    0x15: 44100,
    0x16: 48000,
    0x17: 96000,
    0x18: 192000,
}
"""Kinds of audio by their sampling rate: signed linear, 16 bits, little end first, one channel."""

_HEAD_BYTES = 3
_UUID_BYTES = 16
_PASSED_OVER = (SILENCE, DIGIT)


def frame(kind: int, payload: bytes = b"") -> bytes:
    """A frame as it goes over the wire; `payload` of at most 65535 bytes."""
    return bytes([kind]) + len(payload).to_bytes(2, "big") + payload


class AudioSocketStream:
    """One connection."""

    def __init__(self) -> None:
        self._waiting = bytearray()  # the beginning of a frame whose end has not come
        self._named = self._closed = False
        self._format = Parameters()
        self._audio = NativeStream(self._format)
        self._answer = bytearray()

    def receive_bytes(self, data: bytes) -> list[WireEvent]:
        """Take what came, cut anyhow; what comes after the end of the call is not looked at."""
        self._waiting += data
        events: list[WireEvent] = []
        start = 0
        while not self._closed and len(self._waiting) - start >= _HEAD_BYTES:
            kind = self._waiting[start]
            length = int.from_bytes(self._waiting[start + 1 : start + _HEAD_BYTES], "big")
            # Before the rest has come: garbage is refused at once, not after 64 KiB of it.
            if reason := self._fault(kind, length):
                self._closed = True
                events.append(Malformed(reason=reason))
                break
            end = start + _HEAD_BYTES + length
            if end > len(self._waiting):
                break
            events += self._receive(kind, bytes(self._waiting[start + _HEAD_BYTES : end]))
            start = end
        del self._waiting[:start]
        return events

    def finish(self) -> list[WireEvent]:
        """The connection is over; what is left of a split frame is dropped."""
        return self._audio.finish()

    def take_answer(self) -> bytes:
        """What to send back: as much silence as was heard, as Asterisk expects audio."""
        answer = bytes(self._answer)
        self._answer.clear()
        return answer

    def _fault(self, kind: int, length: int) -> str | None:
        """What is wrong with a frame, by its head."""
        if not self._named and kind != IDENTITY:
            return f"An AudioSocket connection begins with a UUID (frame 0x01), not 0x{kind:02x}"
        if self._named and kind == IDENTITY:
            return "The call has its UUID already; a connection is for one call"
        if kind == IDENTITY and length != _UUID_BYTES:
            return f"A UUID has {_UUID_BYTES} bytes, not {length}"
        if kind in RATES_HZ and length % 2:
            return f"{length} bytes are no whole number of 16-bit samples"
        if kind not in (HANGUP, IDENTITY, ERROR, *_PASSED_OVER, *RATES_HZ):
            return f"There is no AudioSocket frame of kind 0x{kind:02x}"
        return None

    def _receive(self, kind: int, payload: bytes) -> list[WireEvent]:
        if kind == IDENTITY:
            self._named = True
            return [Named(name=str(UUID(bytes=payload)))]
        if kind in (HANGUP, ERROR):
            # After an error of its own (hung up, a frame lost, memory) Asterisk is gone as well.
            self._closed = True
            return [*self.finish(), Closed()]
        if kind in _PASSED_OVER:
            return []
        self._answer += frame(kind, bytes(len(payload)))
        return self._heard(Parameters(rate_hz=RATES_HZ[kind]), payload)

    def _heard(self, audio: Parameters, payload: bytes) -> list[WireEvent]:
        events: list[WireEvent] = []
        if audio != self._format:
            # Asterisk changes the rate when the channel's codec does.
            events += self.finish()
            self._format, self._audio = audio, NativeStream(audio)
        return [*events, *self._audio.receive_bytes(payload)]
