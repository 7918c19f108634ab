"""The panel of a validation: ground truth on the left, what was found on the right."""

import io

import numpy as np
import PIL.Image
import pytest

from helpers.event_files import read_events
from helpers.toy_sets import make_source
from mnc_jax.config import DataConfig
from mnc_jax.training.metrics_log import MetricsLog
from mnc_jax.training.panel import draw_panel


def pictures_of(panel, count):
  """Returns the pictures of a panel of square images, row by row."""
  columns = min(count, 4)
  side = (panel.shape[1] - 8) // columns - 8
  return [panel[30 + row * (side + 8):, 8 + column * (side + 8):][:side, :side]
          for row in range(count // columns) for column in range(columns)]


def colored(picture):
  """Returns the share of pixels that are not grey, as what is drawn is."""
  return (np.ptp(picture.astype(int), axis=-1) > 30).mean()


@pytest.mark.parametrize("count", [1, 3, 8, 20])
def test_pairs_are_ground_truth_and_prediction(count):
  source = make_source([(64, 64)] * count)
  shown = min(count, 8)
  rows = np.arange(shown) * count // shown
  # What is found in every second image shown is its ground truth; in the others it scores .4.
  results = [record | {"score": 0.4 if index % 2 else 0.9} for index, row in enumerate(rows)
             for record in source.read_annotations(row)]
  panel = draw_panel(source, results, DataConfig())
  assert panel.dtype == np.uint8
  pictures = pictures_of(panel, 2 * shown)
  for index, (truth, found) in enumerate(zip(pictures[::2], pictures[1::2], strict=True)):
    assert colored(truth) > 0.001
    assert (colored(found) > 0.001) == (index % 2 == 0)
    # Images hold their index.
    assert abs(int(truth[-2, -2, 0]) - (rows[index] + 1)) <= 1


def test_pictures_are_small_whatever_the_images_are():
  panel = draw_panel(make_source([(900, 1200)] * 8), [], DataConfig())
  assert panel.shape == (22 + 4 * 248 + 8, 4 * 328 + 8, 3)
  narrow = draw_panel(make_source([(5000, 8)]), [], DataConfig())
  assert narrow.shape[0] == 22 + 328 + 8


def test_the_titles_stand_over_their_columns():
  panel = draw_panel(make_source([(64, 64)]), [], DataConfig())
  strip = panel[:22].max(-1) > 150
  half = panel.shape[1] // 2
  assert strip[:, :half].any() and strip[:, half:].any()
  assert not strip[:, :8].any()


def test_the_picture_in_the_log_is_a_jpeg(tmp_path):
  image = np.zeros((40, 60, 3), np.uint8)
  image[:, 30:] = 200, 100, 0
  with MetricsLog(tmp_path, first_step=1) as log:
    log.add_image("panel", image, 1)
  (path,) = (tmp_path / "logs").iterdir()
  picture = list(read_events(path))[-1].summary.value[0].image
  assert (picture.height, picture.width, picture.colorspace) == (40, 60, 3)
  assert picture.encoded_image_string.startswith(b"\xff\xd8")
  decoded = np.asarray(PIL.Image.open(io.BytesIO(picture.encoded_image_string)))
  assert abs(decoded.astype(int) - image)[:, 34:].max() <= 4
