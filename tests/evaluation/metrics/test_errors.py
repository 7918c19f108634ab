import collections
import json

import numpy as np
import pytest

from mnc_jax.coco.rle import encode_mask
from mnc_jax.evaluation.metrics import errors, voc

SIZE = (20, 40)
IMAGE = {"id": 1, "height": SIZE[0], "width": SIZE[1]}
LEFT, MIDDLE, RIGHT = (0, 10), (10, 20), (30, 40)


def make_record(columns, *, category=1, rows=(0, 10), image=1, **fields):
  mask = np.zeros(SIZE, np.uint8)
  mask[slice(*rows), slice(*columns)] = 1
  return {"image_id": image, "category_id": category, **fields, "segmentation": encode_mask(mask)}


def make_ground_truth(annotations, *, images=(1,)):
  return {"images": [IMAGE | {"id": image} for image in images],
          "annotations": [record | {"id": number} for number, record in enumerate(annotations)],
          "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]}


def judge_one(annotations, results, **options):
  return errors.classify_image(IMAGE, annotations, results, **options)


def kinds_of(found):
  return [judged.kind for judged in found.results]


TWO = (make_record(LEFT), make_record(RIGHT, category=2))

# Columns, category and rows of one result, and what it is: kind, place of its instance, IoU.
SINGLE = (
    ((0, 10), 1, (0, 10), "found", 0, 1.0),
    ((0, 5), 1, (0, 10), "found", 0, 0.5),         # The threshold itself is reached.
    ((0, 4), 1, (0, 10), "localisation", 0, 0.4),
    ((0, 1), 1, (0, 10), "localisation", 0, 0.1),  # So is the lower limit.
    ((0, 1), 1, (0, 9), "background", 0, 0.09),
    ((30, 40), 1, (0, 10), "confusion", 1, 1.0),
    ((30, 35), 1, (0, 10), "confusion", 1, 0.5),
    ((30, 34), 1, (0, 10), "background", 1, 0.4),  # Neither the right mask nor the right category.
    ((15, 25), 1, (0, 10), "background", None, 0.0),
)


@pytest.mark.parametrize("columns, category, rows, kind, instance, overlap", SINGLE)
def test_kind_of_a_single_result(columns, category, rows, kind, instance, overlap):
  found = judge_one(TWO, [make_record(columns, category=category, rows=rows, score=0.9)])
  judged, = found.results
  assert (judged.kind, judged.instance) == (kind, instance)
  assert judged.overlap == pytest.approx(overlap, abs=1e-12)


def test_a_worse_result_of_a_taken_instance_is_a_duplicate_in_whatever_order():
  better, worse = make_record((0, 6), score=0.8), make_record(LEFT, score=0.7)
  for results in ([better, worse], [worse, better]):
    found = judge_one(TWO, results)
    assert kinds_of(found) == ["found", "duplicate"]
    assert found.results[0].record is better
    assert found.results[1].instance == 0
    assert found.results[1].overlap == 1


def test_a_duplicate_of_its_own_category_is_no_confusion():
  both = (make_record(LEFT), make_record(LEFT, category=2))
  found = judge_one(both, [make_record(LEFT, score=0.9), make_record(LEFT, score=0.8)])
  assert kinds_of(found) == ["found", "duplicate"]
  assert [missed.instance for missed in found.missed] == [1]


def test_confusion_comes_before_localisation():
  annotations = (make_record((0, 4)), make_record((4, 12), category=2))
  judged, = judge_one(annotations, [make_record((2, 12), score=0.9)]).results
  # 2 of 12 columns shared with the cat, 8 of 10 with the dog.
  assert (judged.kind, judged.instance, judged.overlap) == ("confusion", 1, 0.8)


def test_a_result_in_a_crowd_is_ignored_and_the_crowd_is_not_missed():
  crowd = make_record((0, 20), iscrowd=1)
  found = judge_one([crowd], [make_record((15, 25), score=0.9), make_record((16, 26), score=0.8),
                              make_record(LEFT, category=2, score=0.7)])
  assert kinds_of(found) == ["ignored", "background", "background"]
  assert found.results[0].instance == 0
  assert found.results[0].overlap == pytest.approx(0.5, abs=1e-12)
  # A crowd of another category does not matter to a result.
  assert found.results[2].instance is None
  assert found.missed == ()
  assert found.cost == pytest.approx(0.8 + 0.7, abs=1e-12)


def test_missed_instances_have_the_closest_result_even_below_the_lowest_score():
  faint = make_record((0, 8), score=0.2)
  found = judge_one(TWO, [faint, make_record(MIDDLE, score=0.9)], min_score=0.3)
  assert kinds_of(found) == ["background"]
  assert found.hidden == 1
  assert found.missed[0].closest is faint
  assert found.missed[0].overlap == pytest.approx(0.8, abs=1e-12)
  assert found.missed[1] == errors.Missed(1, None, 0.0)


def test_the_lowest_score_itself_is_judged():
  found = judge_one(TWO, [make_record(LEFT, score=0.3)], min_score=0.3)
  assert (kinds_of(found), found.hidden) == (["found"], 0)


def test_cost_is_the_distance_of_the_scores_from_the_right_ones():
  results = [make_record(LEFT, score=0.9), make_record(LEFT, score=0.6),
             make_record(MIDDLE, score=0.25)]
  # .1 for the one found, .6 and .25 for false ones, 1 for the dog missed.
  assert judge_one(TWO, results).cost == pytest.approx(0.1 + 0.6 + 0.25 + 1, abs=1e-12)
  assert judge_one(TWO, []).cost == 2
  # Scores that are no probabilities are clipped.
  assert judge_one(TWO[:1], [make_record(LEFT, score=7.0)]).cost == 0
  assert judge_one([], [make_record(LEFT, score=-3.0), make_record(LEFT, score=3.0)]).cost == 1


def test_worst_images_come_first_and_equal_ones_in_the_order_given():
  gt = make_ground_truth([make_record(LEFT, image=image) for image in (5, 3, 8)],
                     images=(5, 3, 8, 4, 2))
  results = [make_record(LEFT, image=3, score=0.9), make_record(MIDDLE, image=8, score=0.5)]
  found = errors.classify_errors(gt, results)
  assert [one.image["id"] for one in found] == [8, 5, 3, 4, 2]
  assert [one.cost for one in found] == pytest.approx([1.5, 1, 0.1, 0, 0], abs=1e-12)


def test_another_threshold_moves_the_limits():
  found = judge_one(TWO, [make_record((0, 6), score=0.9)], iou_threshold=0.7)
  assert kinds_of(found) == ["localisation"]
  with pytest.raises(ValueError, match="must be above 0.1"):
    errors.classify_errors(make_ground_truth([]), [], iou_threshold=0.1)


def test_empty_sets_and_images():
  assert errors.classify_errors(make_ground_truth([], images=()), []) == []
  alone, = errors.classify_errors(make_ground_truth([]), [])
  assert alone == errors.ImageErrors(IMAGE, (), (), (), 0, 0.0)
  assert kinds_of(judge_one([], [make_record(LEFT, score=0.4)])) == ["background"]
  assert errors.count_kinds([]) == {}
  assert not errors.count_confusions([])


def test_unknown_images_are_rejected():
  with pytest.raises(ValueError, match="result 0 of image 1 has no 'segmentation'"):
    errors.classify_errors(make_ground_truth(TWO), [
        {"image_id": 1, "category_id": 1, "score": 0.5, "bbox": [0, 0, 1, 1]}])
  with pytest.raises(ValueError, match="annotation 0 of image 1: category_id 9 is not in the file"):
    errors.classify_errors(make_ground_truth([make_record(LEFT, category=9)]), [])
  with pytest.raises(ValueError, match="unknown image_id: 7"):
    errors.classify_errors(make_ground_truth([]), [make_record(LEFT, image=7, score=0.5)])


def test_counts_by_category_and_confusions():
  results = [make_record(LEFT, score=0.9), make_record(LEFT, score=0.8),
             make_record(RIGHT, score=0.7), make_record((32, 40), score=0.6)]
  found = errors.classify_errors(make_ground_truth(list(TWO)), results)
  assert errors.count_kinds(found) == {
      1: {"found": 1, "duplicate": 1, "confusion": 2, "instances": 1},
      2: {"missed": 1, "instances": 1}}
  assert errors.count_confusions(found) == {(1, 2): 2}


def check_counts_agree(gt, results):
  """The kinds split what `voc` counts as false; the rest is the same."""
  names = {category["id"]: category["name"] for category in gt["categories"]}
  numbered = [record | {"id": number} for number, record in enumerate(gt["annotations"])]
  gt = gt | {"annotations": numbered}
  counts = errors.count_kinds(errors.classify_errors(gt, results))
  for category, count in counts.items():
    expected = voc.average_precisions(gt, results).thresholds[0.5].counts[names[category]]
    assert count["found"] == expected["true"]
    assert count["duplicate"] == expected["duplicate"]
    assert count["ignored"] == expected["ignored"]
    assert sum(count[kind] for kind in errors.FALSE_KINDS[1:]) == expected["false"]
  return sum(counts.values(), collections.Counter())


def test_counts_agree_with_the_score_on_random_rectangles():
  rng = np.random.default_rng(0)
  def make_random(**fields):
    left, width = rng.integers(0, 20), rng.integers(4, 20)
    return make_record((left, left + width), category=int(rng.integers(1, 3)),
                       image=int(rng.integers(1, 9)), **fields)
  gt = make_ground_truth([make_random(iscrowd=int(rng.random() < 0.2)) for _ in range(40)],
                     images=range(1, 9))
  # One decimal: equal scores occur.
  total = check_counts_agree(
      gt, [make_random(score=round(float(rng.random()), 1)) for _ in range(200)])
  assert min(total[kind] for kind in (*errors.ERROR_KINDS, "ignored", "found")) > 0
  assert total["instances"] == sum(not record["iscrowd"] for record in gt["annotations"])


def test_counts_agree_with_the_score_on_the_reference(shared_dir):
  folder = shared_dir / "reference" / "sds_eval"
  gt, results = (json.loads((folder / name).read_text())
                    for name in ("ground_truth.json", "results.json"))
  total = check_counts_agree(gt, results)
  assert total["instances"] == 678
  assert sum(total[kind] for kind in ("found", *errors.FALSE_KINDS, "ignored")) == 986
