"""YOLO's folders: which files of labels are found, and what is said of the others."""

import json

import pytest

from helpers.toy_sets import read_listing
from helpers.yolo_files import TRIANGLE, write_image, write_labelled, write_text
from mnc_jax.data import prepare
from mnc_jax.data.readers.coco import list_coco

YAML = "names: [cat]\ntrain: {0}/train\nval: {0}/val\n"


def count_instances(folder):
  """Returns the number of instances of the images of each split, and the reported faults."""
  _, contents, faults = read_listing(list_coco, folder)
  return {split: [len(content.annotations) for content in found]
          for split, found in contents.items()}, faults


@pytest.mark.parametrize(("images", "labels", "suffix"), [
    ("images", "labels", ".txt"), ("Images", "Labels", ".txt"), ("images", "LABELS", ".TXT"),
    ("IMAGES", "labels", ".Txt")])
def test_labels_are_found_in_any_case(tmp_path, images, labels, suffix):
  write_text(tmp_path / "data.yaml", YAML.format(images))
  for name in ("train/a", "val/b"):
    write_image(tmp_path / images / f"{name}.png")
    write_text(tmp_path / labels / f"{name}{suffix}", TRIANGLE)
  assert count_instances(tmp_path) == ({"train": [1], "validation": [1]}, [])


@pytest.mark.parametrize("above", ["images", "Images/sets", "labels"])
def test_folders_above_the_source_do_not_count(tmp_path, above):
  folder = tmp_path / above / "set"
  write_text(folder / "data.yaml", "names: [cat]\ntrain: train\nval: val\n")
  for name in ("train/a", "val/b"):
    write_image(folder / f"{name}.png")
    write_text(folder / f"{name}.txt", TRIANGLE)  # Beside the image.
  assert count_instances(folder) == ({"train": [1], "validation": [1]}, [])


def test_labels_of_a_source_that_is_a_link_are_found(tmp_path):
  write_text(tmp_path / "set" / "data.yaml", f"path: {tmp_path}/set\n" + YAML.format("images"))
  for name in ("train/a", "val/b"):
    write_labelled(tmp_path / "set" / "images" / f"{name}.png")
  (tmp_path / "link").symlink_to(tmp_path / "set")
  assert count_instances(tmp_path / "link") == ({"train": [1], "validation": [1]}, [])


def test_labels_of_no_image_are_reported(tmp_path):
  write_text(tmp_path / "data.yaml", YAML.format("images"))
  for name in ("train/a", "train/deep/c", "val/b", "test/d"):  # The last is in no split.
    write_labelled(tmp_path / "images" / f"{name}.png")
  (tmp_path / "images" / "train" / "deep" / "c.png").unlink()
  for name in ("train/A", "val/empty"):
    write_text(tmp_path / "labels" / f"{name}.txt", TRIANGLE if "A" in name else "")
  for name, text in (("classes", "cat\n"), ("val/notes", "drawn by hand, on a wet day\n"),
                     ("val/.b", TRIANGLE)):
    write_text(tmp_path / "labels" / f"{name}.txt", text)
  counts, faults = count_instances(tmp_path)
  assert counts == {"train": [1], "validation": [1]}
  assert [(fault.item, fault.message) for fault in faults] == [
      ("image", f"label file {tmp_path}/labels/{name}.txt has no image in {tmp_path}/images")
      for name in ("train/A", "train/deep/c", "val/empty")]


def test_labels_beside_no_image_are_reported(tmp_path):
  write_text(tmp_path / "data.yaml", "names: [cat]\ntrain: train.txt\nval: val\n")
  for name in ("a", "val/b"):
    write_image(tmp_path / f"{name}.png")
    write_text(tmp_path / f"{name}.txt", TRIANGLE)
  write_text(tmp_path / "train.txt", "a.png\n")
  write_text(tmp_path / "val" / "c.txt", TRIANGLE)
  counts, (fault,) = count_instances(tmp_path)
  assert counts == {"train": [1], "validation": [1]}
  assert fault.message == f"label file {tmp_path}/val/c.txt has no image in {tmp_path}/val"


def test_a_split_without_any_file_of_labels(tmp_path):
  write_text(tmp_path / "data.yaml", YAML.format("images"))
  for name in ("train/a", "val/b", "val/c"):
    write_labelled(tmp_path / "images" / f"{name}.png")
  (tmp_path / "labels" / "val").rename(tmp_path / "labels" / "valid")
  with pytest.raises(ValueError, match=(
      "data.yaml: 'val' has 2 images, but no file of labels: b.txt and the like are looked for in "
      f"{tmp_path}/labels/val. ")):
    list_coco(tmp_path, print)
  write_text(tmp_path / "labels" / "val" / "c.txt", "")  # None has an object.
  (tmp_path / "labels" / "valid" / "b.txt").unlink()
  (tmp_path / "labels" / "valid" / "c.txt").unlink()
  assert count_instances(tmp_path) == ({"train": [1], "validation": [0, 0]}, [])


