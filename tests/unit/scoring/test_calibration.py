import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.errors import ModelInvalid
from vivavoce.scoring.calibration import (
    Calibration,
    Condition,
    Correction,
    read_calibration,
    write_calibration,
)

FIVE = Condition(
    seconds=5.0, slope=8.0, offset=-4.0, tail_raw=(0.1, 0.4, 0.7), tail_log10_p=(-0.1, -1.0, -3.0)
)
TEN = Condition(
    seconds=10.0, slope=12.0, offset=-6.0, tail_raw=(0.0, 0.5, 0.6), tail_log10_p=(0.0, -2.0, -3.0)
)
CALIBRATION = Calibration(model="m", model_sha256="ab", conditions=(FIVE, TEN))
CORRECTION = Correction(weight=0.8, centre=-0.2, limit=0.5, conditions=(TEN,))
REFERRING = replace(CALIBRATION, reference=CORRECTION)

raws = st.floats(-2, 2)
lengths_s = st.floats(0.1, 100)


@given(low=raws, high=raws, seconds=lengths_s, reference=st.none() | raws)
def test_a_higher_score_never_means_less(low, high, seconds, reference):
    low, high = sorted((low, high))
    less, more = (REFERRING.apply(raw, seconds=seconds, reference=reference) for raw in (low, high))
    assert less.llr <= more.llr + 1e-9
    assert less.log10_p >= more.log10_p - 1e-9
    assert more.log10_p <= 0


@given(raw=raws, seconds=lengths_s)
def test_between_conditions_the_meaning_lies_between_theirs(raw, seconds):
    got = CALIBRATION.apply(raw, seconds=seconds)
    for value, ends in (
        (got.llr, (FIVE.llr(raw), TEN.llr(raw))),
        (got.log10_p, (FIVE.log10_exceedance(raw), TEN.log10_exceedance(raw))),
    ):
        assert min(ends) - 1e-9 <= value <= max(ends) + 1e-9


def test_outside_them_the_nearest_condition_holds():
    for seconds, condition in ((0.5, FIVE), (5, FIVE), (10, TEN), (300, TEN)):
        got = CALIBRATION.apply(0.45, seconds=seconds)
        assert got.llr == pytest.approx(condition.llr(0.45))
        assert got.log10_p == pytest.approx(condition.log10_exceedance(0.45))


def test_half_way_is_half_way_in_the_logarithm_of_the_seconds():
    got = CALIBRATION.apply(0.45, seconds=math.sqrt(50))
    assert got.llr == pytest.approx((FIVE.llr(0.45) + TEN.llr(0.45)) / 2)


def test_the_tail_goes_on_along_its_last_two_points():
    assert TEN.log10_exceedance(0.6) == pytest.approx(-3.0)
    assert TEN.log10_exceedance(0.7) == pytest.approx(-4.0)
    assert TEN.log10_exceedance(1.0) == pytest.approx(-7.0)


def test_below_its_first_point_the_tail_is_level():
    assert FIVE.log10_exceedance(-1.0) == pytest.approx(-0.1)


@pytest.mark.parametrize(
    ("reference", "corrected"), [(-0.2, 0.4), (0.0, 0.24), (0.3, 0.0), (2.0, 0.0), (-2.0, 0.8)]
)
def test_a_reference_takes_its_share_off_up_to_the_limit_and_has_conditions_of_its_own(
    reference, corrected
):
    got = REFERRING.apply(0.4, seconds=10, reference=reference)
    assert got.raw == 0.4
    assert got.llr == pytest.approx(TEN.llr(corrected))
    assert got.log10_p == pytest.approx(TEN.log10_exceedance(corrected))


def test_a_reference_does_not_count_for_less_speech_than_its_conditions_know():
    plain = REFERRING.apply(0.4, seconds=9.9)
    assert REFERRING.apply(0.4, seconds=9.9, reference=0.3) == plain
    assert REFERRING.apply(0.4, seconds=10.0, reference=0.3) != plain


@given(raw=raws, seconds=lengths_s, reference=raws)
def test_a_reference_changes_nothing_unless_both_sides_know_it(raw, seconds, reference):
    plain = CALIBRATION.apply(raw, seconds=seconds)
    assert CALIBRATION.apply(raw, seconds=seconds, reference=reference) == plain
    assert REFERRING.apply(raw, seconds=seconds) == plain


