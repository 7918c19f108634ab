"""The layouts of SBD and of VOC 2012, made in the test and of real photographs."""

import re

import cv2
import numpy as np
import PIL.Image
import pytest
import scipy.io
import scipy.sparse

from helpers.toy_sets import read_listing
from mnc_jax.coco.rle import decode_masks
from mnc_jax.data.listing import stable_id
from mnc_jax.data.readers.sbd import CATEGORY_NAMES, list_sbd

# Two instances, a third without pixels, and void.
LABELS = np.array([[0, 1, 1, 255], [2, 2, 0, 255], [2, 0, 0, 1]], np.uint8)
NAMES = ("2008_000007", "2008_000009", "2009_000001")


def _write_image(folder, name):
  folder.mkdir(exist_ok=True)
  cv2.imwrite(str(folder / f"{name}.jpg"), np.full((*LABELS.shape, 3), 90, np.uint8))


def _write_mat(folder, name, ground_truth):
  folder.mkdir(exist_ok=True)
  scipy.io.savemat(folder / f"{name}.mat", ground_truth)


@pytest.fixture
def sbd_dir(tmp_path):
  for name in NAMES:
    _write_image(tmp_path / "img", name)
    _write_mat(tmp_path / "inst", name, {"GTinst": {
        "Segmentation": LABELS, "Categories": np.array([[15.0], [3.0]])}})
  (tmp_path / "train.txt").write_text("\n".join(NAMES[:2]))
  (tmp_path / "val.txt").write_text(NAMES[2] + "\n")
  return tmp_path


def _save_indices(path, indices):
  path.parent.mkdir(exist_ok=True)
  image = PIL.Image.fromarray(indices)
  image.putpalette(np.random.default_rng(0).permutation(768).astype(np.uint8).tolist())
  image.save(path)


@pytest.fixture
def voc_dir(tmp_path):
  root = tmp_path / "VOCdevkit" / "VOC2012"
  lists = root / "ImageSets" / "Segmentation"
  lists.mkdir(parents=True)
  classes = np.array([0, 15, 3] + [0] * 252 + [255], np.uint8)[LABELS]
  for name in NAMES:
    _write_image(root / "JPEGImages", name)
    _save_indices(root / "SegmentationObject" / f"{name}.png", LABELS)
    _save_indices(root / "SegmentationClass" / f"{name}.png", classes)
  (lists / "train.txt").write_text("\n".join(NAMES[:2]))
  (lists / "val.txt").write_text(NAMES[2] + "\n")
  return tmp_path


@pytest.mark.parametrize(("layout", "images"), [("sbd_dir", "img"), ("voc_dir", "JPEGImages")])
def test_both_layouts_give_the_same(request, layout, images):
  found, contents, faults = read_listing(list_sbd, request.getfixturevalue(layout))
  assert not faults
  assert found.categories[14] == {"id": 15, "name": "person"}
  assert [len(found.splits[split]) for split in ("train", "validation")] == [2, 1]
  entry, content = found.splits["validation"][0], contents["validation"][0]
  assert (entry.image_id, entry.file_name) == (2009000001, f"{images}/2009_000001.jpg")
  assert content.size == (3, 4)
  assert content.image.name == "2009_000001.jpg"
  assert [a["category_id"] for a in content.annotations] == [15, 3]
  assert [a["image_id"] for a in content.annotations] == [2009000001] * 2
  masks = decode_masks([a["segmentation"] for a in content.annotations], content.size)
  np.testing.assert_array_equal(masks, [LABELS == 1, LABELS == 2])
  ids = [a["id"] for content in contents["train"] for a in content.annotations]
  assert ids == [1, 2, 3, 4]


def test_instances_that_cannot_be_used(sbd_dir):
  _write_mat(sbd_dir / "inst", NAMES[2], {"GTinst": {
      "Segmentation": LABELS, "Categories": np.array([15, 21, 7])}})
  _, contents, faults = read_listing(list_sbd, sbd_dir)
  assert [a["category_id"] for a in contents["validation"][0].annotations] == [15]
  assert [fault.item for fault in faults] == ["annotation"] * 2
  assert "2009_000001.mat: instance 2 has the category 21, which is not in 1 ... 20" in (
      faults[0].message)
  assert "2009_000001.mat: instance 3 has no pixels" in faults[1].message


