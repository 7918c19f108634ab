"""Photographs without annotations."""

import numpy as np
import pytest

from mnc_jax.config import DataConfig
from mnc_jax.data.image_files import list_images, make_image_batch


def _touch(folder, *names):
  folder.mkdir(exist_ok=True)
  for name in names:
    (folder / name).touch()
  return folder


def test_paths_keep_their_order_and_folders_are_sorted(tmp_path):
  folder = _touch(tmp_path / "folder", "b.JPG", "a.png", "notes.txt", "c.webp")
  single = _touch(tmp_path / "other", "0.dat") / "0.dat"
  in_folder = [folder / "a.png", folder / "b.JPG", folder / "c.webp"]
  assert list_images([folder, str(single)]) == [*in_folder, single]
  assert list_images([single, folder]) == [single, *in_folder]
  assert list_images([]) == []


def test_missing_path_and_folder_without_image(tmp_path):
  with pytest.raises(FileNotFoundError, match="gone.png: no such image or folder"):
    list_images([tmp_path / "gone.png"])
  with pytest.raises(FileNotFoundError, match="empty: no image in this folder"):
    list_images([_touch(tmp_path / "empty", "notes.txt")])


def test_hidden_files_are_no_images_and_subfolders_are_counted(tmp_path):
  folder = _touch(tmp_path / "folder", "a.gif", "b.jp2", "._c.jpg", ".d.png")
  _touch(folder / "more", "e.png", "f.heic", "notes.txt")
  _touch(folder / ".thumbnails", "a.png")
  with pytest.warns(UserWarning, match=r"folder: 2 images in its subfolders, such as more.e"):
    assert list_images([folder]) == [folder / "a.gif", folder / "b.jp2"]
  with pytest.raises(FileNotFoundError, match="parent: 2 images in its subfolders"):
    list_images([_move_into(folder / "more", tmp_path / "parent")])


def _move_into(folder, parent):
  parent.mkdir()
  folder.rename(parent / folder.name)
  return parent


def test_equal_stems(tmp_path):
  one, two = _touch(tmp_path / "one", "a.png", "b.png"), _touch(tmp_path / "two", "b.jpg")
  with pytest.raises(ValueError, match=r"one.b\.png: another of the images is also called b"):
    list_images([one, two])


def test_images_given_twice_are_listed_once(tmp_path):
  folder = _touch(tmp_path / "one", "a.png", "b.png", "c.png")
  images = list_images([folder / "c.png", folder, folder / "[ab].png"])
  assert [path.name for path in images] == ["c.png", "a.png", "b.png"]


def test_patterns(tmp_path, monkeypatch):
  folder = _touch(tmp_path / "folder", "b1.png", "a1.JPG", "a2.txt", ".a3.png", "[x].png")
  _touch(folder / "deep", "a9.tif")
  monkeypatch.chdir(tmp_path)
  found = [[path.as_posix() for path in list_images([pattern])] for pattern in (
      "folder/*1.*", "fold*/a*", "folder/**/a*", "folder/[ab]?.png", "folder/[x].png")]
  assert found == [["folder/a1.JPG", "folder/b1.png"], ["folder/a1.JPG"],
                   ["folder/a1.JPG", "folder/deep/a9.tif"], ["folder/b1.png"], ["folder/[x].png"]]


def test_patterns_without_an_image(tmp_path):
  folder = _touch(tmp_path / "folder", "a.txt")
  with pytest.raises(FileNotFoundError, match=r"folder/\*.jpg: no file matches this pattern"):
    list_images([folder / "*.jpg"])
  with pytest.raises(FileNotFoundError, match=r"matches .*/a.txt, but no image \(of .avif, "):
    list_images([folder / "*.t?t"])


def test_videos_in_a_folder_are_counted(tmp_path):
  folder = _touch(tmp_path / "folder", "a.png", "b.MP4", "c.mov")
  with pytest.warns(UserWarning, match="folder: 2 videos in it, such as b.MP4, will not be read"):
    assert list_images([folder]) == [folder / "a.png"]
  _touch(folder / "more", "d.png")
  with pytest.warns(UserWarning, match="folder: 1 image in its subfolders.*; .*2 videos in it"):
    assert list_images([folder]) == [folder / "a.png"]
  (folder / "more" / "d.png").unlink()
  (folder / "a.png").unlink()
  with pytest.raises(FileNotFoundError, match="folder: 2 videos in it.*give each by its own name"):
    list_images([folder])


@pytest.mark.parametrize("turned", [False, True])
def test_batch_of_one_image(turned):
  config = DataConfig(short_side=20, long_side=30, buckets=((20, 32), (32, 20)))
  image = np.full((100, 50, 3), [200, 100, 50], np.uint8)
  size, bucket = (30, 15), (32, 20)  # The long side decides: 30 / 100 < 20 / 50.
  if turned:
    image, size, bucket = image.transpose(1, 0, 2), size[::-1], bucket[::-1]
  images, sizes, info = make_image_batch(image, config, image_id=7)
  expected = np.zeros((1, *bucket, 3), np.uint8)
  expected[0, :size[0], :size[1]] = [200, 100, 50]
  np.testing.assert_array_equal(images, expected)
  np.testing.assert_array_equal(sizes, [size])
  np.testing.assert_array_equal(info.image_ids, [7])
  np.testing.assert_array_equal(info.original_sizes, [image.shape[:2]])
  np.testing.assert_allclose(info.scales, [[0.3, 0.3]])
  assert (images.dtype, sizes.dtype, info.scales.dtype) == (np.uint8, np.int32, np.float64)


def test_scales_are_the_exact_ratio_of_the_sides():
  config = DataConfig(short_side=20, long_side=30, buckets=((20, 32),))
  _, sizes, info = make_image_batch(np.zeros((101, 140, 3), np.uint8), config, image_id=7)
  np.testing.assert_array_equal(sizes, [[20, 28]])  # Of 27.72 columns.
  np.testing.assert_allclose(info.scales, [[20 / 101, 28 / 140]])


def test_contrast_is_stretched_as_in_training():
  config = DataConfig(short_side=8, long_side=8, buckets=((8, 8),), stretch_contrast=True)
  image = np.full((8, 8, 3), 10, np.uint8)
  image[4:] = 20
  images, _, _ = make_image_batch(image, config, image_id=7)
  assert (images[0, :4] == 0).all()
  assert (images[0, 4:] == 255).all()


def test_image_that_fits_no_bucket():
  config = DataConfig(short_side=20, long_side=30, buckets=((20, 32),))
  for name, message in (("", "image 7 is 30 x 15"), ("a.png", "^a.png is 30 x 15")):
    with pytest.raises(ValueError, match=message):
      make_image_batch(np.zeros((100, 50, 3), np.uint8), config, image_id=7, name=name)
