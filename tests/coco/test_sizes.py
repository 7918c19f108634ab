"""Areas that are no pixel counts, and annotations that reach out of their images."""

import json

import pytest

from helpers.records_by_hand import make_ground_truth
from mnc_jax.coco.rle import mask_area, mask_box
from mnc_jax.coco.segmentation import read_segmentation
from mnc_jax.coco.sizes import describe_rectangles, describe_sizes
from mnc_jax.data.readers.coco_file import read_coco_file
from mnc_jax.evaluation.metrics.records import read_files

SIZE = (90, 120)


def _content(count=20):
  """Squares of 400 pixels with their areas and boxes."""
  found = make_ground_truth([(1, 1, (30, 50), (4 * number, 4 * number + 20), 0)
                             for number in range(count)], images=(1,), size=SIZE)
  found["images"][0]["file_name"] = "a.png"
  for row in found["annotations"]:
    row |= {"area": mask_area(row["segmentation"]), "bbox": mask_box(row["segmentation"])}
  return found


def _describe(content):
  return describe_sizes(content["annotations"], content,
                        {row["id"]: row for row in content["images"]}, name="x")


def test_areas_that_are_no_pixel_counts_are_reported():
  content = _content()
  assert _describe(content) == []
  content["annotations"][3]["area"] = 1600.0
  assert _describe(content) == [
      "x: 1 of 20 areas do not fit their masks (annotation 3: area 1600.0, 400 pixels of the mask)"
      ": area is no pixel count, or holes were filled. COCO's scores by size (APs, APm, APl) use "
      "the area"]


@pytest.mark.parametrize(("area", "count"), [(310, 0), (300, 1), (515, 0), (525, 1), (0, 1)])
def test_a_factor_of_1_3_is_an_error(area, count):
  content = _content()
  content["annotations"][3]["area"] = area
  assert len(_describe(content)) == count


def test_areas_that_are_not_compared():
  content = _content(21)
  content["annotations"][3]["area"] = 9000  # One of 21: less than 5 %.
  assert _describe(content) == []
  content = _content(4)
  small = make_ground_truth([(1, 1, (0, 10), (0, 10), 0)], images=(1,), size=SIZE)["annotations"][0]
  content["annotations"] += [small | {"id": 50, "area": 900}]
  content["annotations"][0] |= {"area": 900, "iscrowd": 1}
  del content["annotations"][1]["area"]
  assert _describe(content) == []