@pytest.mark.parametrize(("ground_truth", "message"), [
    ({"GTcls": {"Segmentation": LABELS}}, "2009_000001.mat has no GTinst$"),
    ({"GTinst": np.zeros((0, 0), [("Segmentation", "O"), ("Categories", "O")])},
     "2009_000001.mat has no GTinst$"),
    ({"GTinst": {"Segmentation": LABELS}}, "2009_000001.mat has no GTinst.Categories"),
    ({"GTinst": LABELS}, "2009_000001.mat has no GTinst.Segmentation"),
    ({"GTinst": {"Segmentation": LABELS, "Categories": np.array([15])}},
     "Segmentation has the instance 2, but GTinst.Categories has 1"),
    ({"GTinst": {"Segmentation": "text", "Categories": np.array([15, 3])}},
     "2009_000001.mat: GTinst.Segmentation is not a full matrix of real numbers, but text"),
    ({"GTinst": {"Segmentation": LABELS.T, "Categories": np.array([15, 3])}},
     r"2009_000001.jpg is 3 x 4 .* annotated as 4 x 3 in .*2009_000001.mat"),
    (None, "cannot read annotation .*2009_000001.mat: No such file"),
    (b"MATLAB 5.0", "2009_000001.mat cannot be read"),
])
def test_annotations_that_cannot_be_used(sbd_dir, ground_truth, message):
  path = sbd_dir / "inst" / f"{NAMES[2]}.mat"
  if isinstance(ground_truth, dict):
    _write_mat(path.parent, NAMES[2], ground_truth)
  elif ground_truth is None:
    path.unlink()
  else:
    path.write_bytes(ground_truth)
  with pytest.raises(ValueError, match=message):
    read_listing(list_sbd, sbd_dir)


def _cell(*values):
  cell = np.empty((len(values), 1), object)
  cell[:, 0] = values
  return cell


def _with(value, dtype=np.float64):
  """LABELS, or two categories, with another first one."""
  labels = LABELS.astype(dtype)
  labels[0, 1] = value
  return labels, np.array([[value], [3]], dtype)


_NO_NUMBERS = "is not a full matrix of real numbers, but"
_NOT_WHOLE = "a whole number, 0 ... 2147483647, is needed"


@pytest.mark.parametrize(("field", "value", "message"), [
    ("Categories", _cell(15.0, 3.0), f"{_NO_NUMBERS} cells"),
    ("Categories", "cat", f"{_NO_NUMBERS} text"),
    ("Categories", _with(15 + 2j, np.complex128)[1], f"{_NO_NUMBERS} complex numbers"),
    ("Categories", scipy.sparse.csc_array([[15.0], [3.0]]), f"{_NO_NUMBERS} a sparse matrix"),
    *(("Categories", _with(value)[1], f"has {value}: {_NOT_WHOLE}")
      for value in (np.inf, -np.inf, np.nan, 15.7, -15.0, 1e300)),
    ("Segmentation", _cell(1.0, 2.0), f"{_NO_NUMBERS} cells"),
    ("Segmentation", _with(1 + 2j, np.complex128)[0], f"{_NO_NUMBERS} complex numbers"),
    ("Segmentation", scipy.sparse.csc_array(LABELS.astype(float)),
     f"{_NO_NUMBERS} a sparse matrix"),
    ("Segmentation", np.zeros((3, 4, 2)), f"{_NO_NUMBERS} float64 of shape (3, 4, 2)"),
    *(("Segmentation", _with(value)[0], f"has {value}: {_NOT_WHOLE}")
      for value in (np.inf, -np.inf, np.nan, 1.7, -1.0, 1e300, 2.0 ** 31)),
    ("Segmentation", _with(-2, np.int16)[0], f"has -2: {_NOT_WHOLE}"),
])
def test_fields_are_whole_numbers(sbd_dir, field, value, message):
  ground_truth = {"Segmentation": LABELS, "Categories": np.array([[15.0], [3.0]])} | {field: value}
  _write_mat(sbd_dir / "inst", NAMES[2], {"GTinst": ground_truth})
  with pytest.raises(ValueError, match=re.escape(f"2009_000001.mat: GTinst.{field} {message}")):
    read_listing(list_sbd, sbd_dir)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64])
