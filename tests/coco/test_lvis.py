"""Files of LVIS: what is not offered for them is said, in training and in scoring."""

import json

import pytest

from helpers.toy_sets import coco_content
from mnc_jax.coco.faults import raise_fault
from mnc_jax.data.readers.coco_file import read_coco_file
from mnc_jax.evaluation.metrics.records import read_files

URL = "http://images.cocodataset.org/train2017/000000391895.jpg"


def _write(folder, field, *, value=()):
  """The toy file with a field in its first image."""
  content = coco_content()
  content["images"][0][field] = value
  (folder / "gt.json").write_text(json.dumps(content))
  (folder / "res.json").write_text("[]")
  return folder / "gt.json"


@pytest.mark.parametrize("field", ["neg_category_ids", "not_exhaustive_category_ids"])
def test_images_that_are_annotated_for_some_categories_are_not_scored(tmp_path, field):
  path = _write(tmp_path, field)
  with pytest.raises(ValueError, match="gt.json: its images .*LVIS.* are not offered.*lvis"):
    read_files(path, tmp_path / "res.json", "coco")
  with pytest.warns(UserWarning, match="gt.json: .*learned as background.* scores are not offered"):
    assert len(read_coco_file(path, raise_fault).images) == len(coco_content()["images"])


def test_an_url_is_no_sign_of_it(tmp_path):
  path = _write(tmp_path, "coco_url", value=URL)
  assert len(read_files(path, tmp_path / "res.json", "coco")[0]["images"]) == len(
      coco_content()["images"])


def test_the_file_name_that_lvis_lacks_is_proposed(tmp_path):
  path = _write(tmp_path, "coco_url", value=URL)
  content = json.loads(path.read_text())
  del content["images"][0]["file_name"]
  path.write_text(json.dumps(content))
  with pytest.raises(ValueError, match="no field 'file_name': LVIS has 'coco_url' .*'train2017/0000"
                     "00391895.jpg'"):
    read_coco_file(path, raise_fault)
