"""Folders of images and label images."""

import functools
import os
import shutil

import cv2
import numpy as np
import PIL.Image
import pytest

from helpers.toy_sets import read_listing
from mnc_jax.coco.rle import decode_masks
from mnc_jax.data import prepare, set_folder, summarize
from mnc_jax.data.prepared.index import open_split
from mnc_jax.data.readers.label_images import list_label_images


@pytest.fixture
def write_labels(tmp_path):
  """Writes images, in the format of their ending, and their label images of two squares."""
  def write(*file_names):
    for folder in ("images", "labels"):
      (tmp_path / folder).mkdir(exist_ok=True)
    labels = np.zeros((8, 10), np.uint16)
    labels[1:3, 2:6], labels[5:7, 1:2] = 300, 7
    for file_name in file_names:
      name = file_name.split(".")[0]
      cv2.imwrite(str(tmp_path / "images" / file_name), np.full((8, 10, 3), 50, np.uint8))
      PIL.Image.fromarray(labels).save(tmp_path / "labels" / f"{name}.png")
    return tmp_path
  return write


def test_each_value_is_an_instance(write_labels):
  folder = write_labels("b.png", "a.tif", "c.jpg")
  (folder / "train.txt").write_text("b\na\n")
  (folder / "val.txt").write_text("c\n")
  found, contents, faults = read_listing(list_label_images, folder)
  assert not faults
  assert found.categories == [{"id": 1, "name": "object"}]
  assert [e.file_name for e in found.splits["train"]] == ["images/b.png", "images/a.tif"]
  content = contents["train"][1]
  masks = decode_masks([a["segmentation"] for a in content.annotations], content.size)
  assert masks[0, 5:7, 1].all() and masks[1, 1:3, 2:6].all()
  assert [a["area"] for a in content.annotations] == [2, 8]
  assert [a["bbox"] for a in content.annotations] == [[1, 5, 1, 2], [2, 1, 4, 2]]
  assert [a["id"] for a in content.annotations] == [3, 4]


def test_without_lists_a_fifth_is_held_out(write_labels):
  found, _, _ = read_listing(list_label_images, write_labels(*(f"{n}.png" for n in range(10, 21))))
  splits = {split: [e.image_id for e in entries] for split, entries in found.splits.items()}
  assert [len(splits["train"]), len(splits["validation"])] == [9, 2]
  assert sorted(splits["train"] + splits["validation"]) == list(range(10, 21))


@pytest.mark.skipif(os.fsencode("\udcff") != b"\xff", reason="names of files are text here")
def test_names_that_are_no_text(write_labels):
  folder = write_labels("a.png", "\u00e4 \u3000.png")
  (folder / "images" / os.fsdecode(b"b\xff.png")).touch()
  found, _, faults = read_listing(list_label_images, folder)
  assert sum(map(len, found.splits.values())) == 2
  fault, = faults
  assert r"image 'b\udcff.png' in" in fault.message
  assert "not UTF-8" in fault.message


def test_images_and_labels_without_the_other(write_labels):
  folder = write_labels("a.png", "a.jpg", "b.png", "c.png")
  (folder / "images" / "notes.txt").write_text("no image")
  (folder / "images" / "b.png").unlink()
  (folder / "labels" / "c.png").unlink()
  faults = []
  found = list_label_images(folder, faults.append)
  texts = [fault.message for fault in faults]
  assert any("images/a.png has the name of a.jpg" in text for text in texts)
  assert any("labels/b.png has no image in" in text for text in texts)
  assert len(texts) == 2
  entry, = (e for entries in found.splits.values() for e in entries if "c.png" in e.file_name)
  with pytest.raises(ValueError, match="there is no label image .*labels/c.png"):
    entry.read(faults.append)


def test_a_list_that_names_a_missing_image(write_labels):
  folder = write_labels("a.png", "b.png")
  (folder / "train.txt").write_text("a")
  (folder / "val.txt").write_text("b")
  (folder / "images" / "b.png").unlink()
  with pytest.raises(ValueError, match="cannot read image .*images/b: No such file"):
    read_listing(list_label_images, folder)


def test_what_lists_do_not_name_is_passed_over(write_labels):
  folder = write_labels("a.png", "b.png", "c.png", "d.png")
  (folder / "train.txt").write_text("a")
  (folder / "val.txt").write_text("b")
  (folder / "images" / "c.png").unlink()
  (folder / "labels" / "d.png").unlink()
  found, _, faults = read_listing(list_label_images, folder)
  assert not faults
  assert [e.file_name for split in found.splits.values() for e in split] == [
      "images/a.png", "images/b.png"]


