"""Large images in tiles: where they are, and what is found in them, with a stand-in network."""

import contextlib

import jax.numpy as jnp
import numpy as np
import pytest

from helpers import tiny
from helpers.colored_discs import draw_discs, find_discs, make_model, replace_network
import mnc_jax
from mnc_jax.configs import shapes
from mnc_jax.data.records import BrokenImageError
from mnc_jax.evaluation import predict_image as module
from mnc_jax.evaluation.detect import detect
from mnc_jax.evaluation.predict_image import find_instances
from mnc_jax.evaluation.tiles.plan import describe_tiles, plan_tiles
from mnc_jax.structs import Instances

CONFIG = shapes.get_config()
pytestmark = pytest.mark.filterwarnings("ignore:.*range of intensities")


def iou(mask, other):
  return (mask & other).sum() / (mask | other).sum()


def test_scales_are_at_most_a_factor_of_2_apart_and_end_at_the_largest_shrink():
  plan = plan_tiles((3000, 4000), CONFIG)
  assert plan.levels[0].size == (96, 128)  # 4000 / 128 = 31.25; 31.25 / 4 is below 2^3.
  assert [level.size for level in plan.levels[1:]] == [(190, 254), (378, 504), (750, 1000)]
  assert plan.levels[-1].tile == plan.bucket == (128, 128)
  assert [len(level.corners) for level in plan.levels] == [1, 6, 30, 130]
  assert plan.num_tiles == 167


@pytest.mark.parametrize("size", [(3000, 4000), (513, 5000), (100, 9000), (2049, 2049)])
@pytest.mark.parametrize("overlap", [0.1, 0.4, 0.8])
def test_tiles_cover_the_image_and_overlap(size, overlap):
  config = tiny.override(CONFIG, inference={"tile_overlap": overlap})
  for level in plan_tiles(size, config).levels:
    covered = np.zeros(level.size, int)
    for top, left in level.corners:
      assert top >= 0 and left >= 0
      assert top + level.tile[0] <= level.size[0] and left + level.tile[1] <= level.size[1]
      covered[top:top + level.tile[0], left:left + level.tile[1]] += 1
    assert covered.min() >= 1
    for axis in (0, 1):
      starts = np.unique([corner[axis] for corner in level.corners])
      assert (np.diff(starts) <= level.tile[axis] * (1 - overlap)).all()


def test_an_object_no_larger_than_the_overlap_is_whole_in_a_tile_of_each_scale():
  level = plan_tiles((3000, 4000), CONFIG).levels[-1]
  for left in range(0, 1000 - 51, 7):
    assert any(x <= left and left + 51 <= x + 128 for _, x in level.corners)


def test_each_size_is_taken_from_a_scale_that_sees_it_whole_and_near_the_anchors():
  levels = plan_tiles((3000, 4000), CONFIG).levels
  # The largest anchor has 12 cells of 4 pixels: half of it is left to the next finer scale.
  assert [level.sides[0] for level in levels] == [24, 24, 24, 0]
  assert [level.sides[1] for level in levels] == [np.inf, 72, 72, 72]
  for side in np.geomspace(10, 4000, 50):  # Pixels of the image.
    network = [side * level.size[1] / 4000 for level in levels]
    assert any(low <= x <= high for x, (low, high) in zip(
        network, [level.sides for level in levels], strict=True))


@pytest.mark.parametrize(("max_shrink", "tiles"), [(31.25, 0), (31.2, 2), (0, 0)])
def test_images_that_are_shrunk_by_less_are_run_as_a_whole(max_shrink, tiles):
  plan = plan_tiles((3000, 4000), tiny.override(CONFIG, inference={"max_shrink": max_shrink}))
  assert (plan.num_tiles if plan else 0) == tiles


@pytest.mark.parametrize("size", [(3024, 4032), (4000, 6000), (6000, 4000)])
def test_photographs_of_24_megapixels_are_run_as_a_whole_by_default(size):
  config = tiny.override(mnc_jax.Config(), data={"short_side": 320, "long_side": 533})
  assert plan_tiles(size, config) is None
  assert plan_tiles(size, mnc_jax.Config()) is None


