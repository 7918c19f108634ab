"""Curves and calibration: the numbers of mAP^r, hand-made cases, and a perfect network."""

import numpy as np
import pytest

from helpers import report_sets as sets
from mnc_jax.evaluation.metrics import curves, voc

PLACES = ((0, 20), (20, 40), (40, 60), (60, 80))


def make_set(count):
  """Returns ground truth with four instances of category 1 in each of `count` images."""
  images = [{"id": number, "height": sets.SIZE[0], "width": sets.SIZE[1]}
            for number in range(count)]
  annotations = [sets.make_record(number, 1, columns, id=4 * number + index)
                 for number in range(count) for index, columns in enumerate(PLACES)]
  return {"images": images, "annotations": annotations,
          "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]}


def make_results(score, right, wrong, *, image):
  """Returns results of one score in an image: `right` are, `wrong` find nothing."""
  nothing = [sets.make_record(image, 2, PLACES[0], score=score) for _ in range(wrong)]
  return nothing + [sets.make_record(image, 1, columns, score=score)
                    for columns in PLACES[:right]]


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_curves_have_the_average_precisions_of_the_scores(threshold):
  ground_truth, results = sets.make_set()
  found = curves.precision_curves(curves.match_scored(ground_truth, results), threshold)
  scores = voc.average_precisions(
      ground_truth, results, iou_thresholds=(threshold,)).thresholds[threshold]
  assert {name: curve.ap_11point for name, curve in found.items()} == scores.ap_11point
  assert {name: curve.ap_area for name, curve in found.items()} == scores.ap_area
  for curve in found.values():
    area = np.sum(curve.precisions * np.diff(curve.recalls, prepend=0))
    assert area == pytest.approx(curve.ap_area, abs=1e-12)


def test_a_curve_by_hand():
  ground_truth, results = sets.make_set()
  # Cats by score: image 3 wrong (.95), image 1 right (.9), image 2 at IoU .3 (.8), image 3 in the
  # crowd (.6, ignored), image 1 again (.5), image 3 at IoU .9 (.2); of three.
  curve = curves.precision_curves(curves.match_scored(ground_truth, results), 0.5)[sets.CAT]
  np.testing.assert_allclose(curve.recalls, [0, 1 / 3, 1 / 3, 1 / 3, 2 / 3], rtol=1e-12)
  np.testing.assert_allclose(curve.precisions, [1 / 2, 1 / 2, 2 / 5, 2 / 5, 2 / 5], rtol=1e-12)
  means = curves.mean_precision([curve, curve], np.array([0, 1 / 3, 0.34, 2 / 3, 0.67, 1]))
  np.testing.assert_allclose(means, [1 / 2, 1 / 2, 2 / 5, 2 / 5, 0, 0], rtol=1e-12)


def test_recalls_that_differ_by_rounding_are_the_same():
  curve = curves.Curve(np.array([7 / 20, 1]), np.array([1, 0.5]), 0.0, 0.0)
  recalls = np.linspace(0, 1, 101)
  assert recalls[35] > 7 / 20
  np.testing.assert_array_equal(curves.mean_precision([curve], recalls),
                                np.where(np.arange(101) <= 35, 1, 0.5))


def test_a_perfect_network_has_precision_one_along_all_recall():
  ground_truth = make_set(3)
  results = [record for image in range(3) for record in make_results(1.0, 4, 0, image=image)]
  scored = curves.match_scored(ground_truth, results)
  for threshold in (0.5, 0.7, 1.0):
    (curve,) = curves.precision_curves(scored, threshold).values()
    np.testing.assert_array_equal(curve.precisions, 1.0)
    np.testing.assert_allclose(curve.recalls, np.arange(1, 13) / 12)
    np.testing.assert_array_equal(curves.mean_precision([curve], np.linspace(0, 1, 101)), 1.0)
    calibration = curves.calibrate(scored, threshold)
    assert calibration.error == 0
    assert calibration.counts.tolist() == [0] * 9 + [12]
    assert calibration.shares.tolist() == [0] * 9 + [1]


def test_scores_that_are_right_as_often_as_they_say_are_calibrated():
  # Of four results at .25 one is right, of two at .5 one, of four at .75 three.
  results = (make_results(0.25, 1, 3, image=0) + make_results(0.5, 1, 1, image=1)
             + make_results(0.75, 3, 1, image=2))
  calibration = curves.calibrate(curves.match_scored(make_set(3), results), 0.5)
  assert calibration.error == pytest.approx(0, abs=1e-12)
  assert calibration.counts.tolist() == [0, 0, 4, 0, 0, 2, 0, 4, 0, 0]
  np.testing.assert_allclose(calibration.shares[[2, 5, 7]], [0.25, 0.5, 0.75])
  np.testing.assert_allclose(calibration.scores[[2, 5, 7]], [0.25, 0.5, 0.75])


def test_the_error_is_the_mean_distance_of_score_and_share():
  # Six at .9 of which three are right, and two at .2 of which both are.
  results = make_results(0.9, 3, 3, image=0) + make_results(0.2, 2, 0, image=1)
  scored = curves.match_scored(make_set(2), results)
  assert curves.calibrate(scored, 0.5).error == pytest.approx((6 * 0.4 + 2 * 0.8) / 8)
  assert curves.calibrate(scored, 0.5, min_score=0.3).error == pytest.approx(0.4)
  assert curves.calibrate(scored, 0.5, min_score=0.95).error == 0


def test_ignored_results_do_not_count_and_duplicates_are_wrong():
  ground_truth, results = sets.make_set()
  calibration = curves.calibrate(curves.match_scored(ground_truth, results), 0.5, bins=2)
  # Below .5: .2 (right) and .4; from .5 on: .5 (duplicate), .7, .8, .9 (right), .95; not .6.
  assert calibration.counts.tolist() == [2, 5]
  np.testing.assert_allclose(calibration.shares, [1 / 2, 1 / 5])
  np.testing.assert_allclose(calibration.scores, [0.3, 3.85 / 5])


def test_without_instances_or_results():
  ground_truth = make_set(1)
  nothing = curves.match_scored(ground_truth, [])
  (curve,) = curves.precision_curves(nothing, 0.5).values()
  assert (len(curve.recalls), curve.ap_11point, curve.ap_area) == (0, 0, 0)
  np.testing.assert_array_equal(curves.mean_precision([curve], np.linspace(0, 1, 3)), 0)
  assert curves.calibrate(nothing, 0.5).error == 0
  nobody = curves.match_scored(ground_truth | {"annotations": []}, make_results(0.9, 1, 1, image=0))
  assert curves.precision_curves(nobody, 0.5) == {}
  assert curves.calibrate(nobody, 0.5).error == pytest.approx(0.9)
