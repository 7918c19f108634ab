"""File names in the spellings of systems and tools."""

import pytest

from mnc_jax.coco.file_names import find_keys, index_names, name_parts


@pytest.mark.parametrize(("one", "other"), [
    ("images\\a.jpg", "images/a.jpg"),
    ("C:\\Users\\me\\a.jpg", "/users/me/a.jpg"),
    ("..\\..\\upload\\4\\a.jpg", "upload/4/a.jpg"),
    ("./a.jpg", "a.jpg"),
    ("my%20picture.jpg", "my picture.jpg"),
    ("IM_1.JPG", "im_1.jpg"),
    ("blu\u0308te.jpg", "bl\u00fcte.jpg"),
    ("BLU\u0308TE.jpg", "bl\u00fcte.jpg")])
def test_spellings_of_one_name(one, other):
  assert name_parts(one) == name_parts(other)


@pytest.mark.parametrize(("one", "other"), [
    ("a.jpg", "a.png"), ("a/b.jpg", "b/b.jpg"), ("a_1.jpg", "a1.jpg"), ("a%2Fb.jpg", "b.jpg"),
    ("im:1.jpg", "1.jpg")])
def test_names_of_different_files(one, other):
  assert name_parts(one) != name_parts(other)


def test_the_key_with_most_folders_in_common_is_found():
  index = index_names([(7, "train/1.jpg"), (3, "val/1.jpg"), (5, "2.jpg"), (6, "a/3.jpg"),
                       (8, "b/3.jpg")])
  assert find_keys("/home/me/val/1.jpg", index) == [3]
  assert find_keys("/anywhere/2.JPG", index) == [5]
  assert find_keys("3.jpg", index) == [6, 8]  # Either.
  assert find_keys("4.jpg", index) == find_keys("", index) == find_keys("..", index) == []
  # A name that is equal as a whole comes before one that only ends so.
  assert find_keys("1.jpg", index_names([(1, "a/1.jpg"), (2, "1.jpg")])) == [2]


def test_of_names_that_differ_in_spelling_the_same_one_is_found():
  index = index_names([(1, "b/A.jpg"), (2, "b\\a.jpg"), (3, "B/c.jpg"), (4, "b/c.jpg")])
  assert [find_keys(name, index) for name in ("/x/b/A.jpg", "a.jpg", "b/a.jpg")] == [[1], [2], [2]]
  assert [find_keys(name, index) for name in ("B/c.jpg", "b//c.jpg")] == [[3], [4]]
  assert find_keys("b/A.JPG", index) == [1, 2]  # Neither.
