"""Names for the arrays that travel through vivavoce."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Samples: TypeAlias = npt.NDArray[np.int16]
"""Shape (n,): mono linear PCM, 16 bit. Inside a call always at `CALL_RATE_HZ`."""

Floats: TypeAlias = npt.NDArray[np.float32]
"""Any shape, 32-bit float. As audio: shape (n,), full scale -1..1."""

CALL_RATE_HZ = 8000
"""Rate of all audio inside a call. Telephony is 8 kHz nearly everywhere, and enrolment and call
must be heard through the same band to be comparable, so wider audio is narrowed on entry."""


def to_float(samples: Samples) -> Floats:
    """16-bit samples, shape (n,), as floats of full scale -1..1."""
    return samples.astype(np.float32) / np.float32(32768.0)


def to_int16(audio: Floats) -> Samples:
    """Floats of full scale -1..1, shape (n,), as 16-bit samples; louder ones are clipped."""
    return np.clip(np.rint(audio * 32768.0), -32768, 32767).astype(np.int16)
