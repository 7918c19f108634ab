"""Host functions on inputs of hypothesis: they round-trip, or are rejected."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
import numpy as np
from pycocotools import mask as mask_api
import pytest

from helpers.tiny import override
from mnc_jax.coco.rle import decode_masks, encode_mask
from mnc_jax.coco.segmentation import read_segmentation
from mnc_jax.config import Config
from mnc_jax.config.serialization import from_json, to_json
from mnc_jax.data.images import decode_image, encode_png
from mnc_jax.data.readers.label_maps import encode_labels
from mnc_jax.data.records import Record, make_annotation
from mnc_jax.data.transforms import flip_example, resize_record, tight_boxes

SIDES = st.integers(1, 24)
SIZES = st.tuples(SIDES, SIDES)
MASKS = SIZES.flatmap(lambda size: arrays.arrays(np.uint8, size, elements=st.integers(0, 1)))
_QUICK = settings(max_examples=60, deadline=None, derandomize=True)


@_QUICK
@given(SIZES.flatmap(lambda size: arrays.arrays(np.uint8, (*size, 3))))
def test_png_gives_the_pixels_back(image):
  np.testing.assert_array_equal(decode_image(encode_png(image), "x"), image)


@_QUICK
@given(st.binary(max_size=200))
def test_bytes_are_an_image_or_refused(content):
  with pytest.raises(ValueError, match="image x"):
    decode_image(content, "x")


@_QUICK
@given(MASKS)
def test_a_mask_survives_run_lengths(mask):
  rle = encode_mask(mask)
  np.testing.assert_array_equal(decode_masks([read_segmentation(rle, *mask.shape)], mask.shape)[0],
                                mask)


@_QUICK
@given(SIZES, st.lists(st.integers(0, 40), min_size=1, max_size=30))
def test_run_lengths_with_empty_runs_are_the_mask_that_they_spell(size, lengths):
  total = size[0] * size[1]
  ends = np.minimum(np.cumsum(lengths), total)
  counts = [*np.diff(np.append(0, ends)).tolist(), total - int(ends[-1])]
  expected = np.repeat(np.arange(len(counts)) % 2, counts).reshape(size, order="F")
  rle = read_segmentation({"size": list(size), "counts": counts}, *size)
  np.testing.assert_array_equal(decode_masks([rle], size)[0], expected)
  if expected.any():
    rows, columns = np.nonzero(expected)
    assert mask_api.toBbox(rle).tolist() == [
        columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
    assert mask_api.iou([rle], [rle], [0]) == 1
    assert mask_api.area(mask_api.merge([rle, rle])) == expected.sum()


@_QUICK
@given(SIZES, st.lists(st.lists(st.floats(-50, 80), min_size=6, max_size=20), max_size=3))
def test_polygons_stay_inside_their_image(size, polygons):
  polygons = [polygon[:len(polygon) // 2 * 2] for polygon in polygons]
  mask = decode_masks([read_segmentation(polygons, *size)], size)[0]
  assert mask.shape == size
  assert mask.max() <= 1


@_QUICK
@given(SIZES.flatmap(lambda size: arrays.arrays(np.int32, size, elements=st.integers(0, 5))))
def test_labels_become_their_masks(labels):
  rles = encode_labels(labels)
  assert set(rles) == set(np.unique(labels)) - {0}
  for label, rle in rles.items():
    np.testing.assert_array_equal(mask_api.decode(rle), labels == label)
    rows, columns = np.nonzero(labels == label)
    assert make_annotation(1, 1, 1, rle, crowd=False)["bbox"] == [
        columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]


@_QUICK
@given(MASKS.filter(np.any), SIZES)
def test_boxes_fit_the_resized_image_and_come_back_when_mirrored_twice(mask, size):
  image = np.zeros((*mask.shape, 3), np.uint8)
  record = Record(1, image, mask[None], np.array([1], np.int32), np.array([False]))
  example = resize_record(record, size)
  assert (example.boxes[:, :2] >= 0).all() and (example.boxes[:, 2:] > example.boxes[:, :2]).all()
  assert (example.boxes[0, 2:] <= np.float32(size[::-1])).all()
  twice = flip_example(flip_example(example))
  np.testing.assert_allclose(twice.boxes, example.boxes, atol=1e-5)
  x1, y1, x2, y2 = tight_boxes(mask[None])[0]
  assert mask[y1:y2, x1:x2].sum() == mask.sum()


@_QUICK
@given(st.integers(1, 2**31), st.floats(0, 1e9), st.booleans(), st.text(max_size=20),
       st.lists(st.integers(-2**60, 2**60), max_size=4))
def test_a_config_survives_json(steps, rate, flag, text, ids):
  config = override(Config(), train={"num_steps": steps, "learning_rate": rate},
                    model={"normalize": flag}, data={"data_dir": text, "image_ids": tuple(ids)})
  assert from_json(to_json(config)) == config


_JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                     lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
                     max_leaves=8)


@_QUICK
@given(st.sampled_from(["num_steps", "learning_rate", "decay_steps", "optimizer"]), _JSON)
def test_a_field_of_a_config_is_of_its_type_or_refused(field, value):
  try:
    found = getattr(from_json(json.dumps({"train": {field: value}})).train, field)
  except ValueError as error:
    assert f"train.{field}" in str(error)  # noqa: PT017
  else:
    assert isinstance(found, {"num_steps": int, "learning_rate": int | float, "decay_steps": tuple,
                              "optimizer": str}[field])
    assert np.isfinite(found if field != "optimizer" else 0).all()


@_QUICK
@given(_JSON)
def test_a_segmentation_is_a_mask_of_the_image_or_refused(segmentation):
  try:
    rle = read_segmentation(segmentation, 7, 9)
  except ValueError as error:
    assert "segmentation" in str(error)  # noqa: PT017
  else:
    assert mask_api.decode(rle).shape == (7, 9)
