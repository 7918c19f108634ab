import copy

import numpy as np
import pytest

from helpers.records_by_hand import LEFT, TWO_CATS, make_box_result, make_ground_truth, make_result
from mnc_jax.coco import content
from mnc_jax.evaluation.metrics import records

GROUND_TRUTH = make_ground_truth((*TWO_CATS, (2, 1, *LEFT, 1)))
CROWD_ONLY = make_ground_truth(((1, 1, *LEFT, 1),))


def changed(section, number, **fields):
  """The ground truth with one row changed; a field given as None is taken away."""
  ground_truth = copy.deepcopy(GROUND_TRUTH)
  row = {**ground_truth[section][number], **fields}
  ground_truth[section][number] = {name: value for name, value in row.items() if value is not None}
  return ground_truth


def test_crowd_regions_alone_cannot_be_scored():
  with pytest.raises(ValueError, match=r"no instance \(crowd regions aside\): nothing to score"):
    records.check_records(CROWD_ONLY, [])


def test_no_instance_is_fine_where_it_is_allowed():
  records.check_records(CROWD_ONLY, [], allow_empty=True)


def result(**fields):
  row = make_result(1, 1, *LEFT, 0.5) | fields
  return {name: value for name, value in row.items() if value is not None}


@pytest.mark.parametrize(("results", "message"), [
    ({"annotations": []}, "RES: a list of results is needed, not dict"),
    (["x"], "RES: result 0: 'x' is not an object"),
    ([result(), result(score=None)], "RES: result 1: no field 'score'"),
    ([result(image_id=None)], "RES: result 0: no field 'image_id'"),
    ([result(image_id="1")], "RES: result 0: image_id '1' is not an integer"),
    ([result(image_id=i) for i in (7, 3, 4, 5, 6, 8)],
     "RES: results with 6 unknown image_id: 3, 4, 5, 6, 7, ..."),
    ([result(image_id=-1)], "RES: results with 1 unknown image_id: -1"),
    ([result(category_id=9)], "RES: results with 1 unknown category_id: 9"),
    ([result(), result(score=float("nan"))],
     "RES: result 1 of image 1: score nan is not a finite number"),
    ([result(score=float("inf"))], "RES: result 0 of image 1: score inf is not"),
    ([result(score=10 ** 400)], "RES: result 0 of image 1: score 1000"),
    ([result(score="0.5")], "RES: result 0 of image 1: score '0.5' is not"),
    ([result(score=True)], "RES: result 0 of image 1: score True is not"),
    ([result(bbox=[1, 2, 3])], "RES: result 0 of image 1: bbox [1, 2, 3] is not [x, y, width, h"),
    ([result(bbox=[1, 2, 3, float("nan")])], "RES: result 0 of image 1: bbox [1, 2, 3, nan] is"),
])
def test_faults_of_results_are_named(results, message):
  images, categories = ({row["id"]: row for row in GROUND_TRUTH[section]}
                        for section in ("images", "categories"))
  with pytest.raises(ValueError) as caught:
    content.check_results(results, images, categories, name="RES")
  assert message in str(caught.value)


def test_what_can_be_scored_is_accepted():
  records.check_records(GROUND_TRUTH, [])
  # Numbers of numpy, as they come from a model; ids of results are not checked.
  records.check_records(GROUND_TRUTH, [result(score=np.float32(0.5), image_id=np.int64(1), id="x")])


def test_the_kinds_are_those_of_any_record():
  mask, box = result(), make_box_result(1, 1, *LEFT, 0.5)
  assert records.kinds_of([mask]) == ("segm",)
  assert records.kinds_of([box]) == ("bbox",)
  assert records.kinds_of([mask, box]) == records.kinds_of([]) == ("segm", "bbox")
  with pytest.raises(ValueError, match="RES: no result has 'segmentation' or 'bbox'"):
    records.kinds_of([result(segmentation=None)], name="RES")


def test_annotations_without_shape_are_named():
  ground_truth = changed("annotations", 1, segmentation=None)
  with pytest.raises(ValueError, match="GT: annotation 1 of image 1 has no 'bbox'"):
    records.check_kind(ground_truth, [], "bbox", name="GT")
  records.check_kind(GROUND_TRUTH, [], "bbox")  # Boxes are the bounds of the masks.


def test_instances_are_counted_without_crowds():
  assert records.count_instances(GROUND_TRUTH) == ({"cat": 2}, ("dog",))
