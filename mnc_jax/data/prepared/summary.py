"""The content of a prepared set, as text."""

import pathlib

import numpy as np
import tensorflow_datasets as tfds

from mnc_jax.coco.faults import Fault, count, count_noun, describe
from mnc_jax.data.crowd import describe_crowd
from mnc_jax.data.prepared.index import metadata_of, read_index


def summarize(folder: pathlib.Path) -> str:
  """Returns two tables of the set prepared in `folder`, what was skipped, and warnings.

  Instances include crowd regions. A median is the mean of two where there is no middle.
  """
  builder = tfds.builder_from_directory(folder)
  indices = {split: read_index(folder, split) for split in builder.info.splits}
  metadata = metadata_of(builder)
  faults = [Fault(**fault) for fault in metadata["skipped"]]
  crowd = [describe_crowd(f"the split {split}", index["crowd_counts"].sum(),
                          index["instance_counts"].sum()) for split, index in indices.items()]
  odd = [fault.message for fault in faults if fault.item == "set"] + list(filter(None, crowd))
  return "\n".join([*_format_splits(indices), "",
                    *_format_categories(indices, metadata["categories"]), "",
                    _format_skipped([fault for fault in faults if fault.item != "set"]),
                    *(f"Warning: {message}" for message in odd)])


def _format_splits(indices):
  head = f"{'':12}{'images':>10}{'instances':>11}{'crowd':>9}   per image: min   median     max"
  return [head, *(_format_split(split, index["instance_counts"], index["crowd_counts"].sum())
                  for split, index in indices.items())]


def _format_split(split, counts, crowd):
  return (f"{split:12}{len(counts):10}{counts.sum():11}{crowd:9}{counts.min():17}"
          f"{np.median(counts):9.1f}{counts.max():8}")


def _format_categories(indices, categories):
  counts = {split: dict(zip(index["category_ids"].tolist(), index["category_counts"].tolist(),
                            strict=True))
            for split, index in indices.items()}
  width = max([len("instances of"), *(len(str(row["name"])) for row in categories)]) + 2
  head = f"{'instances of':{width}}{'id':>6}" + "".join(f"{split:>12}" for split in counts)
  return [head, *(
      f"{row['name']:{width}}{row['id']:6}"
      + "".join(f"{found.get(row['id'], 0):12}" for found in counts.values())
      for row in categories)]


def _format_skipped(faults):
  if not faults:
    return "Skipped: nothing."
  counts = " and ".join(
      count_noun(count(faults, item), item) for item in ("image", "annotation"))
  return f"Skipped: {counts}.\n{describe([fault.message for fault in faults])}"