def test_folders_and_lists_that_are_missing(write_labels, tmp_path):
  with pytest.raises(ValueError, match="has no folder 'images'"):
    list_label_images(tmp_path, None)
  folder = write_labels("a.png", "b.png")
  (folder / "val.txt").write_text("a")
  with pytest.raises(ValueError, match="has no train.txt: both train.txt and val.txt are needed"):
    list_label_images(folder, None)


def test_size_of_image_and_labels(write_labels):
  folder = write_labels("a.png", "b.png")
  for name in ("a", "b"):
    cv2.imwrite(str(folder / "images" / f"{name}.png"), np.zeros((10, 8, 3), np.uint8))
  with pytest.raises(ValueError, match=r"images/[ab].png is 10 x 8 .* 8 x 10 in .*labels/[ab].png"):
    read_listing(list_label_images, folder)


def _squares(shift):
  """Labels 3 and 300 of 6 and 9 pixels, at another place for each shift."""
  labels = np.zeros((8, 10), np.int32)
  labels[1:3, shift:shift + 3], labels[4:7, shift:shift + 3] = 3, 300
  return labels


@pytest.mark.parametrize(("ending", "write"), [
    (".tif", lambda path, labels: PIL.Image.fromarray(labels.astype(np.uint16)).save(path)),
    (".TIFF", lambda path, labels: PIL.Image.fromarray(labels.astype(np.float32)).save(path)),
    (".PNG", lambda path, labels: PIL.Image.fromarray(labels.astype(np.uint16)).save(path)),
    ("_mask.png", lambda path, labels: PIL.Image.fromarray(labels.astype(np.uint16)).save(path)),
    ("_masks.tif", lambda path, labels: PIL.Image.fromarray(labels).save(path)),
    ("_cp_masks.png", lambda path, labels: PIL.Image.fromarray(labels.astype("u2")).save(path)),
    (".npy", lambda path, labels: np.save(path, labels)),
    (".npy", lambda path, labels: np.save(path, np.asfortranarray(labels[None].astype(float))))])
@pytest.mark.parametrize("labels_folder", ["labels", "masks"])
def test_names_and_formats_of_label_files(tmp_path, ending, write, labels_folder):
  for folder in ("images", labels_folder):
    (tmp_path / folder).mkdir()
  # The last is an image, not the label file of the second.
  names = ("a", "b", "b_masks" if ending == "_mask.png" else "b_mask")
  for shift, name in enumerate(names):
    cv2.imwrite(str(tmp_path / "images" / f"{name}.jpg"), np.zeros((8, 10, 3), np.uint8))
    write(tmp_path / labels_folder / f"{name}{ending}", _squares(shift))
  (tmp_path / labels_folder / "._a.png").touch()  # Hidden, as macOS leaves them in archives.
  found, contents, faults = read_listing(list_label_images, tmp_path)
  assert not faults
  boxes = {entry.file_name: [a["bbox"] for a in content.annotations]
           for split, entries in found.splits.items()
           for entry, content in zip(entries, contents[split], strict=True)}
  assert boxes == {f"images/{name}.jpg": [[shift, 1, 3, 2], [shift, 4, 3, 3]]
                   for shift, name in enumerate(names)}
  assert {a["image_id"] for split in contents.values() for c in split for a in c.annotations} == {
      entry.image_id for entries in found.splits.values() for entry in entries}


def test_lists_with_the_suffixes_of_images(write_labels):
  folder = write_labels("a.png", "b.jpg", "c.png")
  cv2.imwrite(str(folder / "images" / "d.png.tif"), np.zeros((8, 10, 3), np.uint8))
  shutil.copy(folder / "labels" / "a.png", folder / "labels" / "d.png.png")
  (folder / "train.txt").write_text("a.png\nb.JPG\nd.png\na\n")
  (folder / "val.txt").write_text("c")
  found, contents, faults = read_listing(list_label_images, folder)
  assert [e.file_name for e in found.splits["train"]] == [
      "images/a.png", "images/b.jpg", "images/d.png.tif"]
  assert [len(content.annotations) for content in contents["train"]] == [2, 2, 2]
  fault, = faults
  assert "line 4: a has the id" in fault.message


def test_two_label_files_of_an_image_and_none(write_labels):
  folder = write_labels("a.png", "b.png")
  np.save(folder / "labels" / "a_mask.npy", np.ones((8, 10)))
  (folder / "labels" / "b.png").rename(folder / "labels" / "b.jpg")
  found = list_label_images(folder, [].append)
  reads = {e.file_name: e.read for entries in found.splits.values() for e in entries}
  with pytest.raises(ValueError, match="'a' has 2 label images in .*: a.png, a_mask.npy: keep one"):
    reads["images/a.png"](None)
  with pytest.raises(ValueError, match="no label image .*b.png .*; b.jpg there cannot be one"):
    reads["images/b.png"](None)


