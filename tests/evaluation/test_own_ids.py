"""Image and category ids of an annotation file, for the results of mnc predict."""

import json
import pathlib
import warnings

import pytest

from mnc_jax.evaluation.own_ids import read_ids

IMAGES = [{"id": number, "file_name": name, "height": 8, "width": 8}
          for number, name in ((0, "zebra.jpg"), (4, "sub/apple.jpg"), (9, "other/apple.jpg"))]
CATEGORIES = [{"id": 0, "name": "dog"}, {"id": 3, "name": "cat"}]


@pytest.fixture
def own(tmp_path):
  path = tmp_path / "own.json"
  path.write_text(json.dumps({"images": IMAGES, "annotations": [], "categories": CATEGORIES}))
  return lambda images, names: read_ids(path, [pathlib.Path(name) for name in images], names)


def test_ids_are_those_of_the_file(own):
  assert own(["/x/other/apple.jpg", "/x/zebra.jpg"], ("cat", "dog")) == ([9, 0], (3, 0))
  assert own(["/x/zebra.jpg"], ("dog",)) == ([0], (0,))


def _own_ids(tmp_path, images, names):
  """Returns the ids of images in a file with these names, and the warnings."""
  rows = [{"id": number, "file_name": name, "height": 8, "width": 8}
          for number, name in enumerate(names)]
  (tmp_path / "own.json").write_text(json.dumps(
      {"images": rows, "annotations": [], "categories": CATEGORIES}))
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", UserWarning)
    found = read_ids(tmp_path / "own.json", [pathlib.Path(image) for image in images], ("cat",))
  return found.images, [str(warning.message) for warning in caught]


def test_images_in_another_folder_are_reported(tmp_path):
  found, (message,) = _own_ids(
      tmp_path, ["/x/val/a.jpg", "/x/val/b.jpg", "/x/train/c.jpg", "/x/val/d.jpg"],
      ["train/a.jpg", "train/b.jpg", "train/c.jpg", "d.jpg"])
  assert found == [0, 1, 2, 3]
  assert message.startswith(f"{tmp_path}/own.json: 2 of 4 images lie in other folders than the ")
  assert "such as /x/val/a.jpg, which got the id 0 of 'train/a.jpg': if these are" in message


@pytest.mark.parametrize(("image", "name", "count"), [
    ("/x/2020/images/a.jpg", "2019/images/a.jpg", 1),
    ("/x/2020/images/a.jpg", "2020\\Images\\a.jpg", 0), ("/x/val/a.jpg", "./a.jpg", 0),
    ("/x/val/a.jpg", "/home/me/val/a.jpg", 0), ("/x/val/a.jpg", "D:\\set\\val\\a.jpg", 0),
    ("/x/val/a.jpg", "/home/me/train/a.jpg", 1), ("/a.jpg", "x/a.jpg", 1),
    ("/x/a.jpg", "/a.jpg", 0)])
def test_which_folders_differ(tmp_path, image, name, count):
  assert len(_own_ids(tmp_path, [image], [name])[1]) == count


def test_a_relative_path_is_in_the_working_directory(tmp_path, monkeypatch):
  (tmp_path / "val").mkdir()
  monkeypatch.chdir(tmp_path / "val")
  assert _own_ids(tmp_path, ["a.jpg"], ["val/a.jpg"]) == ([0], [])


@pytest.mark.parametrize(("images", "names", "message"), [
    (["a/zebra.jpg", "b/kiwi.jpg"], ("cat",), "own.json lacks 1 of the 2 images: b/kiwi.jpg"),
    (["a/apple.jpg"], ("cat",), "own.json: a/apple.jpg may be any of the images 4, 9"),
    (["a/zebra.jpg", "b/zebra.jpg"], ("cat",), "a/zebra.jpg and b/zebra.jpg are both image 0"),
    (["a/zebra.jpg"], ("cat", "cow"),
     "own.json lacks 1 of the model's 2 categories: cow; it has dog, cat")])
def test_what_the_file_lacks_is_named(own, images, names, message):
  with pytest.raises(ValueError, match=message):
    own(images, names)


def test_images_of_lvis_need_names(tmp_path):
  row = {"id": 7, "height": 8, "width": 8, "coco_url": "http://x.org/val2017/000000000007.jpg"}
  (tmp_path / "lvis.json").write_text(json.dumps(
      {"images": [row], "annotations": [], "categories": CATEGORIES}))
  with pytest.raises(ValueError, match="Its image 7 has no 'file_name': LVIS has 'coco_url' "
                     "instead; give each image a file_name, here 'val2017/000000000007.jpg'"):
    read_ids(tmp_path / "lvis.json", [pathlib.Path("000000000007.jpg")], ("cat",))