@pytest.mark.parametrize("file", ["Labels/train/a.TXT", "Labels/train/a.txt"])
def test_changed_labels_in_any_case_are_noticed(tmp_path, file):
  source = tmp_path / "source"
  write_text(source / "data.yaml", YAML.format("Images"))
  write_text(source / "Labels" / "val" / "b.txt", TRIANGLE)
  write_text(source / file, TRIANGLE)
  for name in ("train/a", "val/b"):
    write_image(source / "Images" / f"{name}.png")
  prepare("coco", source, tmp_path / "data")
  write_text(source / file, TRIANGLE * 2)
  with pytest.raises(ValueError, match="have changed since"):
    prepare("coco", source, tmp_path / "data")


def test_of_several_yaml_files_the_one_called_data_is_read(tmp_path):
  write_text(tmp_path / "backup.yaml", "names: [dog, cat]\ntrain: images/train\n")
  write_text(tmp_path / "set.yml", YAML.format("images"))
  for name in ("train/a", "val/b"):
    write_labelled(tmp_path / "images" / f"{name}.png")
  with pytest.raises(ValueError, match=(
      f"{tmp_path} has several files with 'names' and 'train': backup.yaml, set.yml: remove all")):
    list_coco(tmp_path, print)
  (tmp_path / "set.yml").rename(tmp_path / "data.yaml")
  found, _, faults = read_listing(list_coco, tmp_path)
  assert found.categories == [{"id": 0, "name": "cat"}] and not faults
  write_text(tmp_path / "data.yml", YAML.format("images"))
  with pytest.raises(ValueError, match="'train': data.yaml, data.yml: remove all but one"):
    list_coco(tmp_path, print)


def test_other_yaml_files_beside_a_coco_file_are_left_alone(tmp_path):
  for name in ("a", "b"):
    write_text(tmp_path / f"{name}.yaml", "names: [dog]\ntrain: images\n")
    write_image(tmp_path / "images" / f"{name}.png")
  rows = [{"id": index, "file_name": f"{name}.png", "height": 40, "width": 60}
          for index, name in enumerate("ab")]
  write_text(tmp_path / "all.json", json.dumps({
      "images": rows, "annotations": [], "categories": [{"id": 3, "name": "cat"}]}))
  found, _, faults = read_listing(list_coco, tmp_path)
  assert found.categories == [{"id": 3, "name": "cat"}] and not faults


def test_sets_of_keypoints_are_rejected(tmp_path):
  write_text(tmp_path / "data.yaml", YAML.format("images") + "kpt_shape: [3, 2]\n")
  for name in ("train/a", "val/b"):
    write_labelled(tmp_path / "images" / f"{name}.png", lines="0 .5 .5 .4 .4 .4 .4 .6 .4 .5 .6\n")
  with pytest.raises(ValueError, match="data.yaml: 'kpt_shape' is that of keypoints "):
    list_coco(tmp_path, print)


def test_every_name_of_a_split_counts_and_further_splits_are_reported(tmp_path):
  for name in ("train/a", "valid/b", "validation/c", "test/d"):
    write_labelled(tmp_path / "images" / f"{name}.png")
  text = "Names: [cat]\nTrain: images/train\nTEST: images/test\nvalidation: images/validation\n"
  for more, name, left_out in (("", "validation/c", ["test"]),
                               ("Valid: images/valid\n", "valid/b", ["validation", "test"])):
    write_text(tmp_path / "data.yaml", text + more)
    found, _, faults = read_listing(list_coco, tmp_path)
    assert [entry.file_name for entry in found.splits["validation"]] == [f"images/{name}.png"]
    assert [fault.message for fault in faults] == [
        f"{tmp_path}/data.yaml: the images of {key!r} are left out: a set has images to train on "
        "and for validation" for key in left_out]


@pytest.mark.parametrize("inner", ["", "project-1"])
def test_sets_without_a_yaml_are_asked_for_one(tmp_path, inner):  # Label Studio's export.
  folder = tmp_path / inner
  for name in "abcde":
    write_labelled(folder / "images" / f"{name}.png")
  write_text(folder / "classes.txt", "cat\n")
  write_text(folder / "notes.json", json.dumps({"categories": [{"id": 0, "name": "cat"}]}))
  with pytest.raises(ValueError, match=r"labels looks like YOLO's: a data.yaml with `names` and "
                                       r"`train: images` is needed") as caught:
    list_coco(tmp_path, None)
  write_text(folder / "data.yaml", "\n".join(str(caught.value).splitlines()[1:]))
  assert count_instances(tmp_path) == ({"train": [1] * 4, "validation": [1]}, [])