def _write_foreground(folder, *, count):
  """Writes images with masks 0/255 of two squares each."""
  for name in ("images", "labels"):
    (folder / name).mkdir(parents=True)
  for number in range(count):
    mask = ((_squares(number % 5) > 0) * 255).astype(np.uint8)
    cv2.imwrite(str(folder / "images" / f"{number}.png"), np.full((8, 10, 3), number, np.uint8))
    cv2.imwrite(str(folder / "labels" / f"{number}.png"), mask)
  return folder


def test_foreground_masks_are_reported_and_can_be_split(tmp_path):
  folder = _write_foreground(tmp_path, count=5)
  found, contents, _ = read_listing(list_label_images, folder)
  assert [a["area"] for a in contents["train"][0].annotations] == [15]
  message, = found.describe()
  assert "5 of 5 labels in 5 label images are in several parts (2.0 on average)" in message
  assert "--split-components makes an instance of each part" in message
  split = functools.partial(list_label_images, split_components=True)
  found, contents, _ = read_listing(split, folder)
  assert [a["area"] for content in contents["train"] for a in content.annotations] == [6, 9] * 4
  assert found.describe() == []


def test_a_background_that_is_not_0_is_reported(write_labels):
  folder = write_labels("a.png", "b.png", "c.png")
  for name in "abc":
    labels = np.asarray(PIL.Image.open(folder / "labels" / f"{name}.png"))
    PIL.Image.fromarray(labels + np.uint16(1)).save(folder / "labels" / f"{name}.png")
  for split in (False, True):
    found, _, _ = read_listing(
        functools.partial(list_label_images, split_components=split), folder)
    message, = found.describe()
    assert "in 3 of 3 label images no pixel is 0" in message
    assert "value 1 looks like the background" in message


def test_prepared_with_and_without_splitting_are_different_sets(tmp_path):
  folder = _write_foreground(tmp_path / "source", count=5)
  prepare("label_images", folder, tmp_path / "whole")
  whole = summarize(set_folder("label_images", tmp_path / "whole"))
  assert "Warning: labels: 5 of 5 labels" in whole
  prepare("label_images", folder, tmp_path / "parts", split_components=True)
  assert "Warning" not in summarize(set_folder("label_images", tmp_path / "parts"))
  source = open_split(set_folder("label_images", tmp_path / "parts"), "validation")
  assert source.instance_counts.tolist() == [2]
  with pytest.raises(ValueError, match="was prepared with no options, not with --split-components"):
    prepare("label_images", folder, tmp_path / "whole", split_components=True)
  with pytest.raises(ValueError, match="was prepared with --split-components, not with none"):
    prepare("label_images", folder, tmp_path / "parts")
  with pytest.raises(ValueError, match="--split-components is for label_images, not for coco"):
    prepare("coco", folder, tmp_path / "parts", split_components=True)


def test_hundreds_of_instances_in_one_image(write_labels):
  folder = write_labels("a.png", "b.png")
  labels = np.arange(1, 20 * 25 + 1, dtype=np.uint16).reshape(20, 25).repeat(4, 0).repeat(4, 1)
  for name in ("a", "b"):
    cv2.imwrite(str(folder / "images" / f"{name}.png"), np.zeros((80, 100, 3), np.uint8))
    PIL.Image.fromarray(labels).save(folder / "labels" / f"{name}.png")
  _, contents, _ = read_listing(list_label_images, folder)
  found = contents["train"][0].annotations
  assert len(found) == 500
  assert {a["area"] for a in found} == {16.0}
  assert sum(decode_masks([a["segmentation"] for a in found], (80, 100))).min() == 1


def test_one_image_alone_cannot_be_split(write_labels, tmp_path):
  with pytest.raises(ValueError, match="one image alone: two are needed, one of them for valid"):
    prepare("label_images", write_labels("a.png"), tmp_path / "data")


def test_microscope_images(shared_dir):
  folder = shared_dir / "data" / "nuclei"
  found, contents, faults = read_listing(list_label_images, folder)
  assert not faults
  assert [len(contents[split]) for split in ("train", "validation")] == [160, 60]
  counts = [len(content.annotations) for content in contents["train"]]
  most = int(np.argmax(counts))
  entry, content = found.splits["train"][most], contents["train"][most]
  with PIL.Image.open(folder / "labels" / entry.file_name.split("/")[1]) as image:
    labels = np.asarray(image)
  assert counts[most] == len(np.unique(labels)) - 1 > 300
  areas = np.bincount(labels.ravel())[1:]
  assert [a["area"] for a in content.annotations] == areas[areas > 0].tolist()
