"""Image and category ids of an annotation file, for the results of mnc predict."""

import json
import pathlib

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


@pytest.mark.parametrize(("images", "names", "message"), [
    (["a/zebra.jpg", "b/kiwi.jpg"], ("cat",), "own.json lacks 1 of the 2 images: b/kiwi.jpg"),
    (["a/apple.jpg"], ("cat",), "own.json: a/apple.jpg may be any of the images 4, 9"),
    (["a/zebra.jpg", "b/zebra.jpg"], ("cat",), "a/zebra.jpg and b/zebra.jpg are both image 0"),
    (["a/zebra.jpg"], ("cat", "cow"),
     "own.json lacks 1 of the model's 2 categories: cow; it has dog, cat")])
def test_what_the_file_lacks_is_named(own, images, names, message):
  with pytest.raises(ValueError, match=message):
    own(images, names)