def test_annotations_of_another_format_need_no_yaml(tmp_path):
  write_labelled(tmp_path / "images" / "a.png")
  write_labelled(tmp_path / "images" / "b.png")
  rows = [{"id": number, "file_name": f"{name}.png", "height": 40, "width": 60}
          for number, name in enumerate("ab")]
  write_text(tmp_path / "result.json", json.dumps({
      "images": rows, "annotations": [], "categories": [{"id": 1, "name": "cat"}]}))
  assert count_instances(tmp_path) == ({"train": [0], "validation": [0]}, [])


@pytest.mark.parametrize(("text", "message"), [
    ("names: [cat]\ntrain: a\nVal: b\nval: c\n", r"'Val' \(line 3\) and 'val' \(line 4\) are the "
     "same key: keep one of them"),
    ("names: [cat]\ntrain: a\ntrain: b\nval: c\n", r"'train' \(line 2\) and 'train' \(line 3\)"),
    ("names: {0: cat, 1: dog}\nNames: [fox]\ntrain: a\n", r"'names' \(line 1\) and 'Names'"),
    ("names:\n  0: cat\n  1: dog\n  1: fox\ntrain: a\n",
     r"'names' has the class 1 twice \(lines 3 and 4\)")])
def test_keys_that_are_there_twice_are_rejected(tmp_path, text, message):
  write_text(tmp_path / "data.yaml", text)
  for name in "abc":
    write_labelled(tmp_path / name / "images" / "x.png")
  with pytest.raises(ValueError, match=message):
    count_instances(tmp_path)


def test_keys_that_do_not_matter_may_be_there_twice(tmp_path):
  write_text(tmp_path / "data.yaml", YAML.format("images") + "Author: me\nauthor: me\n1: 2\n")
  for name in ("train/a", "val/b"):
    write_labelled(tmp_path / "images" / f"{name}.png")
  assert count_instances(tmp_path) == ({"train": [1], "validation": [1]}, [])


def test_images_that_share_a_file_of_labels_are_left_out(tmp_path):
  write_text(tmp_path / "data.yaml", "names: [cat]\ntrain: train.txt\nval: val.txt\n")
  for name in ("a.jpg", "a.png", "A.png", "b.png", "c.png", "d.jpg", "d.png"):
    write_image(tmp_path / "images" / name)
  for name in ("a", "b", "c"):
    write_text(tmp_path / "labels" / f"{name}.txt", TRIANGLE)
  # In both splits: one of them got the labels of the other.
  write_text(tmp_path / "train.txt", "images/a.jpg\nimages/A.png\nimages/b.png\nimages/d.jpg\n"
             "images/d.png\n")
  write_text(tmp_path / "val.txt", "images/a.png\nimages/c.png\nimages/b.png\n")
  counts, faults = count_instances(tmp_path)
  assert counts == {"train": [0, 1, 0, 0], "validation": [1, 1]}  # A.png has none, d.txt is absent.
  assert [fault.message for fault in faults] == [
      f"image {tmp_path}/images/{name}: the labels {tmp_path}/labels/a.txt are those of a.jpg, "
      "a.png: keep one of these images, or rename it and give it labels of its own"
      for name in ("a.jpg", "a.png")]


def test_an_image_with_two_files_of_labels_is_left_out(tmp_path):
  write_text(tmp_path / "data.yaml", YAML.format("images"))
  for name in ("train/a", "train/b", "val/c"):
    write_labelled(tmp_path / "images" / f"{name}.png")
  write_text(tmp_path / "labels" / "train" / "a.TXT", TRIANGLE * 2)
  counts, (fault,) = count_instances(tmp_path)
  assert counts == {"train": [1], "validation": [1]}
  assert fault.message == (f"image {tmp_path}/images/train/a.png has 2 files of labels in "
                           f"{tmp_path}/labels/train: a.TXT, a.txt: keep one of them")


def test_a_split_whose_images_all_share_labels_is_an_error(tmp_path):
  write_text(tmp_path / "data.yaml", YAML.format("images"))
  for name in ("train/a.png", "train/a.jpg", "val/c.png"):
    write_image(tmp_path / "images" / name)
  for name in ("train/a", "val/c"):
    write_text(tmp_path / "labels" / f"{name}.txt", TRIANGLE)
  with pytest.raises(ValueError, match="no image of it can be used:\n.*are those of a.jpg, a.png"):
    count_instances(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_yaml_that_is_not_utf_8_is_named(tmp_path, encoding):
  write_labelled(tmp_path / "images" / "a.png")
  text = "names: [sch\u00e4fer]\ntrain: images\n"
  (tmp_path / "data.yaml").write_bytes(text.encode(encoding))
  with pytest.raises(ValueError, match=r"\(data.yaml there is none: not YAML in UTF-8, or without"):
    count_instances(tmp_path)
