"""Sets that are not prepared again, although their files have changed: an error."""


import cv2
import numpy as np
import pytest

from mnc_jax.data import prepare
from mnc_jax.data.prepared.fingerprint import hash_annotations, hash_labels

MESSAGE = "label images in .*, or which images lie beside them, have changed since .* delete it to"


def _write(path, value=1):
  path.parent.mkdir(parents=True, exist_ok=True)
  labels = np.zeros((40, 40), np.uint8)
  labels[4:20, 4:20] = value
  cv2.imwrite(str(path), labels)


@pytest.fixture(params=["labels", "masks"])
def source(tmp_path, request):
  for name in "abcd":
    _write(tmp_path / "source" / "images" / f"{name}.png", 90)
    _write(tmp_path / "source" / request.param / f"{name}.png")
  return tmp_path / "source"


def _labels(source):
  return next(path for path in source.iterdir() if path.name in ("labels", "masks"))


def test_a_label_image_that_was_corrected_in_place_is_noticed(source, tmp_path):
  for _ in range(2):  # Nothing has changed: nothing is done.
    prepare("label_images", source, tmp_path / "data")
  _write(_labels(source) / "c.png", 2)
  with pytest.raises(ValueError, match=MESSAGE):
    prepare("label_images", source, tmp_path / "data")
  _write(_labels(source) / "c.png")
  prepare("label_images", source, tmp_path / "data")


@pytest.mark.parametrize("change", [
    lambda source: _write(source / "images" / "e.png"),
    lambda source: (source / "images" / "a.png").unlink(),
    lambda source: _write(_labels(source) / "e.png"),
    lambda source: (_labels(source) / "a.png").rename(_labels(source) / "a_mask.png")])
def test_files_that_come_and_go_are_noticed(source, tmp_path, change):
  prepare("label_images", source, tmp_path / "data")
  change(source)
  with pytest.raises(ValueError, match=MESSAGE):
    prepare("label_images", source, tmp_path / "data")


def test_other_pictures_do_not_matter(source):
  before = hash_labels(source)
  _write(source / "out" / "a.png")
  _write(source / "other" / "images" / "a.png")  # No labels beside it.
  (_labels(source) / "notes.md").write_text("x")
  (_labels(source) / "gone.png").symlink_to("nowhere")
  assert hash_labels(source) != before  # Preparing reports it.
  (_labels(source) / "gone.png").unlink()
  assert hash_labels(source) == before


@pytest.mark.parametrize("name", [
    "inst/a.mat", "benchmark_RELEASE/dataset/inst/a.mat", "SegmentationObject/a.png",
    "VOCdevkit/VOC2012/SegmentationClass/a.png", "train/images/a.jpg", "images/val/a.jpg"])
def test_which_files_count(tmp_path, name):
  for folder in ("train/labels", "Labels"):
    (tmp_path / folder).mkdir(parents=True)
  found = [hash_labels(tmp_path)]
  for content in (b"x", b"y"):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(content)
    found.append(hash_labels(tmp_path))
  assert len(set(found)) == (2 if "images" in name else 3)  # Of images only names count.


@pytest.mark.parametrize("name", [
    "balloon/train/via.json", "export/Validation/labels.json", "x/y/labels.json",
    "x/y/test/a.json", "x/y/train/annotations/instances.json", "x/val/a.txt",
    "labels/train/cam/a.txt", "Labels/a/b/c.TXT", "x/labels/train/cam/a.txt",
    "x/y/labels/train/cam/a.txt"])
def test_which_annotation_files_count(tmp_path, name):
  found = [hash_annotations(tmp_path)]
  for text in ("x", "y"):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(text)
    found.append(hash_annotations(tmp_path))
  assert len(set(found)) == 3


@pytest.mark.parametrize(("mark", "name"), [
    ("coco/1.4.0/dataset_info.json", "coco/1.4.0/features.json"),
    ("runs/mine/checkpoints/1", "runs/mine/config.json"), ("run/checkpoints/1", "run/config.json")])
def test_prepared_sets_and_runs_in_the_source_do_not_count(tmp_path, mark, name):
  before = hash_annotations(tmp_path)
  for path in (tmp_path / mark, tmp_path / name):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
  assert hash_annotations(tmp_path) == before


def test_a_set_may_be_prepared_in_the_folder_of_its_source(tmp_path, source):
  for _ in range(2):
    prepare("label_images", source, source)


def test_a_set_of_a_version_without_this_hash_stays(source, tmp_path, monkeypatch):
  monkeypatch.setattr("mnc_jax.data.prepared.builder.hash_labels", lambda source: None)
  prepare("label_images", source, tmp_path / "data")
  monkeypatch.undo()
  _write(_labels(source) / "c.png", 2)
  prepare("label_images", source, tmp_path / "data")
