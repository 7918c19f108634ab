"""Lists of names: ids that last, splits that are the same everywhere, faults by line."""

import hashlib

import cv2
import numpy as np
import PIL.Image
import pytest

from mnc_jax.coco.faults import Fault, check_share, describe, raise_fault
from mnc_jax.data.images import ImageOptions
from mnc_jax.data.listing import ImageNotes, check_image, read_lists, split_names, stable_id
from mnc_jax.data.records import BrokenImageError


def test_ids_follow_from_names():
  assert stable_id("2008_000123") == 2008000123
  assert stable_id("000000000030") == 30
  assert [stable_id(name) for name in ("0", "7", "9" * 15)] == [0, 7, 10 ** 15 - 1]
  # sha256("cell") begins with 39d02b42938b2b75.
  assert stable_id("cell") == 2 ** 52 + 0x39d02b42938b2b75 % 2 ** 52


def test_different_names_have_different_ids():
  tiles = [f"{row}_{column}" for row in range(40) for column in range(40)]
  padded = [f"{number:0{width}}" for number in range(30) for width in (1, 2, 3, 4)]
  cells = [f"cell_{number}" for number in range(2000)]
  # Sixteen digits, digits of other scripts, years and numbers of another length, a line's end.
  odd = ["9" * 16, "\u0661\u0662", "\u00b2", "08_000123", "2008_00123", "7\n", "_7", "7_", "_", ""]
  hashed = [*tiles, *cells, *odd, *(name for name in padded if name != str(int(name)))]
  ids = [stable_id(name) for name in dict.fromkeys(hashed)]
  assert len(set(ids)) == len(ids) == 1600 + 2000 + 10 + 10 * 3 + 20 * 2
  assert min(ids) >= 2 ** 52 and max(ids) < 2 ** 53
  assert [stable_id(str(number)) for number in range(30)] == list(range(30))


def test_split_does_not_depend_on_the_order():
  names = [f"cell_{number}" for number in range(23)]
  splits = split_names(names)
  assert [len(splits["train"]), len(splits["validation"])] == [19, 4]
  in_order = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
  assert set(splits["validation"]) == set(in_order[:4])
  assert sorted(splits["train"] + splits["validation"]) == sorted(names)
  again = split_names(names[::-1])
  assert {split: sorted(found) for split, found in again.items()} == {
      split: sorted(found) for split, found in splits.items()}
  assert split_names(["a", "b"]) in ({"train": ["a"], "validation": ["b"]},
                                     {"train": ["b"], "validation": ["a"]})
  assert split_names(["a"]) == {"train": [], "validation": ["a"]}


@pytest.mark.parametrize("suffix", ["", ".jpg"])
def test_augmented_copies_of_an_image_are_in_one_split(suffix):
  """Roboflow calls them NAME_jpg.rf.HASH.jpg; label images have such names without suffix."""
  names = [f"train/{image}_jpg.rf.{image * 7 + copy:032x}{suffix}"
           for image in range(20) for copy in range(3)]
  splits = {split: [name.split("_jpg")[0] for name in found]
            for split, found in split_names(names).items()}
  assert {split: len(found) for split, found in splits.items()} == {"train": 48, "validation": 12}
  assert not set(splits["train"]) & set(splits["validation"])


def _lists(tmp_path, train, val):
  (tmp_path / "train.txt").write_text(train)
  (tmp_path / "val.txt").write_text(val)
  return tmp_path / "train.txt", tmp_path / "val.txt"


def test_bad_names_are_reported_by_line_and_dropped(tmp_path):
  faults = []
  lists = _lists(tmp_path, "a\n\n b \na\n../c\n", "d\nb\n7\n000000000007")
  names = read_lists(*lists, faults.append)
  assert names == {"train": ["a", "b"], "validation": ["d", "7"]}
  assert {fault.item for fault in faults} == {"image"}
  twice, outside, in_both, same_id = (fault.message for fault in faults)
  assert "train.txt, line 4: a has the id" in twice and "train.txt, line 1" in twice
  assert "train.txt, line 5: '../c' is not the name of a file" in outside
  assert "val.txt, line 2: b has the id" in in_both and "train.txt, line 3" in in_both
  assert "val.txt, line 4: 000000000007 has the id 7 of 7" in same_id


