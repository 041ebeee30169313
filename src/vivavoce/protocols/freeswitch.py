"""FreeSWITCH's mod_audio_fork and mod_audio_stream: the native dialect with metadata; sans I/O.

Audio is as in the native dialect: 16-bit samples, little end first, of the rate and channels that
the command names and the URL repeats. Text messages carry whatever metadata the command was given,
first and last, and mean nothing here.

Source: the README of drachtio-freeswitch-modules (mod_audio_fork) and of mod_audio_stream.
"""

from vivavoce.protocols.events import WireEvent
from vivavoce.protocols.native import NativeStream

SUBPROTOCOL = "audio.drachtio.org"
"""What mod_audio_fork asks for; it leaves a server that does not name it in its answer."""


class FreeSwitchStream(NativeStream):
    """One connection."""

    def receive_text(self, text: str) -> list[WireEvent]:
        """Take metadata, and pass over it."""
        del text
        return []
