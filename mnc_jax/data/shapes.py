"""The data set `shapes`: images drawn in code, prepared once as array_record files."""

import numpy as np
import tensorflow_datasets as tfds

from mnc_jax.data import prepared
from mnc_jax.data.drawing import CATEGORY_NAMES, IMAGE_SIDE, draw_image
from mnc_jax.data.images import encode_png
from mnc_jax.data.source import Source, encode_mask

NUM_TRAIN, NUM_VALIDATION = 8000, 200

# Seeds of `draw_image`, and the first image id: ids differ between the splits.
_SPLITS = {"train": (0, 0, NUM_TRAIN), "validation": (1, 1_000_000, NUM_VALIDATION)}


class Shapes(tfds.core.GeneratorBasedBuilder):
  """Textured shapes on noisy backgrounds: 8000 training and 200 validation images."""

  VERSION = tfds.core.Version("1.0.0")

  def _info(self):
    return tfds.core.DatasetInfo(
        builder=self, description=__doc__, disable_shuffling=True,
        features=prepared.record_features(CATEGORY_NAMES))

  def _split_generators(self, dl_manager):
    del dl_manager  # Nothing is downloaded.
    return {split: self._generate_examples(*numbers) for split, numbers in _SPLITS.items()}

  def _generate_examples(self, split_seed, first_id, count):
    for index in range(count):
      yield index, _draw_example(index, split_seed, first_id + index)


def _draw_example(index, split_seed, image_id):
  drawing = draw_image(index, split_seed)
  return prepared.encode_example(
      image_id, encode_png(drawing.image), (IMAGE_SIDE, IMAGE_SIDE), drawing.labels,
      np.zeros(len(drawing.labels), bool), [encode_mask(mask) for mask in drawing.masks])


def prepare_shapes(data_dir: str) -> Shapes:
  """Draws the set into `data_dir` unless it is there; returns its builder.

  It appears under its final name only when it is complete.
  """
  builder = Shapes(data_dir=data_dir, file_format="array_record")
  builder.download_and_prepare()
  return builder


def load_shapes(data_dir: str, split: str) -> Source:
  """Returns the split `train` or `validation`, drawing the set first if it is absent."""
  return prepared.open_split(prepare_shapes(data_dir), split)