def test_a_factor_that_would_enlarge_an_image_beyond_memory_is_an_error():
  config = tiny.override(CONFIG, inference={"max_shrink": 0.25})
  assert plan_tiles((2500, 3000), config).levels[-1].size == (10000, 12000)
  with pytest.raises(BrokenImageError, match=(
      "of 16000 x 12000 pixels, more than 134217728: raise inference.max_shrink, which is 0.25")):
    plan_tiles((3000, 4000), config)


def test_a_sentence_with_factor_tiles_overlap_and_option():
  assert describe_tiles((3000, 4000), "a.png", CONFIG) == (
      "a.png (4000 x 3000) would be shrunk by 31.2, so it is also run in tiles, 167 in all, of "
      "which the finest are shrunk by 4 (inference.max_shrink; 0: no tiles) and overlap by 208 "
      "pixels or more")
  assert describe_tiles((300, 400), "a.png", CONFIG) == ""


# Tiles of 64 x 64 pixels, shrunk by 4, begin every 36 pixels or fewer.
@pytest.mark.parametrize("x", range(200, 420, 20))
def test_a_disc_across_borders_is_found_once_and_whole(monkeypatch, x):
  replace_network(monkeypatch)
  image, masks = draw_discs((700, 800), [(x, 300, 48)])
  found = detect(make_model(), image, max_shrink=4)
  assert found.names == ("disc",)
  np.testing.assert_allclose(found.boxes[0], [x - 48, 252, x + 48, 348], atol=5)
  assert iou(found.masks[0], masks[0]) > 0.9


@pytest.mark.parametrize("x", range(200, 420, 20))
def test_two_discs_that_touch_stay_two(monkeypatch, x):
  replace_network(monkeypatch)
  image, masks = draw_discs((700, 800), [(x, 300, 48), (x + 97, 300, 48)])
  found = detect(make_model(), image, max_shrink=4)
  assert found.names == ("disc", "disc")
  order = np.argsort(found.boxes[:, 0])
  assert min(iou(found.masks[row], mask) for row, mask in zip(order, masks, strict=True)) > 0.9


@pytest.mark.parametrize("radius", [20, 60, 110, 170, 300])
def test_objects_of_all_sizes_are_found_once(monkeypatch, radius):
  # A tile at the finest scale has 256 pixels.
  replace_network(monkeypatch)
  image, masks = draw_discs((900, 1000), [(430, 480, radius)])
  found = detect(make_model(), image, max_shrink=4)
  assert found.names == ("disc",)
  assert iou(found.masks[0], masks[0]) > 0.85


def test_tiles_with_nothing(monkeypatch):
  shapes = replace_network(monkeypatch)
  found = detect(make_model(), np.zeros((700, 800, 3), np.uint8), max_shrink=4)
  assert [column.shape for column in found[:4]] == [(0, 4), (0, 700, 800), (0,), (0,)]
  assert len(shapes) > 1


def test_more_instances_than_a_tile_may_have(monkeypatch):
  replace_network(monkeypatch)
  discs = [(x, y, 20) for x in range(100, 800, 180) for y in range(100, 700, 180)]
  found = detect(make_model(), draw_discs((700, 800), discs)[0], max_shrink=4)
  assert len(found.scores) == len(discs) == 16 > make_model().config.inference.max_instances


@pytest.mark.parametrize(("score", "warned"), [(0.8, True), (0.4, False)])
def test_tiles_that_drop_instances_are_reported(monkeypatch, score, warned):
  def find(images, sizes):
    found = find_discs(images, sizes)
    return found._replace(scores=np.where(found.valid, score, 0), dropped=np.array(
        [int(valid.any()) for valid in found.valid]))

  replace_network(monkeypatch, find)
  image, _ = draw_discs((700, 800), [(300, 300, 48)])
  expected = (pytest.warns(UserWarning, match=(
      "^9 tiles of the image: there may be more instances of score 0.5 .*max_instances is 8 and"))
              if warned else contextlib.nullcontext())
  with expected:
    detect(make_model(), image, max_shrink=4)