@given(raw=raws, seconds=lengths_s, low=raws, high=raws)
def test_the_odder_the_own_voice_the_less_a_score_means(raw, seconds, low, high):
    low, high = sorted((low, high))
    less, more = (REFERRING.apply(raw, seconds=seconds, reference=own) for own in (high, low))
    assert less.llr <= more.llr + 1e-9


@pytest.mark.parametrize("calibration", [CALIBRATION, REFERRING])
def test_what_was_written_is_read_again(tmp_path, calibration):
    path = tmp_path / "m.calibration.json"
    write_calibration(path, calibration, made_from={"script": "a test"})
    assert read_calibration(path) == calibration
    assert json.loads(path.read_text())["made_from"] == {"script": "a test"}


def changed(**changes):
    """A document of one condition with some members changed, or left out with None."""
    condition = {
        "seconds": 10,
        "slope": 1,
        "offset": 0,
        "tail": {"raw": [0, 1], "log10_p": [0, -1]},
    }
    condition |= {key: changes.pop(key) for key in list(changes) if key in condition}
    document = {
        "format": "vivavoce-calibration/1",
        "model": "m",
        "model_sha256": "ab",
        "conditions": [condition],
    } | changes
    return json.dumps({key: value for key, value in document.items() if value is not None})


def tail(raw, log10_p):
    return {"raw": raw, "log10_p": log10_p}


def referring(**changes):
    """A document whose reference has some members changed."""
    conditions = json.loads(changed())["conditions"]
    reference = {"weight": 0.8, "centre": -0.2, "limit": 0.5, "conditions": conditions} | changes
    return changed(reference={key: value for key, value in reference.items() if value is not None})


def test_a_file_may_have_a_reference(tmp_path):
    path = tmp_path / "m.calibration.json"
    path.write_text(referring())
    reference = read_calibration(path).reference
    assert reference is not None
    assert (reference.weight, reference.centre, reference.limit) == (0.8, -0.2, 0.5)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        '{"format": "vivavoce-calibration/1"}',
        changed(format="vivavoce-calibration/2"),
        changed(model=None),
        changed(conditions=[]),
        changed(conditions={"seconds": 1}),
        changed(seconds=0),
        changed(seconds=math.nan),
        changed(seconds=math.inf),
        changed(slope=0),
        changed(slope=-1),
        changed(slope=math.nan),
        changed(slope=None),
        changed(slope=10**400),
        changed(offset=math.inf),
        changed(tail=tail([0], [0])),
        changed(tail=tail([0, 1], [0])),
        changed(tail=tail([1, 0], [0, -1])),
        changed(tail=tail([0, 1], [-1, 0])),
        changed(tail=tail([0, 1], [1, -1])),
        changed(tail=tail([0, 0], [0, -1])),
        changed(tail=tail(["x", 1], [0, -1])),
        changed(reference=[]),
        referring(weight=None),
        referring(weight=-0.1),
        referring(weight=1.1),
        referring(weight=math.nan),
        referring(centre=math.inf),
        referring(centre="x"),
        referring(limit=0),
        referring(limit=math.inf),
        referring(conditions=None),
        referring(conditions=[]),
        referring(conditions=[{"seconds": 10}]),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_by_name(tmp_path, text):
    path = tmp_path / "m.calibration.json"
    path.write_text(text)
    with pytest.raises(ModelInvalid, match=r"m\.calibration\.json"):
        read_calibration(path)


@pytest.mark.parametrize("seconds", [(10, 5), (5, 5)])
def test_conditions_out_of_order_are_refused(tmp_path, seconds):
    path = tmp_path / "m.calibration.json"
    conditions = [json.loads(changed(seconds=s))["conditions"][0] for s in seconds]
    path.write_text(changed(conditions=conditions))
    with pytest.raises(ModelInvalid):
        read_calibration(path)


def test_a_missing_or_binary_file_is_refused(tmp_path):
    path = tmp_path / "m.calibration.json"
    for prepare in (lambda: None, lambda: path.write_bytes(b"\xff\xfe\x00")):
        prepare()
        with pytest.raises(ModelInvalid):
            read_calibration(path)
