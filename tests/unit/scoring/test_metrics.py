import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.scoring.metrics import (
    Trials,
    a_dcf,
    apcer_by_species,
    bpcer,
    cllr,
    clopper_pearson,
    det_curve,
    equal_error_rate,
    min_dcf,
    operating_point,
    verification_accuracy,
)


def curve_of(targets, nontargets, weights=None):
    scores = np.array([*targets, *nontargets], float)
    labels = np.array([True] * len(targets) + [False] * len(nontargets))
    return det_curve(scores, labels, weights)


def eer_of(targets, nontargets):
    return equal_error_rate(curve_of(targets, nontargets))


# Multiples of 1/8 stay distinct and exact through the transforms below.
score_lists = st.lists(st.integers(-80, 80).map(lambda n: n / 8), min_size=1, max_size=30)


def test_classes_apart_have_no_errors_and_exchanged_ones_nothing_else():
    assert eer_of([3, 4], [1, 2]) == 0
    assert eer_of([1, 2], [3, 4]) == 1


def test_equal_scores_say_nothing():
    assert eer_of([1, 1, 1], [1, 1]) == 0.5


def test_one_of_four_on_the_wrong_side_is_a_quarter():
    assert eer_of([0, 5, 6, 7], [1, 2, 3, 6]) == pytest.approx(0.25)


def test_between_points_the_equal_error_rate_lies_on_the_line():
    # Thresholds 1, 2, 3, inf: FRR 0, 1/2, 1/2, 1 and FAR 1, 1, 0, 0: the line from (1, 1/2) to
    # (0, 1/2) has FAR = FRR at 1/2.
    assert eer_of([1, 3], [2]) == pytest.approx(0.5)
    # Points (FAR, FRR): (1, 0), (1/2, 0), (1/2, 1/3), (0, 1/3), (0, 2/3), (0, 1).
    assert eer_of([2, 4, 5], [1, 3]) == pytest.approx(1 / 3)


@given(score_lists, score_lists)
def test_a_rising_transform_leaves_the_curve_as_it_is(targets, nontargets):
    plain = curve_of(targets, nontargets)
    bent = curve_of([math.atan(x) for x in targets], [math.atan(x) for x in nontargets])
    assert np.array_equal(plain.far, bent.far)
    assert np.array_equal(plain.frr, bent.frr)
    assert equal_error_rate(plain) == equal_error_rate(bent)


@given(score_lists, score_lists)
def test_exchanging_and_negating_the_classes_leaves_the_equal_error_rate(targets, nontargets):
    mirrored = eer_of([-x for x in nontargets], [-x for x in targets])
    assert eer_of(targets, nontargets) == pytest.approx(mirrored, abs=1e-9)


@given(score_lists, score_lists)
def test_the_curve_runs_from_accepting_all_to_accepting_none(targets, nontargets):
    curve = curve_of(targets, nontargets)
    assert (curve.far[0], curve.frr[0]) == (1, 0)
    assert (curve.far[-1], curve.frr[-1]) == (0, 1)
    assert (np.diff(curve.far) <= 0).all()
    assert (np.diff(curve.frr) >= 0).all()
    assert (np.diff(curve.threshold) > 0).all()
    assert 0 <= equal_error_rate(curve) <= 1


@given(score_lists, score_lists, st.floats(0, 1))
def test_an_operating_point_keeps_its_false_acceptance_rate(targets, nontargets, far):
    point = operating_point(curve_of(targets, nontargets), far)
    accepted = sum(score >= point.threshold for score in nontargets)
    rejected = sum(score < point.threshold for score in targets)
    assert accepted / len(nontargets) == pytest.approx(point.far)
    assert rejected / len(targets) == pytest.approx(point.frr)
    assert point.far <= far + 1e-9


