"""What the engines found of a call's windows, so that none is looked at twice.

A call asks several times, each time with all of its speech so far. Most windows of that are the
same as before, to the last bit, and have the same answer. The call keeps these answers; the engines
keep nothing.
"""

import hashlib
from typing import TypeAlias

from vivavoce.audio.arrays import Floats

Memory: TypeAlias = dict[bytes, Floats]
"""The answer on a window, by the window's key; about a kilobyte each."""

_KEY_BYTES = 16


def key_of(window: Floats) -> bytes:
    """What tells a window from every other: a digest of its contents."""
    return hashlib.blake2b(window.tobytes(), digest_size=_KEY_BYTES).digest()
