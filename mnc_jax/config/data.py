"""The images, and how they become batches."""

import dataclasses
from typing import Literal

from mnc_jax.config.section import Section

# The keys of `_READERS` in data/reader_names.py; programs may register others.
DatasetName = Literal["shapes", "coco", "label_images", "sbd"]

# The sides of derived buckets are multiples of it, which all backbones accept as they come.
_BUCKET_STEP = 16


@dataclasses.dataclass(frozen=True)
class DataConfig(Section):
  """The images, and how they become batches."""

  dataset: DatasetName | str = "coco"
  """Data set in data_dir, where mnc prepare writes it. shapes: drawn there on first use. coco: read
  from its original files instead if any of the four paths below is given. Or a set that a reader of
  your own prepared (mnc_jax.register_reader)."""
  data_dir: str = "data"
  """Folder of all prepared data sets. It may be in cloud storage (gs://), to which sets that
  were prepared on a disk are copied."""
  train_annotations: str = ""
  """File instances_*.json of the training images. Only for coco; empty: prepared set."""
  train_images: str = ""
  """Folder of the training images. Only for coco, with train_annotations."""
  eval_annotations: str = ""
  """File instances_*.json of the evaluation images. Only for coco; empty: prepared set."""
  eval_images: str = ""
  """Folder of the evaluation images. Only for coco, with eval_annotations."""
  image_ids: tuple[int, ...] = ()
  """Ids of the only images to train and evaluate on. Empty: all."""
  exif: Literal["upright", "stored"] = "upright"
  """How images with an EXIF orientation are read: upright, as viewers and labelling tools show
  them, or as their pixels are stored. Of a prepared set: as mnc prepare --exif."""
  page: int = 0
  """Page, counted from 1, of files with several (TIFF stacks, animations). 0: such files are
  rejected. Of a prepared set: as mnc prepare --page."""
  channels: tuple[int, ...] = ()
  """Channels to read, counted from 1: one as grey, or three as red, green and blue. Empty: grey or
  colours, and TIFF files with other channels are rejected. Of a prepared set: as mnc prepare
  --channels."""
  short_side: int = 600
  """Images are scaled to this short side, in pixels (paper) ..."""
  long_side: int = 1000
  """... or less, so that the long side has at most this many pixels (release)."""
  buckets: tuple[tuple[int, int], ...] = ()
  """Sizes (height, width) in pixels that scaled images are padded to, each to the smallest that
  holds it. Each size is compiled once. Empty: a landscape and a portrait one that hold any image of
  short_side and long_side. On the command line: 600 1000 1000 600."""
  stretch_contrast: bool = False
  """Whether the intensities of each image, percentile 1 to 99.8 (or if these are equal, all, unless
  within 8 levels), are stretched to 0 ... 255. For microscope images, which may use a small part of
  the range."""
  max_instances: int = 100
  """Ground-truth instances per image, G, that are trained on: the largest. On the others, which are
  counted, nothing is positive or negative."""
  crowd_as_instances: bool = False
  """Whether crowd regions (iscrowd 1 in COCO format) are instances like any other. For files of
  tools that write iscrowd 1 for every mask in RLE."""
  flip: bool = True
  """Whether half of the training images are flipped left to right."""
  turn: bool = False
  """Whether training images are turned by 0, 90, 180 or 270 degrees, equally often: for images
  without an upright, as those of microscopes. In buckets that are not square by 0 or 180 degrees,
  so that they still fit."""
  scale_jitter: tuple[float, float] = (1.0, 1.0)
  """Range (low, high) of a random factor on the scale of training images. What then exceeds the
  bucket is cropped. 1 1: none."""
  crop_share: float = 1.0
  """Smallest side of a random crop of training images, as a share of the image's side. Each crop
  keeps an instance. 1: no crop."""
  crop_size: tuple[int, int] = (0, 0)
  """Size (height, width) in pixels that training images are cropped and padded to, instead of a
  bucket. 0 0: not cropped. Evaluation always uses buckets."""
  invert: bool = False
  """Whether half of the training images are inverted, each value v replaced by 255 - v: for objects
  that are bright on a dark ground in some images and dark on a bright one in others."""
  color_jitter: float = 0.0
  """Saturation, contrast and brightness of training images are multiplied by random factors from
  1 - this to 1 + this. 0: unchanged."""
  copy_paste: float = 0.0
  """Probability that a training image gets some of the instances of another one, drawn at random,
  pasted on it, after both were changed as above (Ghiasi et al. 2021, "Simple Copy-Paste"). They
  cover what is beneath; of that, instances with less than a tenth of their pixels left are dropped.
  0: nothing is pasted."""
  repeat_below: float = 0.0
  """Share of the training images below which a category is rare. Images with a category in a share
  f of them come sqrt(this / f) times as often (Gupta et al. 2019, "LVIS": .001). 0: all images come
  equally often."""
  batch_size: int = 8
  """Images per training step, over all devices of all hosts (paper, section 4: 8)."""
  eval_batch_size: int = 8
  """Images per evaluation step, over all devices of all hosts; raised to a multiple of their
  number."""
  num_workers: int = 0
  """Processes per host that load images. 0: threads of the training process."""

  @property
  def padded_sizes(self) -> tuple[tuple[int, int], ...]:
    """The `buckets`, or those that follow from the sides if it is empty."""
    if self.buckets:
      return self.buckets
    short, long = (-(-side // _BUCKET_STEP) * _BUCKET_STEP
                   for side in (min(self.short_side, self.long_side), self.long_side))
    return ((short, long),) if short == long else ((short, long), (long, short))