def _with_polygons(scale, *, boxes=True):
  """Squares drawn at another size of the image."""
  content = _content()
  for row in content["annotations"]:
    x, y, w, h = (scale * value for value in row.pop("bbox"))
    row |= {"segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]], "area": w * h}
    if boxes:
      row["bbox"] = [x, y, w, h]
  return content


def _read(path, content):
  """Returns the messages about the file of the reader to train on, and of that to score."""
  path.write_text(json.dumps(content))
  path.with_name("res.json").write_text("[]")
  faults = []
  read_coco_file(path, faults.append)
  with pytest.warns() as caught:
    read_files(path, path.with_name("res.json"), "coco")
  return ([fault.message for fault in faults if fault.item == "set"],
          [str(warning.message) for warning in caught if "empty mask" not in str(warning.message)])


@pytest.mark.parametrize("boxes", [False, True])
def test_annotations_of_a_larger_image_are_reported(tmp_path, boxes):
  for messages in _read(tmp_path / "gt.json", _with_polygons(2, boxes=boxes)):
    message, = (text for text in messages if "reach" in text)
    assert message == (
        f"{tmp_path}/gt.json: 20 of 20 annotations reach more than 3 pixels out of their image "
        "(annotation 0: x 0 to 40 and y 60 to 100, image 1: 120 x 90 pixels): they may be of "
        "another size of the image. Of masks, what is outside is cut off")


def test_a_few_annotations_across_the_border_are_no_fault():
  content = _content(41)
  content["annotations"][0]["bbox"] = [-4, 30, 20, 20]
  content["annotations"][1]["bbox"] = [110, 30, 14, 20]
  assert _describe(content) == []  # 2 of 41.
  del content["annotations"][40]
  assert "x: 2 of 40 annotations reach more than 3" in _describe(content)[0]
  content["annotations"][1]["bbox"] = [110, 30, 13, 20]
  assert _describe(content) == []
  # Nor is a single one of a small set.
  assert _describe(content | {"annotations": content["annotations"][:3]}) == []


def test_rows_of_one_id_are_passed_over():
  content = _with_polygons(1)
  rows = content["annotations"]
  checked = [row | {"segmentation": make_ground_truth(
      [(1, 1, (0, 1), (0, 1), 0)], size=SIZE)["annotations"][0]["segmentation"]} for row in rows]
  damaged = content | {"annotations": [*rows, rows[0] | {"segmentation": ["x"]}, 7, {"id": [1]}]}
  assert describe_sizes(checked, damaged, {1: content["images"][0]}, name="x") == []


def _filled(count):
  """The first of 20 squares lose a corner."""
  content = _content()
  for number in range(20 - count):
    polygon = [4 * number, 30, 4 * number + 20, 30, 4 * number + 20, 50]
    content["annotations"][number]["segmentation"] = read_segmentation([polygon], *SIZE)
  return content


def _describe_rectangles(content, count=20):
  return describe_rectangles(content["annotations"][:count], content, name="x")


def test_masks_that_are_boxes_are_reported():
  assert _describe_rectangles(_filled(18)) == (
      "x: 18 of 20 masks fill their boxes: rectangles rather than outlines? Masks will be learned "
      "as boxes")
  assert not _describe_rectangles(_filled(17))
  assert _describe_rectangles(_filled(20), 10)
  assert not _describe_rectangles(_filled(20), 9)
  crowd = _filled(20)
  crowd["annotations"] = [row | {"iscrowd": 1} for row in crowd["annotations"]]
  assert not _describe_rectangles(crowd)
  small = make_ground_truth([(1, 1, (0, 10), (0, 10), 0)] * 20, images=(1,), size=SIZE)
  assert not _describe_rectangles(small)


def _drawn(corners, count=12):
  """(file content, checked rows) of one outline, moved by a pixel each time."""
  rows = [{"id": number, "image_id": 1, "category_id": 1, "iscrowd": 0,
           "segmentation": [[float(value) + number for value in corners]]}
          for number in range(count)]
  checked = [row | {"segmentation": read_segmentation(row["segmentation"], *SIZE)} for row in rows]
  return {"annotations": rows}, checked


TILTED = [20, 10, 50, 25, 40, 45, 10, 30]  # 33.5 x 22.4 pixels, at 27 degrees.


@pytest.mark.parametrize(("corners", "found"), [
    (TILTED, True), ([*TILTED, 20, 10], True), ([20, 11, 50, 25, 40, 45, 10, 30], True),
    ([20, 10, 50, 25, 40, 45, 15, 36], False),  # A corner is far off.
    ([20, 10, 60, 25, 50, 45, 10, 30], False),  # A parallelogram.
    ([10, 10, 60, 15, 50, 45, 20, 40], False),  # A quadrilateral.
    ([30, 10, 50, 20, 50, 40, 30, 50, 10, 40, 10, 20], False)])  # A hexagon.
def test_rotated_boxes_are_reported(corners, found):
  content, checked = _drawn(corners)
  assert describe_rectangles(checked, content, name="x") == (found * (
      "x: 12 of 12 masks are rotated boxes (as of YOLO's OBB format): rectangles rather than "
      "outlines? Masks will be learned as boxes"))


def test_rotated_boxes_and_boxes_count_together():
  content, checked = _drawn(TILTED)
  upright, filled = _drawn([20, 10, 40, 10, 40, 30, 20, 30], 3)
  rows = [row | {"id": row["id"] + 50} for row in upright["annotations"]]
  message = describe_rectangles(
      [*checked, *(row | {"id": row["id"] + 50} for row in filled)],
      {"annotations": content["annotations"] + rows}, name="x")
  assert message.startswith("x: 15 of 15 masks fill their boxes or are rotated boxes (as of")


def test_polygons_in_two_parts_are_no_rotated_boxes():
  content, checked = _drawn(TILTED)
  for row in content["annotations"]:
    row["segmentation"].append([1.0, 1.0, 4.0, 1.0, 4.0, 4.0])
  assert not describe_rectangles(checked, content, name="x")


def test_files_of_boxes_are_reported_where_masks_are_learned(tmp_path):
  to_train, to_score = _read(tmp_path / "gt.json", _with_polygons(2))
  assert [text for text in to_train if "15 of 15 masks fill their boxes" in text]
  assert not [text for text in to_score if "fill their boxes" in text]
