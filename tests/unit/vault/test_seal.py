import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.errors import SealBroken
from vivavoce.vault.seal import SealingKey, new_key

KEY = SealingKey(bytes(range(32)))
PLACE = "domain/d/voiceprint/id#1/vector"


@given(value=st.binary(max_size=200), place=st.text(max_size=40))
def test_what_was_sealed_opens_at_its_place(value, place):
    assert KEY.unseal(KEY.seal(value, place=place), place=place) == value


@given(value=st.binary(max_size=40), data=st.data())
def test_any_flipped_bit_breaks_the_seal(value, data):
    sealed = bytearray(KEY.seal(value, place=PLACE))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealBroken):
        KEY.unseal(bytes(sealed), place=PLACE)


@given(length=st.integers(0, 33))
def test_a_shortened_value_does_not_open(length):
    sealed = KEY.seal(b"voice", place=PLACE)
    assert len(sealed) == 34
    with pytest.raises(SealBroken):
        KEY.unseal(sealed[:length], place=PLACE)


def test_a_value_moved_elsewhere_does_not_open():
    sealed = KEY.seal(b"voice", place=PLACE)
    with pytest.raises(SealBroken):
        KEY.unseal(sealed, place=PLACE.replace("id#1", "id#2"))


def test_a_value_under_another_key_does_not_open():
    sealed = KEY.seal(b"voice", place=PLACE)
    with pytest.raises(SealBroken):
        SealingKey(new_key()).unseal(sealed, place=PLACE)


def test_the_same_value_is_never_sealed_alike():
    assert KEY.seal(b"voice", place=PLACE) != KEY.seal(b"voice", place=PLACE)


def test_the_blind_index_is_the_same_for_equal_texts_under_one_key_only():
    other = SealingKey(new_key())
    assert KEY.blind_index("caller-7") == KEY.blind_index("caller-7")
    assert len({key.blind_index(text) for key in (KEY, other) for text in ("a", "b")}) == 4
    assert KEY.blind_index("caller-7") != KEY.sign(b"caller-7")


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_key_of_another_length_is_refused(length):
    with pytest.raises(SealBroken, match="32"):
        SealingKey(bytes(length))