def test_a_weight_counts_like_that_many_trials():
    weighted = curve_of([0, 5], [1, 2], weights=np.array([1.0, 3.0, 1.0, 1.0]))
    repeated = curve_of([0, 5, 5, 5], [1, 2])
    assert equal_error_rate(weighted) == pytest.approx(equal_error_rate(repeated))


def test_one_class_alone_has_no_error_rates():
    with pytest.raises(ValueError, match="both"):
        curve_of([1, 2], [])
    with pytest.raises(ValueError, match="both"):
        cllr(np.array([1.0]), np.array([True]))
    with pytest.raises(ValueError, match="needs"):
        a_dcf(np.ones(1), np.ones(1), np.zeros(0), threshold=0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_must_be_finite(bad):
    with pytest.raises(ValueError, match="finite"):
        curve_of([bad], [1])


def test_cllr_of_saying_nothing_is_one_bit():
    assert cllr(np.zeros(4), np.array([True, False, True, True])) == pytest.approx(1)


def test_cllr_of_exact_ratios_is_the_known_value():
    # Ratios of 3 : 1 the right way: log2(1 + 1/3).
    llr = np.array([math.log(3), -math.log(3)])
    assert cllr(llr, np.array([True, False])) == pytest.approx(math.log2(4 / 3))


def test_confident_and_wrong_costs_more_than_saying_nothing():
    assert cllr(np.array([-8.0, 8.0]), np.array([True, False])) > 10


@given(score_lists, score_lists)
def test_detection_cost_lies_between_nothing_and_not_listening(targets, nontargets):
    assert 0 <= min_dcf(curve_of(targets, nontargets)) <= 1 + 1e-12


def test_detection_cost_weighs_errors_by_the_prior():
    # Best at threshold 4: one of two targets missed, nobody accepted; relative to missing all, 1/2.
    assert min_dcf(curve_of([1, 4], [2, 3]), p_target=0.5) == pytest.approx(0.5)


@given(score_lists, score_lists, score_lists)
def test_a_dcf_at_its_best_threshold_is_never_worse_than_not_listening(targets, others, spoofs):
    classes = [np.array(scores) for scores in (targets, others, spoofs)]
    thresholds = [*np.concatenate(classes).tolist(), math.inf]
    costs = [a_dcf(*classes, threshold=threshold) for threshold in thresholds]
    assert 0 <= min(costs) <= 1 + 1e-12


def test_a_dcf_weighs_each_class_by_its_prior_and_cost():
    # Half of each class on the wrong side; by default refusing everybody is the cheaper way not
    # to listen: 0.9 * 1, against 0.05 * 10 + 0.05 * 20.
    halves = np.array([0.0, 1.0])
    assert a_dcf(halves, halves, halves, threshold=1) == pytest.approx(0.5 * (0.9 + 1.5) / 0.9)
    right, wrong = np.array([1.0]), np.array([0.0])
    assert a_dcf(right, wrong, wrong, threshold=1) == 0
    assert a_dcf(wrong, wrong, wrong, threshold=1) == pytest.approx(1)
    assert a_dcf(right, right, wrong, threshold=1) == pytest.approx(0.5 / 0.9)
    assert a_dcf(right, wrong, right, threshold=1) == pytest.approx(1 / 0.9)


def test_without_spoofs_among_the_callers_a_dcf_is_the_detection_cost():
    targets, others = np.array([1.0, 4, 5]), np.array([2.0, 3, 6])
    best = min(
        a_dcf(targets, others, np.ones(1), threshold=threshold,
              p_other=0.99, p_spoof=0, cost_other=1)
        for threshold in (*range(7), math.inf)
    )  # fmt: skip
    assert best == pytest.approx(min_dcf(curve_of(targets, others), p_target=0.01))


def test_who_is_refused_for_another_reason_may_score_minus_infinity():
    refused = np.array([-math.inf])
    assert a_dcf(np.ones(1), refused, refused, threshold=0) == 0


def test_attacks_are_counted_by_species():
    rates = apcer_by_species(np.array([1.0, 5, 5, 0]), ["tts", "tts", "replay", "replay"], 3)
    assert {name: rate.value for name, rate in rates.items()} == {"replay": 0.5, "tts": 0.5}
    assert bpcer(np.array([1.0, 2, 3, 4]), 3).value == 0.5


@pytest.mark.parametrize(
    ("errors", "trials", "low", "high"),
    # (1 - 0.025^(1/10)); the others from the beta quantiles in Clopper and Pearson's definition,
    # checked against published tables.
    [(0, 10, 0.0, 0.3085), (1, 10, 0.0025, 0.4450), (5, 10, 0.1871, 0.8129), (10, 10, 0.6915, 1.0),
     (0, 1000, 0.0, 0.003682)],
)  # fmt: skip
def test_exact_intervals_match_the_tables(errors, trials, low, high):
    interval = clopper_pearson(errors, trials)
    assert interval.low == pytest.approx(low, abs=5e-5)
    assert interval.high == pytest.approx(high, abs=5e-5)


def test_one_sided_the_bound_without_errors_is_three_over_n():
    one_sided = clopper_pearson(0, 1000, confidence=0.9)
    assert one_sided.high == pytest.approx(3 / 1000, rel=0.01)


@pytest.mark.parametrize(("errors", "trials"), [(0, 0), (-1, 5), (6, 5)])
def test_impossible_counts_are_refused(errors, trials):
    with pytest.raises(ValueError, match="trials"):
        clopper_pearson(errors, trials)


def simulated(rng, speakers=30, each=6, speaker_effect=1.0):
    """Trials where a speaker's own habit moves all of their target scores."""
    habit = rng.normal(0, speaker_effect, speakers)
    enrolled, tested, scores = [], [], []
    for a in range(speakers):
        for b in range(speakers):
            for _ in range(each if a == b else 1):
                enrolled.append(a)
                tested.append(b)
                scores.append(rng.normal(3 + habit[a] if a == b else 0, 1))
    enrolled, tested = np.array(enrolled), np.array(tested)
    return Trials(
        scores=np.array(scores), is_target=enrolled == tested, enrolled=enrolled, tested=tested
    )


def test_the_estimate_lies_within_its_interval_and_is_the_same_each_time():
    trials = simulated(np.random.default_rng(0))
    first = verification_accuracy(trials, rounds=100)
    assert 0 < first.eer.low <= first.eer.value <= first.eer.high < 1
    assert first == verification_accuracy(trials, rounds=100)
    assert first.targets == 180
    assert first.nontargets == 870


def test_speakers_with_habits_widen_the_interval():
    def width(effect):
        accuracy = verification_accuracy(
            simulated(np.random.default_rng(1), speaker_effect=effect), rounds=200
        )
        return accuracy.eer.high - accuracy.eer.low

    assert width(2.0) > 1.5 * width(0.0)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    # Two normal classes 3 apart: the true equal error rate is P(Z > 1.5).
    truth = 0.5 * math.erfc(1.5 / math.sqrt(2))
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(40):
        interval = verification_accuracy(simulated(rng, speaker_effect=0.0), rounds=100).eer
        covered += interval.low <= truth <= interval.high
    assert covered >= 33


def test_no_error_seen_is_not_no_error_possible():
    trials = simulated(np.random.default_rng(3), speaker_effect=0.0)
    apart = Trials(
        scores=trials.scores + 100 * trials.is_target,
        is_target=trials.is_target, enrolled=trials.enrolled, tested=trials.tested,
    )  # fmt: skip
    eer = verification_accuracy(apart, rounds=50).eer
    assert eer.value == 0
    assert eer.high == pytest.approx(clopper_pearson(0, 30).high)


def test_a_rate_that_the_trials_cannot_show_is_left_out():
    accuracy = verification_accuracy(simulated(np.random.default_rng(4)), rounds=20)
    assert accuracy.frr_at[0.01] is not None
    assert accuracy.frr_at[0.001] is None
