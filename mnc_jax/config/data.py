"""Which images, at what size, in what order."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """Which images, at what size, in what order."""

  dataset: Literal["shapes", "coco", "sbd", "label_images"] = "coco"
  """Read from `data_dir`, where mnc prepare puts it; `shapes` is drawn when first
  needed. `coco` is read from its files instead if one of the four paths below is given."""
  data_dir: str = "data"
  """Where data sets are prepared (TFDS layout)."""
  train_annotations: str = ""
  """`instances_*.json` of the training images (dataset `coco`)."""
  train_images: str = ""
  """Folder of the training images (dataset `coco`)."""
  eval_annotations: str = ""
  """`instances_*.json` of the evaluation images (dataset `coco`)."""
  eval_images: str = ""
  """Folder of the evaluation images (dataset `coco`)."""
  image_ids: tuple[int, ...] = ()
  """If not empty, train and evaluate on these images only."""
  short_side: int = 600
  """Images are scaled to this short side ..."""
  long_side: int = 1000
  """... unless the long side would exceed this (release)."""
  buckets: tuple[tuple[int, int], ...] = ((600, 1000), (1000, 600))
  """(height, width) that images are padded to; one compilation each."""
  stretch_contrast: bool = False
  """Spread each image's intensities over 0 ... 255, as is usual for microscopes, whose images
  may fill a small part of that range; see `data.transforms.stretch_contrast`."""
  max_instances: int = 100
  """G, ground-truth instances an image is padded to."""
  flip: bool = True
  """Flip half of the training images left to right."""
  scale_jitter: tuple[float, float] = (1.0, 1.0)
  """Training images are scaled by a further factor from this range; what then exceeds its
  bucket is cropped."""
  crop_share: float = 1.0
  """Training images are cropped to a random window of at least this share of each side, which
  keeps an instance; 1 crops nothing."""
  crop_size: tuple[int, int] = (0, 0)
  """Training images are cropped to this (height, width), and padded to it, instead of a bucket;
  (0, 0) leaves them whole. Evaluation sees whole images."""
  color_jitter: float = 0.0
  """Saturation, contrast and brightness change by a factor within 1 -+ this."""
  batch_size: int = 8
  """Images a training step, over all devices (paper, section 4)."""
  eval_batch_size: int = 8
  """Images an evaluation step, over all devices."""
  num_workers: int = 0
  """Processes that load images; 0 loads in the training process."""
