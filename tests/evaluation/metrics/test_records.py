import copy

import numpy as np
import pytest

from helpers.records_by_hand import LEFT, TWO_CATS, make_box_result, make_ground_truth, make_result
from mnc_jax.evaluation.metrics import records

TRUTH = make_ground_truth((*TWO_CATS, (2, 1, *LEFT, 1)))
CROWD_ONLY = make_ground_truth(((1, 1, *LEFT, 1),))


def changed(section, number, **fields):
  """The ground truth with one row changed; a field given as None is taken away."""
  ground_truth = copy.deepcopy(TRUTH)
  row = {**ground_truth[section][number], **fields}
  ground_truth[section][number] = {name: value for name, value in row.items() if value is not None}
  return ground_truth


@pytest.mark.parametrize(("ground_truth", "message"), [
    ([], "GT is not in COCO format: list instead of an object"),
    ({"images": []}, "GT is not in COCO format: no list 'categories'"),
    (changed("images", 1, id=1), "GT: id of images: 1 occurs 2 times"),
    (changed("images", 1, id="1"), "GT: some ids of images are numbers and some are text"),
    (changed("images", 0, height=None), "GT: image 1 has no 'height'"),
    (changed("images", 0, width=-3), "GT: image 1 has height 20 and width -3"),
    (changed("categories", 1, name=5), "GT: category 2 has name 5: not text"),
    (changed("annotations", 1, area="x"), "GT: annotation 1 has area 'x': a finite number"),
    (changed("annotations", 1, area=float("nan")), "GT: annotation 1 has area nan: a finite"),
    (changed("categories", 1, name="cat"), "GT: category name: 'cat' occurs 2 times"),
    (changed("annotations", 1, id=0), "GT: id of annotations: 0 occurs 2 times"),
    (changed("annotations", 1, image_id=9), "GT: annotations name 1 unknown image_id: 9"),
    (changed("annotations", 1, category_id=8), "GT: annotations name 1 unknown category_id: 8"),
    (changed("annotations", 1, category_id=[8]), "GT: annotation 1 has category_id [8]: not an id"),
    (changed("images", 0, height=2**33), "GT: image 1 has height 8589934592 and width 20: integ"),
    (changed("images", 0, height=True), "GT: image 1 has height True"),
    (changed("images", 0, id=True), "GT: image True has id True: not an id"),
    (changed("annotations", 1, iscrowd="no"), "GT: annotation 1 has iscrowd 'no': 0 or 1"),
    (changed("annotations", 1, bbox=[0, 0, 1e308, 9]), "GT: annotation 1 has bbox [0, 0, 1e+308"),
    (changed("annotations", 1, area=10**400), "GT: annotation 1 has area 1000"),
    (changed("annotations", 1, bbox=[0, 0, -1, 2]), "GT: annotation 1 has bbox [0, 0, -1, 2]"),
    (CROWD_ONLY, "GT has no instance (crowd regions aside): nothing to score"),
])
def test_faults_of_ground_truth_are_named(ground_truth, message):
  with pytest.raises(ValueError) as caught:
    records.check_ground_truth(ground_truth, place="GT")
  assert message in str(caught.value)


def test_no_instance_is_fine_where_it_is_allowed():
  records.check_ground_truth(CROWD_ONLY, allow_empty=True)


def result(**fields):
  row = make_result(1, 1, *LEFT, 0.5) | fields
  return {name: value for name, value in row.items() if value is not None}


@pytest.mark.parametrize(("results", "message"), [
    ({"annotations": []}, "RES: a list of results is needed, not dict"),
    (["x"], "RES: result 0 is not an object"),
    ([result(), result(score=None)], "RES: result 1 has no 'score'"),
    ([result(image_id=None)], "RES: result 0 has no 'image_id'"),
    ([result(image_id=i) for i in (7, 3, 4, 5, 6, 8)],
     "RES: results name 6 unknown image_id: 3, 4, 5, 6, 7, ..."),
    ([result(category_id=9)], "RES: results name 1 unknown category_id: 9"),
    ([result(), result(score=float("nan"))], "RES: result 1 of image 1 has score nan"),
    ([result(score=float("inf"))], "RES: result 0 of image 1 has score inf"),
    ([result(score="0.5")], "RES: result 0 of image 1 has score '0.5'"),
    ([result(score=True)], "RES: result 0 of image 1 has score True"),
    ([result(bbox=[1, 2, 3])], "RES: result 0 has bbox [1, 2, 3]: [x, y, width, height]"),
    ([result(bbox=[1, 2, 3, float("nan")])], "RES: result 0 has bbox [1, 2, 3, nan]"),
])
def test_faults_of_results_are_named(results, message):
  with pytest.raises(ValueError) as caught:
    records.check_results(results, TRUTH, place="RES")
  assert message in str(caught.value)


def test_what_can_be_scored_is_let_through():
  records.check_ground_truth(TRUTH)
  records.check_results([], TRUTH)
  # Numbers of numpy, as they come from a model.
  records.check_results([result(score=np.float32(0.5), image_id=np.int64(1))], TRUTH)


def test_the_kinds_are_those_of_any_record():
  mask, box = result(), make_box_result(1, 1, *LEFT, 0.5)
  assert records.kinds_of([mask]) == ("segm",)
  assert records.kinds_of([box]) == ("bbox",)
  assert records.kinds_of([mask, box]) == records.kinds_of([]) == ("segm", "bbox")
  with pytest.raises(ValueError, match="RES: no result has 'segmentation' or 'bbox'"):
    records.kinds_of([result(segmentation=None)], place="RES")


def test_annotations_without_shape_are_named():
  ground_truth = changed("annotations", 1, segmentation=None)
  with pytest.raises(ValueError, match="GT: annotation 1 of image 1 has no 'bbox'"):
    records.check_kind(ground_truth, [], "bbox", gt_place="GT")
  records.check_kind(TRUTH, [], "bbox")  # Boxes are the bounds of the masks.


def test_instances_are_counted_without_crowds():
  assert records.count_instances(TRUTH) == ({"cat": 2}, ("dog",))
