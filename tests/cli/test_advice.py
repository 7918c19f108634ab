"""What `mnc prepare` says fits a set: config, sides, anchors and slots, by hand."""

import shlex

import numpy as np
import pytest

from mnc_jax.cli import advice
from mnc_jax.cli.commands import Train
from mnc_jax.cli.parse import parse
from mnc_jax.config.validation import check_effects


def index(size, sides, counts):
  """A split of equal images with square instances of `sides` pixels, `counts` in each image."""
  return {
      "sizes": np.tile(np.int32([size]), (len(counts), 1)),
      "instance_counts": np.int32(counts),
      "box_sizes": np.float32([[side, side] for side in sides]),
      "box_images": np.resize(np.arange(len(counts)), len(sides))}


def test_photographs_with_few_objects():
  # Objects of 60 to 480 in 480 x 640 pixels. At 320 they have 40 to 320, 5 to 40 cells of stride 8.
  fit = advice.find_fit(index((480, 640), [60] * 20 + [480] * 20, [2] * 19 + [13]))
  assert fit == advice.Fit("photographs", 320, 448, 20, (5.0, 10.0, 20.0, 40.0), fit.minutes)


def test_small_objects_raise_the_short_side():
  """Objects of 20 of 600 pixels shall have three cells of stride 8, 24 pixels: 720, so 736."""
  fit = advice.find_fit(index((600, 600), [20] * 30, [3] * 10))
  assert (fit.config, fit.short_side, fit.long_side) == ("photographs", 736, 736)
  assert fit.minutes > 3 * advice.find_fit(index((600, 600), [200] * 30, [3] * 10)).minutes


@pytest.mark.parametrize(("count", "side"), [(3, 384), (30, 512)])
def test_photographs_are_enlarged_by_half_at_most_and_microscope_images_to_twice(count, side):
  fit = advice.find_fit(index((256, 256), [4] * 30, [count] * 10))
  assert fit.short_side == side


def test_many_instances_are_microscopy():
  # 10 pixels shall have three cells of stride 4, 12 pixels: 307, so 320.
  fit = advice.find_fit(index((256, 320), [10] * 300, [30] * 9 + [130]))
  assert (fit.config, fit.short_side, fit.long_side) == ("nuclei", 320, 416)
  # They are 12.5 then, 3.1 cells.
  assert fit.max_instances == 200 and fit.anchor_scales == (3.1,)


def test_sets_without_boxes_have_no_advice():
  assert advice.describe_fit(index((256, 320), [], [0, 0]), []) == ""
  assert advice.describe_fit({"sizes": np.int32([[3, 4]])}, []) == ""


@pytest.mark.parametrize("count", [2, 40])
def test_the_command_gives_a_valid_config(count):
  text = advice.describe_fit(index((480, 640), [30, 60, 90] * 20, [count] * 9),
                             ["--data.dataset", "coco", "--data.data-dir", "my sets"])
  assert "Objects are 6% to 19% of the short side of their image (median 12%)." in text
  assert max(map(len, text.splitlines())) <= 100
  words = shlex.split(text.partition("of a slow CPU:")[2].replace("\\\n", " "))
  assert words[:2] == ["mnc", "train"]
  config = parse(Train, "train", words[2:]).experiment
  check_effects(config)
  assert (config.data.data_dir, config.data.buckets) == ("my sets", ())
