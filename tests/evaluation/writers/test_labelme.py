"""Polygons for labelme, written and read back by the reader that training uses."""

import json
import pathlib

import numpy as np
import PIL.Image
import pytest

from helpers.found_by_hand import SIZE, make_found, make_record, make_target
from mnc_jax.coco.faults import raise_fault
from mnc_jax.coco.rle import decode_mask, encode_mask, measure_iou
from mnc_jax.coco.segmentation import read_segmentation
from mnc_jax.config import DataConfig
from mnc_jax.data import load_source, prepare
from mnc_jax.data.readers.formats.labelme import convert_labelme, is_labelme
from mnc_jax.evaluation.writers.found import FormatError
from mnc_jax.evaluation.writers.labelme import open_writer


def draw_shapes():
  """A disc, a ring, a thing in two parts and a pixel, which overlap."""
  y, x = np.mgrid[:SIZE[0], :SIZE[1]] + 0.5
  disc = np.hypot(x - 30, y - 30) < 20
  ring = (np.hypot(x - 60, y - 30) < 24) & (np.hypot(x - 60, y - 30) > 9)
  parts = (np.hypot(x - 12, y - 12) < 8) | (np.hypot(x - 80, y - 50) < 9)
  pixel = (np.floor(x) == 3) & (np.floor(y) == 57)
  return [shape.astype(np.uint8) for shape in (disc, ring, parts, pixel)]


def write(folder, *found, **fields):
  with open_writer(make_target(folder, **fields)[0]) as write_one:
    for one in found:
      write_one(one)


def make_shapes(**fields):
  records = [make_record((0, 1), (0, 1), category_id=category, score=score)
             | {"segmentation": encode_mask(mask)}
             for mask, category, score in zip(draw_shapes(), (3, 7, 3, 3), (0.99, 0.9, 0.8, 0.6),
                                              strict=True)]
  return make_found(*records, **fields)


def read_json(path):
  return json.loads(path.read_text(encoding="utf-8"))


def test_masks_come_back_with_holes_and_parts(tmp_path):
  write(tmp_path, make_shapes())
  path = tmp_path / "labelme" / "a.json"
  content = read_json(path)
  assert is_labelme(content)
  found = convert_labelme([(path, content)], raise_fault)
  assert found.images == [{"id": 1, "file_name": "a.png", "height": 60, "width": 90}]
  assert [row["category"] for row in found.annotations] == ["cat", "größer", "cat", "cat"]
  masks = [read_segmentation(row["segmentation"], *SIZE) for row in found.annotations]
  ious = measure_iou(masks, [encode_mask(mask) for mask in draw_shapes()], np.zeros(4, np.uint8))
  assert np.diag(ious).min() >= 0.98
  assert np.diag(ious)[3] == 1
  assert not decode_mask(masks[1])[30, 60]


def test_parts_of_an_instance_share_a_group_and_others_have_none(tmp_path):
  write(tmp_path, make_shapes())
  content = read_json(tmp_path / "labelme" / "a.json")
  assert [shape["group_id"] for shape in content["shapes"]] == [None, None, 3, 3, None]
  assert [shape["description"] for shape in content["shapes"]][1:3] == [
      "instance 2, score 0.900", "instance 3, score 0.800"]
  assert {shape["shape_type"] for shape in content["shapes"]} == {"polygon"}
  assert (content["imagePath"], content["imageData"]) == ("a.png", None)
  assert (content["imageHeight"], content["imageWidth"]) == SIZE


def test_the_folder_is_a_data_set(tmp_path):
  images = []
  for name in ("a", "b"):
    images.append(tmp_path / f"{name}.jpg")
    PIL.Image.new("RGB", SIZE[::-1]).save(images[-1])
  write(tmp_path / "out", *(make_shapes(name=path.stem, path=path) for path in images))
  folder = tmp_path / "out" / "labelme"
  assert (folder / "a.jpg").read_bytes() == images[0].read_bytes()
  prepare("coco", str(folder), str(tmp_path / "data"))
  splits = [load_source(DataConfig(dataset="coco", data_dir=str(tmp_path / "data")), split)
            for split in ("train", "eval")]
  for source in splits:
    assert len(source) == 1
    record = source[0]
    assert record.masks.shape == (4, *SIZE)
    assert record.labels.tolist() == [1, 2, 1, 1]
  assert splits[0].category_names == ("cat", "größer")


def test_pixels_stand_for_frames_and_for_files_that_viewers_show_otherwise(tmp_path):
  path = tmp_path / "stack.tif"
  path.write_bytes(b"pages")
  write(tmp_path, make_found(name="frame"), make_found(name="stack", path=path), keep_files=False)
  for name in ("frame", "stack"):
    assert read_json(tmp_path / "labelme" / f"{name}.json")["imagePath"] == f"{name}.png"
    image = PIL.Image.open(tmp_path / "labelme" / f"{name}.png")
    assert (image.size, image.getpixel((0, 0))) == (SIZE[::-1], (40, 40, 40))


def test_an_image_that_is_there_already_stays(tmp_path):
  folder = tmp_path / "labelme"
  folder.mkdir()
  inside = folder / "a.png"
  inside.write_bytes(b"this image")
  write(tmp_path, make_found(path=inside))
  assert inside.read_bytes() == b"this image"
  other = pathlib.Path(tmp_path / "a.png")
  other.write_bytes(b"another one")
  with pytest.raises(FormatError, match="labelme/a.png is another image of that name"):
    write(tmp_path, make_found(path=other))
  assert inside.read_bytes() == b"this image"