def test_tiles_because_of_the_config_are_reported_once_and_can_be_turned_off(monkeypatch):
  shapes = replace_network(monkeypatch)
  image, _ = draw_discs((700, 800), [(300, 300, 48)])
  with pytest.warns(UserWarning, match=r"image 0 of the list \(800 x 700\) would be") as caught:
    detect(make_model(), [image, image])
  assert sum("tiles" in str(warning.message) for warning in caught) == 1
  shapes.clear()
  # The whole image, in which the disc has 7.7 pixels.
  found = detect(make_model(), image, max_shrink=0)
  assert shapes == [(1, 64, 64, 3)]
  assert len(found.scores) == 1


def test_batches_have_one_shape_and_the_network_is_traced_once(monkeypatch):
  traces = []

  def find_nothing(params, images, image_sizes, *, configs):
    traces.append(images.shape)
    rows = (images.shape[0], 6)
    return Instances(jnp.zeros((*rows, 4)), jnp.zeros(rows, int), jnp.zeros(rows),
                     jnp.zeros((*rows, 12, 12)), jnp.zeros(rows, bool), jnp.zeros(rows[0], int),
                     jnp.zeros(rows[0], int))

  monkeypatch.setattr(module, "predict_ensemble", find_nothing)
  module._compile.cache_clear()
  model = make_model()
  for size, shrink in (((700, 800), 4), ((1111, 700), 4), ((700, 2000), 6), ((300, 2000), 5)):
    detect(model, np.zeros((*size, 3), np.uint8), max_shrink=shrink)
  assert traces == [(model.config.data.eval_batch_size, 64, 64, 3)]
  module._compile.cache_clear()


def test_masks_stay_small(monkeypatch):
  replace_network(monkeypatch)
  discs = [(x, y, 30) for x in range(100, 1500, 200) for y in range(100, 500, 200)]
  done = []
  found = find_instances([make_model()], draw_discs((600, 1600), discs)[0],
                         beat=lambda count, tiles: done.append((count, tiles)))
  assert found.masks.shape == (14, 12, 12)
  assert found.boxes[:, 2].max() > 1300
  plan = plan_tiles((600, 1600), make_model().config)
  assert done[-1] == (plan.num_tiles, plan.num_tiles) and done[0] == (8, plan.num_tiles)


def test_tiles_share_the_stretched_contrast_of_the_image(monkeypatch):
  seen = []

  def find(images, sizes):
    seen.append(images.max())
    return find_discs(images, sizes)

  replace_network(monkeypatch, find)
  model = make_model()
  model = model._replace(config=tiny.override(model.config, data={"stretch_contrast": True}))
  image = np.zeros((700, 800, 3), np.uint8)
  image[:100] = 40
  image[600:] = 10
  detect(model, image, max_shrink=4)
  assert max(seen) == 255 and min(seen) < 100  # Not each tile by itself.


def test_the_shipped_model_finds_small_discs_of_a_large_image():
  model = mnc_jax.load("shapes")
  assert model.config.inference.max_shrink == 4
  rng = np.random.default_rng(0)
  image, masks = draw_discs((800, 1100), [(150, 180, 60), (480, 500, 60), (900, 600, 60)])
  image[image[..., 0] == 0] = 110
  for mask, color in zip(masks, ((230, 60, 40), (40, 90, 230), (60, 200, 80)), strict=True):
    image[mask] = color
  image = np.clip(image + rng.integers(-8, 9, image.shape), 0, 255).astype(np.uint8)
  with pytest.warns(UserWarning, match="would be shrunk by 8.6, so it is also run in tiles"):
    found = detect(model, image)
  discs = [row for row, name in enumerate(found.names) if name == "disc"]
  assert len(discs) == 3
  assert all(max(iou(found.masks[row], mask) for row in discs) > 0.85 for mask in masks)
