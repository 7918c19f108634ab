"""Image files whose names are spelled otherwise in the annotation file."""

import json
import warnings

import cv2
import numpy as np
import pytest

from helpers.toy_sets import coco_content, read_listing
from mnc_jax.data.readers.coco import list_coco, load_coco
from mnc_jax.data.readers.coco_images import make_finder

NAMES = ("a.png", "b.png", "empty.png")


def _write(folder, spell, *, disk=lambda name: name):
  """Writes a set whose file names are `spell(name)`, and whose files are `images/disk(name)`."""
  content = coco_content()
  for image, name in zip(content["images"], NAMES, strict=True):
    path = folder / "images" / disk(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((image["height"], image["width"], 3), 70, np.uint8))
    image["file_name"] = spell(name)
  (folder / "all.json").write_text(json.dumps(content))
  return folder


@pytest.mark.parametrize(("spell", "disk"), [
    ("images\\{}", "{}"), ("C:\\Users\\me\\images\\{}", "{}"), ("/home/me/images/{}", "{}"),
    ("..\\..\\label-studio\\media\\upload\\4\\{}", "{}"), ("../{}", "{}"),
    ("my%20{}", "my {}"), ("blu\u0308te{}", "bl\u00fcte{}"), ("Sub/IM_{}", "sub/im_{}"),
    ("http://host/data/upload/{}", "{}")])
def test_names_in_another_spelling_are_found_and_counted(tmp_path, spell, disk):
  _write(tmp_path, spell.format, disk=disk.format)
  found, contents, faults = read_listing(list_coco, tmp_path)
  assert sorted(entry.file_name for entries in found.splits.values() for entry in entries) == [
      f"images/{disk.format(name)}" for name in NAMES]
  assert sum(len(c.annotations) for some in contents.values() for c in some) == 3
  assert [fault.item for fault in faults] == ["set"]
  assert f"3 of 3 file names are spelled otherwise in {tmp_path / 'images'}, for example " in (
      faults[0].message)
  assert f"{spell.format('a.png')!r}, which is {disk.format('a.png')!r} there" in faults[0].message
  with pytest.raises(UserWarning, match="3 of 3 file names are spelled otherwise"):
    load_coco(tmp_path / "all.json", tmp_path / "images")


def test_exact_names_are_found_without_a_word(tmp_path):
  _write(tmp_path, "x%20/{}".format, disk="x%20/{}".format)
  with warnings.catch_warnings():
    warnings.simplefilter("error", UserWarning)
    source = load_coco(tmp_path / "all.json", tmp_path / "images")
  assert source.file_names == tuple(f"x%20/{name}" for name in NAMES)
  assert not read_listing(list_coco, tmp_path)[2]


def test_an_exact_name_comes_before_another_spelling(tmp_path):
  for name in ("a.png", "A.png", "b/c.PNG", "c.png", "d.jpg", "D.jpg"):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
  find = make_finder(tmp_path)
  assert [find(name) for name in ("A.png", "a.png", "./c.png")] == ["A.png", "a.png", "./c.png"]
  assert find("B/C.png") == "b/c.PNG" and find("x/b/c.png") == "b/c.PNG"
  assert find("y/c.PNG") == "c.png"
  assert find("d.JPG") is None  # Two files may be meant.
  assert [find(name) for name in ("e.png", "", ".", "..", "/", "a.png/x")] == [None] * 6


def test_a_name_that_leads_out_is_never_followed(tmp_path):
  _write(tmp_path, lambda name: f"../{name}" if name == "b.png" else name)
  (tmp_path / "images" / "b.png").rename(tmp_path / "b.png")
  with pytest.raises(ValueError, match=r"image 9: file_name '../b.png' leaves the folder of images "
                                       r".*images, in which no file has such a name"):
    load_coco(tmp_path / "all.json", tmp_path / "images")
  found, _, faults = read_listing(list_coco, tmp_path)
  assert sorted(e.image_id for entries in found.splits.values() for e in entries) == [2, 4]
  assert [fault.item for fault in faults] == ["image"]


def test_a_file_is_not_given_to_two_images(tmp_path):
  _write(tmp_path, lambda name: name)
  content = json.loads((tmp_path / "all.json").read_text())
  content["images"][1] |= {"file_name": "other/a.png", "height": 12, "width": 16}
  (tmp_path / "all.json").write_text(json.dumps(content))
  faults = read_listing(list_coco, tmp_path)[2]
  assert [fault.message.split(": ", 1)[1] for fault in faults] == [
      f"image 9: file_name 'other/a.png' is not in {tmp_path / 'images'}; 'a.png' there, the "
      "closest name, is image 4"]


def test_a_file_is_not_given_to_two_images_if_one_starts_with_a_dot(tmp_path):
  _write(tmp_path, str)
  content = json.loads((tmp_path / "all.json").read_text())
  content["images"][0]["file_name"], content["images"][1]["file_name"] = "./a.png", "A.png"
  (tmp_path / "all.json").write_text(json.dumps(content))
  with pytest.raises(ValueError, match="file_name 'A.png' is not in .* is image"):
    load_coco(tmp_path / "all.json", tmp_path / "images")


def test_a_wrong_folder_is_named_with_what_was_sought_and_what_is_there(tmp_path):
  _write(tmp_path, "x{}".format)
  with pytest.raises(ValueError, match=(
      r"all.json: none of its first 3 images, such as 'xa.png', is in .*all, .*images/all, "
      r".*images, .*; .*images has a.png, b.png, empty.png$")):
    list_coco(tmp_path, None)


@pytest.mark.parametrize(("change", "reason"), [
    (lambda row: row.pop("height"), "item 0 of 'images' (id 4): no field 'height'"),
    (lambda row: row.update(height=0), "image 4: height 0 and width 16 are not integers"),
    (lambda row: row.update(id=f"im{row['id']}"), "(id 'im4'): id 'im4' is not an integer")])
def test_the_reason_why_no_image_can_be_used(tmp_path, change, reason):
  _write(tmp_path, lambda name: name)
  content = json.loads((tmp_path / "all.json").read_text())
  for row in content["images"]:
    change(row)
  (tmp_path / "all.json").write_text(json.dumps(content))
  with pytest.raises(ValueError, match="all.json: no image of it can be used:\n") as caught:
    list_coco(tmp_path, [].append)
  assert reason in str(caught.value)


def test_too_few_images(tmp_path):
  _write(tmp_path, lambda name: name)
  content = json.loads((tmp_path / "all.json").read_text())
  content["images"], content["annotations"] = content["images"][2:], []
  (tmp_path / "all.json").write_text(json.dumps(content))
  with pytest.raises(ValueError, match="there is one image, images/empty.png: two are needed at"):
    list_coco(tmp_path, [].append)
  (tmp_path / "all.json").write_text(json.dumps(content | {"images": []}))
  with pytest.raises(ValueError, match="all.json: 'images' is empty"):
    list_coco(tmp_path, [].append)
