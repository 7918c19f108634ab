"""The record that TFDS writes and reads back, without TensorFlow, and an index beside it.

Images are stored as encoded bytes, masks as COCO RLE text: masks may overlap, and numpy arrays in
an Image feature would import TensorFlow. The index has what must be known of all images at once,
so that opening a set of 100 000 reads one small file.
"""

from collections.abc import Sequence
import functools
import io
import pathlib
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from mnc_jax.coco.faults import Fault, count
from mnc_jax.config.paths import as_path
from mnc_jax.data.images import ImageOptions, decode_image
from mnc_jax.data.listing import Content, Entry
from mnc_jax.data.records import Source

# Of all prepared sets. A change of the records, of how their images are read, or of the images of
# `shapes`, raises it. Since 1.4.0 images are read upright.
VERSION = "1.4.0"


def set_folder(name: str, data_dir: str | pathlib.Path) -> pathlib.Path:
  """Returns where in `data_dir` the prepared set of this name is, or would be."""
  # array_record, which keeps the images, reads from disks and from gs://.
  return as_path(data_dir, name="data.data_dir", clouds=("gs",)) / name / VERSION


def metadata_of(builder: tfds.core.DatasetBuilder) -> dict[str, Any]:
  """Returns the metadata of a prepared set."""
  assert isinstance(builder.info.metadata, dict)
  return builder.info.metadata


def pixels_of(builder: tfds.core.DatasetBuilder) -> ImageOptions:
  """Returns which pixels a prepared set was made of."""
  pixels = metadata_of(builder)["pixels"]
  return ImageOptions(**pixels | {"channels": tuple(pixels["channels"])})


def record_features() -> tfds.features.FeaturesDict:
  """Returns the TFDS features of one image with its n instances."""
  features = tfds.features
  return features.FeaturesDict({
      "image": features.Image(),
      "image_id": np.int64,
      "file_name": features.Text(),
      "size": features.Tensor(shape=(2,), dtype=np.int32),  # (height, width).
      "id": features.Tensor(shape=(None,), dtype=np.int64),
      "category_id": features.Tensor(shape=(None,), dtype=np.int64),
      "iscrowd": features.Tensor(shape=(None,), dtype=np.int64),
      # As bytes, since TFDS writes numbers in single precision, with which areas change.
      "area": features.Tensor(shape=(None,), dtype=np.float64, encoding="bytes"),
      "bbox": features.Tensor(shape=(None, 4), dtype=np.float64, encoding="bytes"),
      "mask": features.Sequence(features.Text()),
  })


def encode_example(entry: Entry, content: Content) -> dict[str, Any]:
  """Returns the example of `entry` and `content` that `record_features` describes."""
  found = content.annotations
  example = {name: np.array([annotation[name] for annotation in found], np.int64)
             for name in ("id", "category_id", "iscrowd")}
  return example | {
      "image": content.image, "image_id": entry.image_id, "file_name": entry.file_name,
      "size": np.array(content.size, np.int32),
      "area": np.array([annotation["area"] for annotation in found], np.float64),
      "bbox": np.array([annotation["bbox"] for annotation in found], np.float64).reshape(-1, 4),
      "mask": [annotation["segmentation"]["counts"] for annotation in found]}


class Summary(NamedTuple):
  """What the index keeps of the content of an image.

  Attributes:
    size: (height, width) in pixels.
    category_ids: of each annotation.
    crowd: number of crowd regions.
    boxes: [n, 2] (height, width) of the boxes of the other annotations.
    box_categories: [n] category ids of these.
  """
  size: tuple[int, int]
  category_ids: list[int]
  crowd: int
  boxes: np.ndarray
  box_categories: list[int]


def summarize_content(content: Content) -> Summary:
  """Returns what the index keeps of `content`."""
  whole = [row for row in content.annotations if not row["iscrowd"]]
  return Summary(content.size, [row["category_id"] for row in content.annotations],
                 len(content.annotations) - len(whole),
                 np.array([row["bbox"][3:1:-1] for row in whole], np.float32).reshape(-1, 2),
                 [row["category_id"] for row in whole])


def write_index(folder: pathlib.Path, split: str, entries: Sequence[Entry],
                contents: Sequence[Summary]) -> None:
  """Writes the index of a split: N entries in the order of the records, and their contents."""
  category_ids = [content.category_ids for content in contents]
  ids, counts = np.unique(np.concatenate([[], *category_ids]).astype(np.int64), return_counts=True)
  np.savez_compressed(
      pathlib.Path(folder) / _index_name(split),
      image_ids=np.array([entry.image_id for entry in entries], np.int64),
      file_names=np.array([entry.file_name for entry in entries], np.str_),
      sizes=np.array([content.size for content in contents], np.int32).reshape(-1, 2),
      instance_counts=np.array([len(found) for found in category_ids], np.int32),
      crowd_counts=np.array([content.crowd for content in contents], np.int32),
      category_ids=ids, category_counts=counts,
      box_images=np.repeat(np.arange(len(contents)), [len(content.boxes) for content in contents]),
      box_sizes=np.concatenate([np.zeros((0, 2), np.float32),
                                *(content.boxes for content in contents)]),
      box_categories=np.concatenate(
          [[], *(content.box_categories for content in contents)]).astype(np.int64))


def read_index(folder: pathlib.Path, split: str) -> dict[str, np.ndarray]:
  """Returns what `write_index` wrote of a `split` in `folder`; counts are of each category.

  Sets prepared by earlier versions lack `box_sizes`, (height, width) in pixels of the file of each
  instance that is no crowd region, `box_images`, their rows of `sizes`, and `box_categories`.
  """
  with np.load(io.BytesIO((folder / _index_name(split)).read_bytes())) as arrays:
    return dict(arrays)


def _index_name(split):
  return f"index-{split}.npz"


def open_split(folder: pathlib.Path, split: str) -> Source:
  """Returns the source of a split in a prepared `folder`. Reads its index, but no records."""
  builder = tfds.builder_from_directory(folder)
  # The signature is hidden by a decorator of TFDS.
  rows = builder.as_data_source(
      split=split,  # pyright: ignore[reportCallIssue]
      decoders={"image": tfds.decode.SkipDecoding()})
  index, metadata = read_index(folder, split), metadata_of(builder)
  categories = metadata["categories"]
  file_names = tuple(index["file_names"].tolist())
  return Source(
      name=f"{builder.name} {split}",
      image_ids=index["image_ids"], sizes=index["sizes"],
      instance_counts=index["instance_counts"], crowd_counts=index["crowd_counts"],
      category_names=tuple(category["name"] for category in categories),
      category_ids=tuple(category["id"] for category in categories),
      file_names=file_names if any(file_names) else (),
      skipped_images=count([Fault(**fault) for fault in metadata["skipped"]], "image"),
      read_image=functools.partial(_read_image, rows, pixels_of(builder)),
      read_annotations=functools.partial(_read_annotations, rows),
      objects=((index["box_images"], index["box_categories"]) if "box_categories" in index
               else None))


def _read_image(rows, options, index):
  row = rows[index]
  return decode_image(row["image"], f"{row['file_name'].decode()} with id {row['image_id']}",
                      options=options)


def _read_annotations(rows, index):
  row = rows[index]
  size, columns = row["size"].tolist(), ("id", "category_id", "bbox", "area", "iscrowd")
  return [
      dict(zip(columns, values, strict=True)) | {
          "image_id": int(row["image_id"]),
          "segmentation": {"size": size, "counts": mask.decode("ascii")}}
      for *values, mask in zip(*(row[name].tolist() for name in columns), row["mask"], strict=True)]
