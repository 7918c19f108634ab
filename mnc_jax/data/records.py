"""The source of images with their instances that every reader returns: random access."""

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any, NamedTuple
import zlib

import numpy as np

from mnc_jax.coco.faults import list_first
from mnc_jax.coco.rle import Rle, decode_masks, mask_area, mask_box

Annotation = dict[str, Any]


class BrokenImageError(ValueError):
  """An image that cannot be used: missing, unreadable, or not of the size it should have."""


class Record(NamedTuple):
  """One image with its instances, in pixels of the file.

  Attributes:
    image_id: int.
    image: [h, w, 3] RGB, uint8, or uint16 if the file has more than 8 bits per channel.
    masks: [n, h, w] uint8 0 or 1.
    labels: [n] int32, 1 ... number of categories.
    crowd: [n] bool.
  """
  image_id: int
  image: np.ndarray
  masks: np.ndarray
  labels: np.ndarray
  crowd: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
  """A split of a data set: `len(source)` images, `source[i]` is a `Record`. Picklable.

  Attributes:
    name: what messages call it, for example a file name.
    image_ids: [N] int64.
    sizes: [N, 2] int32 (height, width) of each image, known without decoding.
    instance_counts: [N] int32, crowd regions included.
    crowd_counts: [N] int32, of them crowd regions.
    category_names: the name of label i + 1 is item i.
    category_ids: the data set's own id of label i + 1 is item i.
    read_image: i -> the image of `Record`. Raises `BrokenImageError`.
    read_annotations: i -> COCO annotations with RLE masks, without decoding the image.
    file_names: of the N images in the folder they came from; () if they came from no files.
    skipped_images: images of the whole set, all splits together, that could not be used.
    objects: (images, category ids), [n] each, of all instances that are no crowd regions: known
      without reading the annotations. None: not known.
  """
  name: str
  image_ids: np.ndarray
  sizes: np.ndarray
  instance_counts: np.ndarray
  crowd_counts: np.ndarray
  category_names: tuple[str, ...]
  category_ids: tuple[int, ...]
  read_image: Callable[[int], np.ndarray]
  read_annotations: Callable[[int], list[Annotation]]
  file_names: tuple[str, ...] = ()
  skipped_images: int = 0
  objects: tuple[np.ndarray, np.ndarray] | None = None

  def __len__(self) -> int:
    return len(self.image_ids)

  def __getitem__(self, index: int) -> Record:
    return _read_record(self, index)


def _read_record(source: Source, index: int) -> Record:
  image = source.read_image(index)
  if image.shape[:2] != tuple(source.sizes[index]):
    raise BrokenImageError(
        f"{source.name}: image {source.image_ids[index]} is {image.shape[0]} x {image.shape[1]} "
        f"(height x width), but is annotated as {source.sizes[index][0]} x "
        f"{source.sizes[index][1]}")
  annotations = source.read_annotations(index)
  label_of = {category_id: label for label, category_id in enumerate(source.category_ids, 1)}
  try:
    masks = decode_masks([a["segmentation"] for a in annotations], image.shape[:2])
  except ValueError as error:
    raise BrokenImageError(f"{source.name}: image {source.image_ids[index]}: {error}") from error
  return Record(
      image_id=int(source.image_ids[index]), image=image, masks=masks,
      labels=np.array([label_of[a["category_id"]] for a in annotations], np.int32),
      crowd=np.array([a["iscrowd"] for a in annotations], bool))


def checksum_images(source: Source) -> int:
  """Returns a number of the images' ids, sizes and file names, in their order."""
  # Ids alone are often just running numbers.
  return zlib.crc32(np.asarray(source.image_ids, np.int64).tobytes()
                    + np.asarray(source.sizes, np.int32).tobytes()
                    + "\n".join(source.file_names).encode(errors="surrogateescape"))


def make_ground_truth(source: Source) -> dict[str, Any]:
  """Returns the whole split in COCO format, in pixels of the files, masks as RLE text.

  It is a dict of `images`, `annotations` and `categories` that `json.dump` can write. Images
  have a `file_name` if the source knows it.
  """
  images: list[dict[str, Any]] = [
      {"id": int(image_id), "height": int(height), "width": int(width)}
      for image_id, (height, width) in zip(source.image_ids, source.sizes, strict=True)]
  for image, file_name in zip(images, source.file_names, strict=False):
    image["file_name"] = file_name
  annotations = [a for index in range(len(source)) for a in source.read_annotations(index)]
  categories = [
      {"id": category_id, "name": name}
      for category_id, name in zip(source.category_ids, source.category_names, strict=True)]
  return {"images": images, "annotations": annotations, "categories": categories}


def restrict(source: Source, image_ids: Sequence[int]) -> Source:
  """Returns the source with the images `image_ids` only, in their order.

  Raises:
    ValueError: if an id is not in the source, or is given twice, naming it.
  """
  row_of = {int(image_id): row for row, image_id in enumerate(source.image_ids)}
  unknown = [image_id for image_id in image_ids if image_id not in row_of]
  if unknown:
    raise ValueError(f"{source.name}: no image with id {list_first(unknown)}")
  if len(set(image_ids)) != len(image_ids):
    twice = next(i for i in image_ids if list(image_ids).count(i) > 1)
    raise ValueError(f"{source.name}: image id {twice} is listed twice")
  rows = np.array([row_of[image_id] for image_id in image_ids], np.int64)
  return dataclasses.replace(
      source, image_ids=source.image_ids[rows], sizes=source.sizes[rows],
      instance_counts=source.instance_counts[rows], crowd_counts=source.crowd_counts[rows],
      file_names=tuple(source.file_names[row] for row in rows if source.file_names),
      read_image=functools.partial(_call_row, source.read_image, rows),
      read_annotations=functools.partial(_call_row, source.read_annotations, rows),
      objects=source.objects and _restrict_objects(*source.objects, rows))


def _restrict_objects(images, category_ids, rows):
  slot_of = np.full(max(images.max(initial=-1), rows.max(initial=-1)) + 1, -1)
  slot_of[rows] = np.arange(len(rows))
  kept = slot_of[images] >= 0
  return slot_of[images][kept], category_ids[kept]


def _call_row(read, rows, index):
  return read(int(rows[index]))


def make_annotation(annotation_id: int, image_id: int, category_id: int, rle: Rle,
                    crowd: bool) -> Annotation:
  """Returns a COCO annotation; box `[x, y, width, height]` and area come from the mask."""
  return {
      "id": int(annotation_id), "image_id": int(image_id), "category_id": int(category_id),
      "bbox": mask_box(rle), "area": float(mask_area(rle)),
      "iscrowd": int(crowd), "segmentation": rle}
