import io

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.audio import g711

EVERY_CODE = np.arange(256, dtype=np.uint8)
EVERY_SAMPLE = np.arange(-32768, 32768).astype(np.int16)

LAWS = pytest.mark.parametrize(
    ("decode", "encode", "subtype"),
    [
        (g711.decode_mu_law, g711.encode_mu_law, "ULAW"),
        (g711.decode_a_law, g711.encode_a_law, "ALAW"),
    ],
)


@LAWS
def test_every_code_survives_decoding_and_encoding(decode, encode, subtype):
    back = encode(decode(EVERY_CODE))
    # mu-law has a code for minus zero; it comes back as plus zero.
    expected = np.where(EVERY_CODE == 0x7F, 0xFF, EVERY_CODE) if subtype == "ULAW" else EVERY_CODE
    np.testing.assert_array_equal(back, expected)


@LAWS
def test_decoding_agrees_with_libsndfile(decode, encode, subtype):
    reference, _ = soundfile.read(
        io.BytesIO(EVERY_CODE.tobytes()),
        dtype="int16",
        channels=1,
        samplerate=8000,
        format="RAW",
        subtype=subtype,
    )
    np.testing.assert_array_equal(decode(EVERY_CODE.tobytes()), reference)


@LAWS
def test_encoding_is_off_by_half_a_step_at_most(decode, encode, subtype):
    samples = EVERY_SAMPLE.astype(np.int64)
    off = np.abs(decode(encode(EVERY_SAMPLE)) - samples)
    # A segment begins where 32 of its half steps lie below (counted from -132 for mu-law); the
    # loudest mu-law code stands for everything up to 32767, which is 643 away.
    half_step = {
        "ULAW": np.maximum(4, (np.abs(samples) + 132) / 32),
        "ALAW": np.maximum(8, np.abs(samples) / 32),
    }[subtype]
    unclipped = np.abs(samples) <= 32635
    assert (off <= half_step + 1)[unclipped].all()
    assert off.max() <= 1024


@LAWS
def test_encoding_is_monotone(decode, encode, subtype):
    assert (np.diff(decode(encode(EVERY_SAMPLE)).astype(np.int64)) >= 0).all()


def test_values_of_the_recommendation():
    # G.711 table 2a: the largest mu-law output is 8031 of 8192, code 10000000; table 1a: the
    # largest A-law output is 4032 of 4096, code 11111111 with its even bits inverted.
    assert g711.decode_mu_law(bytes([0x80, 0x00])).tolist() == [4 * 8031, -4 * 8031]
    assert g711.decode_a_law(bytes([0xFF ^ 0x55, 0x7F ^ 0x55])).tolist() == [8 * 4032, -8 * 4032]


def test_silence_is_encoded_as_the_documented_codes():
    zero = np.zeros(3, np.int16)
    assert set(g711.encode_mu_law(zero).tolist()) == {g711.MU_LAW_SILENCE}
    assert set(g711.encode_a_law(zero).tolist()) == {g711.A_LAW_SILENCE}
    assert g711.decode_mu_law(bytes([g711.MU_LAW_SILENCE])).tolist() == [0]
    assert g711.decode_a_law(bytes([g711.A_LAW_SILENCE])).tolist() == [8]


@given(st.binary(max_size=200))
def test_any_bytes_decode_to_as_many_samples(payload):
    for decode in (g711.decode_mu_law, g711.decode_a_law):
        samples = decode(payload)
        assert samples.dtype == np.int16
        assert samples.shape == (len(payload),)