def test_all_tiles_of_a_list_are_kept(tmp_path):
  names = read_lists(*_lists(tmp_path, "1_12\n11_2\n112", "01\n1\n001"), raise_fault)
  assert names == {"train": ["1_12", "11_2", "112"], "validation": ["01", "1", "001"]}


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
  train, val = _lists(tmp_path, "", "b")
  train.write_bytes(b"\xef\xbb\xbfa\r\nc\r\n")
  assert read_lists(train, val, raise_fault) == {"train": ["a", "c"], "validation": ["b"]}


def test_lists_that_name_nothing(tmp_path):
  train, val = _lists(tmp_path, "a\n", " \n")
  with pytest.raises(ValueError, match="val.txt names no image"):
    read_lists(train, val, raise_fault)
  with pytest.raises(ValueError, match="cannot read list .*gone.txt: No such file"):
    read_lists(train, tmp_path / "gone.txt", raise_fault)
  val.write_bytes(b"\xff\xfe\x00")
  with pytest.raises(ValueError, match="val.txt is not text"):
    read_lists(train, val, raise_fault)


def test_images_must_be_whole_and_of_the_right_size(tmp_path):
  path = tmp_path / "a.jpg"
  cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (9, 12, 3), dtype=np.uint8))
  check_image(path, (9, 12), "a.mat")
  with pytest.raises(BrokenImageError, match=r"a.jpg is 9 x 12 .* annotated as 12 x 9 in a.mat"):
    check_image(path, (12, 9), "a.mat")
  path.write_bytes(path.read_bytes()[:-40])
  with pytest.raises(BrokenImageError, match="a.jpg cannot be decoded: image file is truncated"):
    check_image(path, (9, 12), "a.mat")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_that_explains_the_size_is_named(tmp_path, orientation):
  exif = PIL.Image.Exif()
  exif[274] = orientation
  path, stored = tmp_path / "a.jpg", ImageOptions(exif="stored")
  PIL.Image.new("RGB", (12, 9)).save(path, exif=exif)
  swaps = orientation >= 5
  upright = (12, 9) if swaps else (9, 12)
  assert check_image(path, upright, "a.json") == ImageNotes(orientation, 0.0)
  assert check_image(path, (9, 12), "a.json", options=stored).orientation == orientation
  with pytest.raises(BrokenImageError) as error:
    check_image(path, upright[::-1], "a.json")
  assert ("its EXIF orientation" in str(error.value)) == swaps
  assert ("use data.exif stored (--exif stored of mnc prepare)" in str(error.value)) == swaps
  with pytest.raises(BrokenImageError) as error:
    check_image(path, (12, 9), "a.json", options=stored)
  assert ("use data.exif upright" in str(error.value)) == swaps
  with pytest.raises(BrokenImageError, match="annotated as 9 x 13 in a.json$"):
    check_image(path, (9, 13), "a.json")  # The tag does not explain it.


def test_the_range_of_an_image_is_noted(tmp_path):
  ramp = np.linspace(0, 4095, 2000).astype(np.uint16).reshape(40, 50)
  cv2.imwrite(str(tmp_path / "a.png"), ramp)
  share = check_image(tmp_path / "a.png", (40, 50), "a.json").range_share
  np.testing.assert_allclose(share, (0.998 - 0.01) * 4095 / 65535, rtol=1e-3)


def test_one_in_a_hundred_may_be_bad():
  faults = [Fault("image", "image 7 is cut off")]
  check_share(faults, images=99, annotations=0)
  with pytest.raises(ValueError, match=r"1 of 99 images cannot be used, .* 1%:\n  image 7 is"):
    check_share(faults, images=98, annotations=500)
  with pytest.raises(ValueError, match="2 of 101 annotations"):
    check_share([Fault("annotation", "x")] * 2, images=1000, annotations=99)


def test_many_faults_are_counted():
  lines = describe([f"fault {number}" for number in range(25)]).splitlines()
  assert lines[0] == "  fault 0"
  assert lines[19:] == ["  fault 19", "  ... and 5 more"]