def test_whole_numbers_of_any_type_are_read(sbd_dir, dtype):
  ground_truth = {"Segmentation": LABELS.astype(dtype), "Categories": np.array([[15], [3]], dtype)}
  _write_mat(sbd_dir / "inst", NAMES[2], {"GTinst": ground_truth})
  _, contents, faults = read_listing(list_sbd, sbd_dir)
  assert not faults
  found = contents["validation"][0].annotations
  assert [(a["category_id"], a["area"]) for a in found] == [(15, 3), (3, 3)]


def test_an_instance_has_one_class(voc_dir):
  root = voc_dir / "VOCdevkit" / "VOC2012"
  path = root / "SegmentationClass" / f"{NAMES[2]}.png"
  # Instance 1 has two classes; of instance 2, one pixel is void and the others decide.
  _save_indices(path, np.array([[0, 15, 7, 255], [3, 255, 0, 255], [3, 0, 0, 15]], np.uint8))
  _, contents, faults = read_listing(list_sbd, voc_dir)
  assert [a["category_id"] for a in contents["validation"][0].annotations] == [3]
  assert [a["area"] for a in contents["validation"][0].annotations] == [3]
  assert len(faults) == 1
  assert "2009_000001.png: instance 1 has the classes [7, 15]" in faults[0].message


def test_pngs_of_different_size(voc_dir):
  root = voc_dir / "VOCdevkit" / "VOC2012"
  _save_indices(root / "SegmentationClass" / f"{NAMES[2]}.png", LABELS.T)
  with pytest.raises(ValueError, match=r"SegmentationObject/2009_000001.png is 3 x 4 .* 4 x 3"):
    read_listing(list_sbd, voc_dir)


@pytest.mark.parametrize(("name", "lines"), [
    ("class_names.txt", ["_background_", "crack", "rust"]),  # labelme2voc.py.
    ("labelmap.txt", ["# label:color_rgb:parts:actions", "background:0,0,0::",
                      "crack:250,50,83::", "rust:51,221,255::"])])  # CVAT.
def test_sets_of_other_categories_are_rejected(voc_dir, name, lines):
  path = voc_dir / "VOCdevkit" / "VOC2012" / name
  path.write_text("\n".join(lines))
  with pytest.raises(ValueError, match=rf"{path} has the categories crack, rust, .*--dataset coco"):
    list_sbd(voc_dir, None)
  path.write_text("\n".join([lines[-3], *(f"{name}:1,2,3::" if "lab" in path.name else name
                                          for name in CATEGORY_NAMES), ""]))
  assert len(read_listing(list_sbd, voc_dir)[1]["train"]) == 2


def test_neither_layout(tmp_path):
  with pytest.raises(ValueError, match="neither the folders img and inst of SBD nor JPEGImages"):
    list_sbd(tmp_path, None)


def test_photographs(shared_dir):
  folder = shared_dir / "data" / "sbd_mini"
  found, contents, faults = read_listing(list_sbd, folder)
  assert not faults
  assert [len(contents[split]) for split in ("train", "validation")] == [40, 24]
  for entry, content in zip(found.splits["validation"], contents["validation"]):
    name = content.image.stem
    assert entry.image_id == stable_id(name)
    ground_truth = scipy.io.loadmat(folder / "inst" / f"{name}.mat")["GTinst"][0, 0]
    names = [CATEGORY_NAMES[a["category_id"] - 1] for a in content.annotations]
    assert names == [CATEGORY_NAMES[int(c) - 1] for c in ground_truth["Categories"].ravel()]
    masks = decode_masks([a["segmentation"] for a in content.annotations], content.size)
    painted = sum(mask.astype(int) * label for label, mask in enumerate(masks, 1))
    np.testing.assert_array_equal(painted, ground_truth["Segmentation"])
