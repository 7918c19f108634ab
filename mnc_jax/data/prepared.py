"""The record that TFDS builders write and read back, without TensorFlow.

Images are kept as encoded bytes, masks as COCO RLE text: overlapping masks and crowd
regions fit, and numpy arrays in an Image feature would import TensorFlow.
"""

import functools

import numpy as np
import tensorflow_datasets as tfds

from mnc_jax.data.images import decode_image
from mnc_jax.data.source import Source, make_annotation


def record_features(category_names):
  """Returns the TFDS features of one image with its instances."""
  return tfds.features.FeaturesDict({
      "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
      "image_id": np.int64,
      "size": tfds.features.Tensor(shape=(2,), dtype=np.int32),
      "objects": tfds.features.Sequence({
          "label": tfds.features.ClassLabel(names=list(category_names)),
          "crowd": np.bool_,
          "mask": tfds.features.Text(),
      }),
  })


def encode_example(image_id, encoded_image: bytes, size, labels, crowd, rles):
  """Returns the example that `record_features` describes.

  Args:
    image_id: int.
    encoded_image: PNG bytes.
    size: (height, width).
    labels: [n] 1 ... number of categories (TFDS counts from 0).
    crowd: [n] bool.
    rles: n COCO RLEs with text counts.
  """
  objects = [
      {"label": int(label) - 1, "crowd": bool(is_crowd), "mask": rle["counts"]}
      for label, is_crowd, rle in zip(labels, crowd, rles, strict=True)]
  return {"image": encoded_image, "image_id": int(image_id),
          "size": np.array(size, np.int32), "objects": objects}


def open_split(builder, split: str) -> Source:
  """Returns the source of a split that `builder` has prepared.

  Reads every record once, without decoding its image, for the sizes and counts.
  """
  rows = builder.as_data_source(split=split, decoders={"image": tfds.decode.SkipDecoding()})
  heads = [_read_head(rows[index]) for index in range(len(rows))]
  ids, sizes, counts = zip(*heads, strict=True) if heads else ((), (), ())
  names = tuple(builder.info.features["objects"]["label"].names)
  # Annotation ids are unique over the split, as COCO's tools need them.
  first_ids = 1 + np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
  return Source(
      name=f"{builder.name} {split}",
      image_ids=np.array(ids, np.int64), sizes=np.array(sizes, np.int32).reshape(-1, 2),
      instance_counts=np.array(counts, np.int32),
      category_names=names, category_ids=tuple(range(1, len(names) + 1)),
      read_image=functools.partial(_read_image, rows),
      read_annotations=functools.partial(_read_annotations, rows, first_ids))


def _read_head(row):
  return int(row["image_id"]), row["size"], len(row["objects"]["mask"])


def _read_image(rows, index):
  row = rows[index]
  return decode_image(row["image"], f"with id {row['image_id']}")


def _read_annotations(rows, first_ids, index):
  row = rows[index]
  size, objects = [int(side) for side in row["size"]], row["objects"]
  return [
      make_annotation(first_ids[index] + place, row["image_id"], label + 1,
                      {"size": size, "counts": mask.decode("ascii")}, crowd)
      for place, (label, crowd, mask) in enumerate(
          zip(objects["label"], objects["crowd"], objects["mask"], strict=True))]
