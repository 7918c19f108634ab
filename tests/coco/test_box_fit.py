"""Boxes that are held against the bounds of their masks."""

import copy
import json
import warnings

import numpy as np
import pytest

from helpers.records_by_hand import make_ground_truth
from mnc_jax.coco.box_fit import correct_boxes, describe_result_boxes
from mnc_jax.coco.rle import decode_mask, encode_mask, mask_box
from mnc_jax.evaluation.metrics.records import read_files
from mnc_jax.evaluation.metrics.scoring import score_results

SIZE = (90, 120)


def _annotations(count=20):
  """Rectangles at random places, with the bounds of their masks as boxes."""
  rng = np.random.default_rng(3)
  places = [((y, y + h), (x, x + w)) for y, h, x, w in zip(
      rng.integers(20, 50, count), rng.integers(8, 40, count), rng.integers(30, 60, count),
      rng.integers(20, 50, count))]
  rows = make_ground_truth([(1, 1, *place, 0) for place in places], size=SIZE)["annotations"]
  return [row | {"bbox": mask_box(row["segmentation"])} for row in rows]


def _along_rows(row):
  mask = decode_mask(row["segmentation"])
  return {"segmentation": encode_mask(mask.ravel().reshape(SIZE, order="F"))}


def _swap_mask(row):
  mask = decode_mask(row["segmentation"])
  swapped = np.zeros(SIZE, np.uint8)
  swapped[:, :SIZE[0]] = mask.T[:SIZE[0]]
  return {"segmentation": encode_mask(swapped)}


CHANGES = {
    "as [x1, y1, x2, y2], where COCO has [x, y, width, height]":
        lambda row, x, y, w, h: {"bbox": [x, y, x + w, y + h]},
    "as [y1, x1, y2, x2], where COCO has [x, y, width, height]":
        lambda row, x, y, w, h: {"bbox": [y, x, y + h, x + w]},
    "with x and y swapped, in either the boxes or the masks":
        lambda row, x, y, w, h: {"bbox": [y, x, h, w]},
    "as [centre x, centre y, width, height]":
        lambda row, x, y, w, h: {"bbox": [x + w / 2, y + h / 2, w, h]},
    "as shares of the image's width and height":
        lambda row, x, y, w, h: {"bbox": [x / 120, y / 90, w / 120, h / 90]},
    "as shares of the image's sides from the centre":
        lambda row, x, y, w, h: {"bbox": [x / 120 + w / 240, y / 90 + h / 180, w / 120, h / 90]},
    "if the run lengths of the masks go along the rows":
        lambda row, x, y, w, h: _along_rows(row)}


@pytest.mark.parametrize("cause", CHANGES)
def test_the_cause_is_named_and_bounds_replace_the_boxes(cause):
  rows = [row | CHANGES[cause](row, *row["bbox"]) for row in _annotations()]
  corrected, message = correct_boxes(rows, name="x.json")
  assert message.startswith("x.json: ")
  count = int(message.split()[1])
  assert count >= 15 and " of 20 boxes do not fit their masks (annotation " in message
  assert f"% of them fit {cause}" in message
  bounds = [mask_box(row["segmentation"]) for row in rows]
  assert sum(row["bbox"] == box for row, box in zip(corrected, bounds, strict=True)) >= count


def test_the_same_mistake_at_the_corner_of_the_image():
  rows = [row | {"bbox": [*row["bbox"][:2], *np.add(row["bbox"][:2], row["bbox"][2:]).tolist()]}
          for row in _annotations()]
  # [8, 4, 88, 74]: its IoU with [8, 4, 80, 70] is above .7.
  near = make_ground_truth([(1, 1, (4, 74), (8, 88), 0)], size=SIZE)["annotations"][0]
  right = make_ground_truth([(1, 1, (20, 70), (50, 90), 0)], size=SIZE)["annotations"][0]
  rows += [near | {"bbox": [8, 4, 88, 74]}, right | {"bbox": [50, 20, 41, 50]}]
  corrected, message = correct_boxes(rows, name="x")
  assert "x: 20 of 22 boxes do not fit" in message
  assert corrected[20]["bbox"] == [8, 4, 80, 70]
  assert corrected[21]["bbox"] == [50, 20, 41, 50]


def test_masks_with_x_and_y_swapped():
  _, message = correct_boxes([row | _swap_mask(row) for row in _annotations()], name="x.json")
  assert "of them fit with x and y swapped, in either the boxes or the masks" in message


def test_no_cause():
  rows = [row | {"bbox": [1, 1, 5, 5]} for row in _annotations()]
  assert "20 of 20 boxes" in correct_boxes(rows, name="x")[1]
  assert "No common cause was found" in correct_boxes(rows, name="x")[1]


def test_fewer_than_a_twentieth_are_left_as_they_are():
  rows = _annotations(41)
  for index in range(2):
    rows[index] = rows[index] | {"bbox": [1, 1, 5, 5]}
  assert correct_boxes(rows, name="x") == (rows, "")
  rows[2] = rows[2] | {"bbox": [1, 1, 5, 5]}
  corrected, message = correct_boxes(rows, name="x")
  assert "x: 3 of 41 boxes do not fit" in message
  assert corrected[3:] == rows[3:]
  assert [row["bbox"] for row in corrected] == [mask_box(r["segmentation"]) for r in rows]


