"""G.711: telephone audio in 8 bits a sample, mu-law and A-law, to and from 16-bit linear samples.

A code is a sign, a segment (exponent) of 3 bits and a step within it (mantissa) of 4. Both ways are
a look-up in a table that is worked out once.

Source: ITU-T Recommendation G.711 (11/88), tables 1a to 2b. Its linear values have 14 bits for
mu-law and 13 for A-law; here they fill 16 (factors 4 and 8). Which code a value on the border of
two steps gets is taken from the reference code of ITU-T G.191: a negative value is inverted bit by
bit before its size is cut to steps.
"""

from functools import cache

import numpy as np
import numpy.typing as npt

from vivavoce.audio.arrays import Samples

Codes = npt.NDArray[np.uint8]
"""Shape (n,): one byte a sample, as sent on the line."""

MU_LAW_SILENCE = 0xFF
A_LAW_SILENCE = 0xD5
"""The codes of a sample of 0."""

_MU_BIAS = 33
_MU_LOUDEST = 8158
"""In 14 bits: what makes every segment begin at a power of two, and the largest value encoded."""


_A_EVEN_BITS = np.uint8(0x55)
"""A-law inverts every other bit on the line, so that silence is not a long row of zeros."""


def decode_mu_law(codes: bytes | Codes) -> Samples:
    """Codes, shape (n,), to samples, shape (n,), at most 32124 either side."""
    return _mu_decoding()[_as_codes(codes)]


def encode_mu_law(samples: Samples) -> Codes:
    """Samples, shape (n,), to codes, shape (n,); those beyond 32124 are clipped."""
    return _mu_encoding()[samples.view(np.uint16)]


def decode_a_law(codes: bytes | Codes) -> Samples:
    """Codes, shape (n,), to samples, shape (n,), at most 32256 either side."""
    return _a_decoding()[_as_codes(codes)]


def encode_a_law(samples: Samples) -> Codes:
    """Samples, shape (n,), to codes, shape (n,)."""
    return _a_encoding()[samples.view(np.uint16)]


def _as_codes(codes: bytes | Codes) -> Codes:
    return np.frombuffer(codes, np.uint8) if isinstance(codes, bytes) else codes


@cache
def _mu_decoding() -> Samples:
    code = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = _parts(code)
    size = ((2 * mantissa + 33) << exponent) - _MU_BIAS
    return np.where(code & 0x80, -4 * size, 4 * size).astype(np.int16)


@cache
def _a_decoding() -> Samples:
    code = np.arange(256, dtype=np.uint8) ^ _A_EVEN_BITS
    exponent, mantissa = _parts(code)
    size = np.where(exponent, (2 * mantissa + 33) << np.maximum(exponent - 1, 0), 2 * mantissa + 1)
    return np.where(code & 0x80, 8 * size, -8 * size).astype(np.int16)


@cache
def _mu_encoding() -> Codes:
    samples = _every_sample()
    size = np.minimum(_size(samples) >> 2, _MU_LOUDEST) + _MU_BIAS
    exponent = _highest_bit(size) - 5
    mantissa = (size >> (exponent + 1)) & 0xF
    code = np.where(samples < 0, 0x80, 0) | (exponent << 4) | mantissa
    return ~code.astype(np.uint8)


@cache
def _a_encoding() -> Codes:
    samples = _every_sample()
    size = _size(samples) >> 4
    exponent = np.maximum(_highest_bit(np.maximum(size, 1)) - 3, 0)
    mantissa = (size >> np.maximum(exponent - 1, 0)) & 0xF
    code = np.where(samples < 0, 0, 0x80) | (exponent << 4) | mantissa
    return code.astype(np.uint8) ^ _A_EVEN_BITS


def _parts(code: Codes) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Exponent and mantissa of codes whose inverted bits are already put right."""
    wide = code.astype(np.int32)
    return (wide >> 4) & 0x7, wide & 0xF


def _every_sample() -> npt.NDArray[np.int32]:
    """All 16-bit samples, in the order of their bits read as an unsigned number."""
    return np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)


def _size(samples: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    return np.where(samples < 0, ~samples, samples)


def _highest_bit(numbers: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Position of the highest bit set; numbers are positive and exact as doubles."""
    return np.frexp(numbers.astype(np.float64))[1] - np.int32(1)
