"""Photographs without annotations: from paths to what `predict` takes."""

import collections
from collections.abc import Iterable
import glob
import pathlib
import warnings

import numpy as np

from mnc_jax.coco.faults import count_noun
from mnc_jax.config import DataConfig
from mnc_jax.data import contrast, scaling, transforms
from mnc_jax.structs import ImageInfo

IMAGE_SUFFIXES = (".avif", ".bmp", ".btf", ".gif", ".heic", ".heif", ".j2k", ".jp2", ".jpeg",
                  ".jpg", ".png", ".tif", ".tiff", ".webp")
VIDEO_SUFFIXES = (".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg",
                  ".mts", ".ogv", ".webm", ".wmv")


def list_images(paths: Iterable[str | pathlib.Path]) -> list[pathlib.Path]:
  """Returns the given files, and the images in the given folders or of the patterns, sorted.

  One that is given several times is there once.

  Args:
    paths: of images and folders, or patterns of images: `*`, `?`, `[ab]`, and `**` for any folders.

  Images in the subfolders of a folder are not read, and a warning counts them. Hidden files are no
  images.

  Raises:
    FileNotFoundError: if a path does not exist, or a folder or pattern has no image.
    ValueError: if two images have the same stem, since each names a picture.
  """
  found = (image for path in paths for image in _list_path(pathlib.Path(path)))
  images = list({image.absolute(): image for image in found}.values())
  counts = collections.Counter(path.stem for path in images)
  twice = next((path for path in images if counts[path.stem] > 1), None)
  if twice is not None:
    raise ValueError(f"{twice}: another of the images is also called {twice.stem}: "
                     "predict them into different folders")
  return images


def _list_path(path):
  if path.is_file():
    return [path]
  if not path.is_dir():
    return _match_pattern(path)
  images = find_images(path)
  others = "; ".join(filter(None, [describe_deeper(path), describe_videos(path)]))
  if not images:
    raise FileNotFoundError(others or f"{path}: no image in this folder (of "
                            f"{', '.join(IMAGE_SUFFIXES)})")
  if others:
    warnings.warn(others, stacklevel=4)
  return images


def _match_pattern(path):
  """Returns the images that a path matches as a pattern, sorted."""
  if not glob.has_magic(str(path)):
    raise FileNotFoundError(f"{path}: no such image or folder")
  matches = [pathlib.Path(match) for match in glob.glob(str(path), recursive=True)]
  images = sorted(match for match in matches if is_image(match))
  if not images and matches:
    raise FileNotFoundError(f"{path}: matches {matches[0]}, but no image (of "
                            f"{', '.join(IMAGE_SUFFIXES)})")
  if not images:
    raise FileNotFoundError(f"{path}: no file matches this pattern")
  return images


def is_image(path: pathlib.Path) -> bool:
  """Returns whether a path is a file that is called like an image."""
  return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()


def find_images(folder: pathlib.Path, *, pattern: str = "*") -> list[pathlib.Path]:
  """Returns the image files that match a glob in a folder, sorted; hidden ones are none."""
  return sorted(path for path in folder.glob(pattern) if is_image(path) and not any(
      part.startswith(".") for part in path.relative_to(folder).parts))


def describe_deeper(folder: pathlib.Path) -> str | None:
  """Returns a sentence that counts the images in subfolders of a folder; None without any."""
  deeper = find_images(folder, pattern="*/**/*")
  if not deeper:
    return None
  return (f"{folder}: {count_noun(len(deeper), 'image')} in its subfolders, such as "
          f"{deeper[0].relative_to(folder)}, will not be read: give the subfolder itself")


def describe_videos(folder: pathlib.Path) -> str | None:
  """Returns a sentence that counts the videos in a folder; None without any."""
  videos = sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)
  if not videos:
    return None
  return (f"{folder}: {count_noun(len(videos), 'video')} in it, such as {videos[0].name}, will not "
          "be read: give each by its own name")


def make_image_batch(image: np.ndarray, config: DataConfig, *, image_id: int,
                     name: str = "") -> tuple[np.ndarray, np.ndarray, ImageInfo]:
  """Adapts one image as `config` says, scales it and pads it to its bucket.

  Args:
    image: [h, w, 3] RGB, uint8 or uint16.
    config: sizes and buckets.
    image_id: at least 0; it returns in `ImageInfo`.
    name: of the image in messages; by default its id.

  Returns:
    `(images [1, H, W, 3] uint8, image_sizes [1, 2] int32, ImageInfo)`.

  Raises:
    BrokenImageError: if the scaled image fits into no bucket.
  """
  original = np.array([image.shape[:2]], np.int32)
  sizes = scaling.scaled_sizes(original, config.short_side, config.long_side)
  buckets = config.padded_sizes
  padded = buckets[scaling.choose_buckets(
      sizes, buckets, np.array([image_id]), name=name)[0]]
  scaled = transforms.resize_image(
      contrast.adapt_image(image, config), (int(sizes[0, 0]), int(sizes[0, 1])))
  info = ImageInfo(
      image_ids=np.array([image_id], np.int64), original_sizes=original,
      scales=sizes / original, dropped=np.zeros(1, np.int32))
  return transforms.pad_image(scaled, padded)[None], sizes.astype(np.int32), info