def test_what_is_no_misfit():
  (row, *_) = _annotations()
  x, y, w, h = row["bbox"]
  edge = make_ground_truth([(1, 1, (0, 9), (0, 30), 0)], size=SIZE)["annotations"][0]
  for sound in (row | {"bbox": [x - 3, y + 3, w, h]},  # Near.
                row | {"bbox": [x - 5, y, w + 5, h]},  # IoU of .8.
                row | {"bbox": [x, y, 0, h]},  # Empty.
                edge | {"bbox": [-50, -80, 80, 89]},  # Reaches outside.
                {"id": 1, "bbox": [1, 1, 5, 5]}, {"id": 2, "segmentation": edge["segmentation"]},
                {"id": 3, "bbox": [9, 9, 5, 5], "segmentation": encode_mask(np.zeros(SIZE))}):
    assert correct_boxes([sound], name="x") == ([sound], "")


def test_scores_of_boxes_use_the_bounds(tmp_path):
  ground_truth = make_ground_truth((), images=(1,), size=SIZE)
  ground_truth["annotations"] = _annotations()
  results = [{name: row[name] for name in ("image_id", "category_id", "bbox", "segmentation")}
             | {"score": 0.5} for row in ground_truth["annotations"]]
  wrong = copy.deepcopy(ground_truth)
  for row in wrong["annotations"]:
    x, y, w, h = row["bbox"]
    row["bbox"] = [x, y, x + w, y + h]
  (tmp_path / "res.json").write_text(json.dumps(results))
  scores = []
  for content in (ground_truth, wrong):
    (tmp_path / "gt.json").write_text(json.dumps(content))
    with warnings.catch_warnings(record=True) as caught:
      warnings.simplefilter("always", UserWarning)
      files = read_files(tmp_path / "gt.json", tmp_path / "res.json", "sds")
    scores.append(score_results(*files, protocols=("sds",))["boxes"]["0.7"]["mean_ap_area"])
  assert scores[0] == scores[1] > 0.9  # Boxes that overlap much may be duplicates.
  assert ["do not fit their masks" in str(warning.message) for warning in caught] == [True]


def _score_boxes(tmp_path, boxes):
  """Returns mAP^b at IoU .7 of results with these boxes and right masks, and the warnings."""
  ground_truth = make_ground_truth((), images=range(1, 21), size=SIZE)
  ground_truth["annotations"] = [
      row | {"image_id": number} for number, row in enumerate(_annotations(), 1)]
  results = [{name: row[name] for name in ("image_id", "category_id", "segmentation")}
             | {"score": 0.5, "bbox": box}
             for row, box in zip(ground_truth["annotations"], boxes, strict=True)]
  for name, content in (("gt", ground_truth), ("res", results)):
    (tmp_path / f"{name}.json").write_text(json.dumps(content))
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", UserWarning)
    files = read_files(tmp_path / "gt.json", tmp_path / "res.json", "sds")
  return (score_results(*files, protocols=("sds",))["boxes"]["0.7"]["mean_ap_area"],
          [str(warning.message) for warning in caught])


def test_boxes_of_results_in_another_form_are_reported_and_scored_as_they_are(tmp_path):
  bounds = [row["bbox"] for row in _annotations()]
  assert _score_boxes(tmp_path, bounds) == (1, [])
  x, y, w, h = bounds[0]
  score, (message,) = _score_boxes(tmp_path, [[x, y, x + w, y + h] for x, y, w, h in bounds])
  assert score < 0.1
  assert "res.json: 20 of 20 boxes do not fit the masks of their results (result 0: " in message
  assert f"bbox {[x, y, x + w, y + h]}, bounds of the mask {[x, y, w, h]}). " in message
  assert message.endswith("100% of them fit as [x1, y1, x2, y2], where COCO has [x, y, width, "
                          "height]. Boxes were scored as they are")


def test_boxes_of_results_that_are_no_bounds_are_no_fault():
  rows = _annotations()
  def describe(change, count=20):
    return describe_result_boxes([row | {"bbox": change(*row["bbox"])} if number < count else row
                                  for number, row in enumerate(rows)], name="x")
  # Masks that fill a quarter of their boxes, as those of the first steps of a training.
  assert not describe(lambda x, y, w, h: [x - w / 2, y - h / 2, 2 * w, 2 * h])
  assert not describe(lambda x, y, w, h: [x, y, x + w, y + h], count=10)
  assert "x: 11 of 20 boxes" in describe(lambda x, y, w, h: [x, y, x + w, y + h], count=11)
  # Of no common cause.
  far = describe(lambda x, y, w, h: [0, 0, 7, 9])
  assert far.startswith("x: 20 of 20") and "No common cause was found" in far
  assert not describe_result_boxes([], name="x")
