"""What label images look like that are not instance labels, told by connected components."""

import collections
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from mnc_jax.coco.faults import list_first
from mnc_jax.coco.rle import mask_window
from mnc_jax.data.readers.label_maps import encode_labels

# Most instances are connected, unless something is in front of them: all but .01 % of the nuclei
# of BBBC038, and all but 9 % of the instances of COCO.
_LARGEST_SHARE = 0.3
_OUTLINED_SHARE = 0.5
# Instances are numbered 1, 2, ... in each image, classes are not: where the numbers of most images
# have gaps, fewer labels in parts are a sign.
_GAPPED_SHARE, _LARGEST_GAPPED_SHARE = 0.5, 0.1
# Labels of one image that are examined, evenly over its values.
_MOST_LABELS = 400
# Values of a class map; more are instances, or damage.
_MOST_CLASSES = 40
# VOC draws outlines of five pixels: nothing is left of them after an erosion of this width.
_OUTLINE, _OUTLINE_WIDTH = 255, 7
# Of the images, in which no pixel is 0 and a value surrounds the others.
_SURROUNDED_SHARE = 0.5


class LabelCounts(NamedTuple):
  """One label image in numbers.

  Attributes:
    parts: {value: number of its connected parts}, of at most 400 values.
    outline: whether 255 stands for thin lines around other labels, as in VOC.
    surrounding: the value of a connected part with most of the border of an image without 0.
  """
  parts: dict[int, int]
  outline: bool
  surrounding: int | None = None


def count_parts(labels: np.ndarray) -> LabelCounts:
  """Returns the connected parts (8 neighbours) of each label but 0 of an [h, w] label image."""
  boxes = _find_boxes(labels)
  chosen = list(boxes)[::max(1, -(-len(boxes) // _MOST_LABELS))]
  parts = {value: _number_parts(labels[boxes[value]] == value)[0] for value in chosen}
  return LabelCounts(parts, len(boxes) > 1 and _is_outline(labels == _OUTLINE),
                     _find_surrounding(labels))


def split_components(labels: np.ndarray) -> np.ndarray:
  """Returns [h, w] int32 labels in which each connected part of a label has its own value.

  Values count from 1, by label and then by row; 8 neighbours connect.
  """
  result, total = np.zeros(labels.shape, np.int32), 0
  for value, box in _find_boxes(labels).items():
    count, parts = _number_parts(labels[box] == value)
    result[box] += np.where(parts > 0, parts + total, 0)
    total += count
  return result


def _find_boxes(labels):
  """Returns {value: (rows, columns)} of the bounds of each label but 0, as slices."""
  return {value: mask_window(mask) for value, mask in encode_labels(labels).items()}


def _number_parts(mask):
  """Returns how many parts a mask has, and an image of their numbers from 1."""
  count, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
  return count - 1, parts


def _is_outline(mask):
  kernel = np.ones((_OUTLINE_WIDTH, _OUTLINE_WIDTH), np.uint8)
  return bool(mask.any()) and not cv2.erode(
      mask.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=1).any()


def _find_surrounding(labels):
  """Returns the value of a part with more than half of the border, if no pixel is 0, or None."""
  if not labels.all():
    return None
  border = np.ones(labels.shape, bool)
  border[1:-1, 1:-1] = False
  values, counts = np.unique(labels[border], return_counts=True)
  value = values[counts.argmax()]
  _, parts = _number_parts(labels == value)
  most = np.bincount(parts[border])[1:].max()
  return int(value) if most > border.sum() / 2 else None


def describe_surrounding(images: Sequence[LabelCounts]) -> str | None:
  """Returns which values look like the background of a set whose background should be 0, or None.

  Where objects cover whole images no pixel is 0 either, but several share the border.
  """
  values = collections.Counter(
      image.surrounding for image in images if image.surrounding is not None)
  if not values or values.total() < _SURROUNDED_SHARE * len(images):
    return None
  plural, names = "s" * (len(values) > 1), list_first(value for value, _ in values.most_common())
  return (f"labels: in {values.total()} of {len(images)} label images no pixel is 0, and one value "
          f"covers most of the border: value{plural} {names} look{'' if plural else 's'} like the "
          "background, and is read as an instance. 0 is background: set the background to 0")


def describe_labels(images: Sequence[LabelCounts]) -> str | None:
  """Returns what the label images of a set look like, with counts and what to do.

  Returns:
    None if they look like instance labels.
  """
  found = [image for image in images if image.parts]
  outlined = sum(image.outline for image in found)
  if found and outlined > _OUTLINED_SHARE * len(found):
    return (f"labels: in {outlined} of {len(found)} label images the value {_OUTLINE} is thin "
            "lines around other labels, as VOC marks outlines, and is read as an instance: set it "
            "to 0")
  labels = list(_pairs(found))
  broken = sum(parts > 1 for _, parts in labels)
  gapped = sum(map(_has_gaps, found)) > _GAPPED_SHARE * len(found)
  if broken <= (_LARGEST_GAPPED_SHARE if gapped else _LARGEST_SHARE) * len(labels):
    return None
  return _name_cause(found, labels, broken)


def _has_gaps(image):
  """Returns whether the values are few and not 1, 2, ... without gaps."""
  return len(image.parts) <= _MOST_CLASSES and max(image.parts) > len(image.parts)


def _pairs(images) -> Iterator[tuple[int, int]]:
  return (pair for image in images for pair in image.parts.items())


def _name_cause(images, labels, broken):
  values = sorted({value for value, _ in labels})
  counts = (f"labels: {broken} of {len(labels)} labels in {len(images)} label images are in "
            f"several parts ({np.mean([parts for _, parts in labels]):.1f} on average)")
  if len(values) == 1:
    return (f"{counts}, and {values[0]} is the only value: these look like foreground masks, read "
            "as one instance an image. --split-components makes an instance of each part")
  if len(values) <= _MOST_CLASSES:
    return (f"{counts}, and the only values are {', '.join(map(str, values))}: these look like "
            "maps of classes, read as one instance of each class. Instance labels are needed; "
            "--split-components makes an instance of each part, all of one category")
  return (f"{counts}: these look like labels that were resized with interpolation, or saved with "
          "losses (JPEG). Make them again from the originals, resized by nearest neighbour")
