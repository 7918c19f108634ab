"""Several views and several models, merged before voting."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import tiny
from mnc_jax.model import inference
from mnc_jax.model.cascade import run_cascade
from mnc_jax.model.inference import predict, predict_ensemble, select_instances
from mnc_jax.model.parameters import init_params
from mnc_jax.model.stages.bridge import refine_by_category
from mnc_jax.model.test_time_augmentation import make_views, restore_candidates, scale_images
from mnc_jax.ops.voting import vote_masks
from mnc_jax.structs import Candidates, Instances, Proposals, StageOutput

PLAIN = tiny.tiny_config()
SIZE = (52, 44)


@pytest.fixture(scope="module")
def params():
  """Arbitrary weights: boxes, masks and categories differ from RoI to RoI."""
  spread = lambda x: np.float32(3 * x + 0.05 * np.sin(1.7 * np.arange(x.size).reshape(x.shape)))
  return jax.tree.map(spread, tiny.random_params(PLAIN))


@pytest.fixture(scope="module")
def image():
  """One image of `SIZE`, in which no two positions are alike, padded to a bucket."""
  rng, image = np.random.default_rng(3), np.zeros((tiny.SIDE, tiny.SIDE, 3), np.uint8)
  image[:SIZE[0], :SIZE[1]] = rng.integers(0, 120, (*SIZE, 3))
  image[8:30, 4:25] += 90
  image[25:50, 20:41, 1] += 60
  return image


@pytest.fixture(scope="module")
def found(params, image):
  """What one model finds in one view."""
  return jax.jit(functools.partial(predict, config=PLAIN))(
      params, image[None], np.array([SIZE]))


def written_out(params, images, sizes):
  """Inference without any option."""
  proposals, output = run_cascade(params, images, sizes, config=PLAIN)
  options = PLAIN.inference
  one = lambda output, size: vote_masks(
      jax.nn.sigmoid(output.mask_logits), output.boxes, jax.nn.softmax(output.category_logits),
      nms_iou=options.nms_iou, similar_iou=options.similar_iou,
      max_instances=options.max_instances, height=size[0], width=size[1], valid=output.valid,
      mask_threshold=options.mask_threshold,
      refined_boxes=refine_by_category(output, size, config=PLAIN.model))
  return jax.vmap(one)(output, sizes)._replace(truncated_proposals=proposals.truncated)


def test_one_view_of_one_model_changes_no_bit(params, image, found):
  assert found.truncated_proposals.shape == (1,) and found.truncated_proposals[0] > 0
  assert found.valid.all()
  assert PLAIN.inference.scales == (1.0,)
  jax.tree.map(np.testing.assert_array_equal, found,
               jax.jit(written_out)(params, image[None], np.array([SIZE])))


def test_the_mirrored_image_has_the_mirrored_instances(params, image):
  # The width in the view, 26.4 pixels, is no whole number.
  config = tiny.tiny_config(inference={"flip": True, "scales": (0.6,)})
  traces = []
  @jax.jit
  def find(*batch):
    traces.append(1)
    return predict(*batch, config=config)

  mirrored = np.zeros_like(image)
  mirrored[:, :SIZE[1]] = image[:, SIZE[1] - 1::-1]
  sizes = np.array([SIZE, SIZE, (0, 0)])
  batch = jax.device_get(find(params, np.stack([image, mirrored, image]), sizes))
  one, other, empty = map(Instances._make, zip(*batch))
  assert one.valid.all()
  # The same candidates in another order: it decides only between equal scores.
  assert len(set(one.scores.tolist())) == len(one.scores)
  np.testing.assert_array_equal(other.labels, one.labels)
  np.testing.assert_allclose(other.scores, one.scores, rtol=1e-4)
  for ours, theirs in ((one.boxes, other.boxes), (one.mask_boxes, other.mask_boxes)):
    x1, y1, x2, y2 = ours.T
    np.testing.assert_allclose(
        theirs, np.stack([SIZE[1] - x2, y1, SIZE[1] - x1, y2], axis=1), atol=1e-2)
  assert np.abs(one.boxes - one.mask_boxes).max() > 1
  np.testing.assert_allclose(other.masks, one.masks[:, :, ::-1], atol=1e-2)
  # The image is not its own mirror image.
  assert np.abs(other.boxes - one.boxes).max() > 1
  # An image that only pads the batch has no instance in any view.
  assert not any(part.any() for part in empty)
  assert one.truncated_proposals > 0
  find(params, np.stack([mirrored] * 3), sizes[::-1])
  assert len(traces) == 1


def test_the_same_model_and_view_again_find_the_same(params, image, found):
  # Three times the same candidates: one model of the ensemble has the same view twice.
  configs = (PLAIN, tiny.tiny_config(inference={"scales": (1.0, 1.0)}))
  again = jax.jit(functools.partial(predict_ensemble, configs=configs))(
      [params, params], image[None], np.array([SIZE]))
  np.testing.assert_array_equal(again.labels, found.labels)
  np.testing.assert_allclose(again.scores, found.scores, rtol=1e-5)
  np.testing.assert_allclose(again.boxes, found.boxes, atol=1e-4)
  np.testing.assert_allclose(again.masks, found.masks, atol=1e-4)
  np.testing.assert_array_equal(again.truncated_proposals, 3 * found.truncated_proposals)


def test_candidates_of_a_scaled_view_are_in_the_frame_of_the_input(params, image):
  config = tiny.tiny_config(inference={"scales": (0.5,)})
  half, half_size = jax.jit(lambda *x: scale_images(*x, factor=0.5, multiple=16))(
      image[None], np.array([SIZE]))
  @jax.jit
  def restored(params, images, sizes):
    view, = make_views(images, sizes, config=config)
    _, output = run_cascade(params, view.images, view.image_sizes, config=config)
    return restore_candidates(output, sizes, view, config=config.model)

  got = restored(params, image[None], np.array([SIZE]))
  _, output = jax.jit(functools.partial(run_cascade, config=PLAIN))(params, half, half_size)
  assert output.valid.any()
  np.testing.assert_allclose(got.boxes, 2 * np.asarray(output.boxes), atol=1e-3)
  refined = refine_by_category(
      jax.tree.map(lambda x: x[0], output), half_size[0], config=PLAIN.model)
  np.testing.assert_allclose(got.refined_boxes[0], 2 * np.asarray(refined), atol=1e-3)
  np.testing.assert_allclose(got.category_logits, output.category_logits, atol=1e-4)
  np.testing.assert_allclose(got.mask_logits, output.mask_logits, atol=1e-4)


def by_hand(x, mask_logit, score):
  """Two candidates of one category in each of two images: at (x, x + 20), and padding."""
  boxes = jnp.array([[x, 10.0, x + 20, 30], [0, 0, 64, 64]])
  logits = jnp.array([[0, jnp.log(score / (1 - score))], [0.0, 9.0]])
  one = Candidates(boxes, jnp.array([True, False]), jnp.full((2, 4, 4), mask_logit), logits)
  return jax.tree.map(lambda x: jnp.stack([x, x]), one)


def test_models_vote_together_by_hand(monkeypatch):
  """Without networks: the parameters of a model are its candidates."""
  used = []
  def stand_in(params, images, image_sizes, *, config):
    used.append(config)
    truncated = jnp.array([len(used), 0])
    return (Proposals(params.boxes, None, params.valid, None, truncated),
            StageOutput(*params[:4], box_category_logits=None, box_deltas=jnp.zeros((2, 2, 2, 4))))
  monkeypatch.setattr(inference, "run_cascade", stand_in)
  configs = (PLAIN, tiny.tiny_config(model={"dense_width": 48}, inference={"nms_iou": 0.9}))
  models = (by_hand(10.0, 9.0, 0.6), by_hand(12.0, -9.0, 0.2))
  images, sizes = jnp.zeros((2, 64, 64, 3), jnp.uint8), jnp.array([[64, 64], [64, 64]])
  found = jax.jit(functools.partial(predict_ensemble, configs=configs))(models, images, sizes)
  assert used == list(configs)
  np.testing.assert_array_equal(found.truncated_proposals, [3, 0])
  # IoU .82: one instance, by the first config's nms_iou, with .6 of .8 votes for the object. It
  # ends with the last of 8 columns of 2.75 pixels whose centre is left of 30.
  np.testing.assert_array_equal(found.valid, [[True] + [False] * 5] * 2)
  np.testing.assert_allclose(found.scores[0, 0], 0.6, rtol=1e-5)
  np.testing.assert_allclose(found.mask_boxes[0, 0], [10, 10, 29.25, 30], rtol=1e-5)
  # Without box deltas, the average of the candidates' boxes: a quarter of the way.
  np.testing.assert_allclose(found.boxes[0, 0], [10.5, 10, 30.5, 30], rtol=1e-5)
  np.testing.assert_allclose(found.masks[0, 0], np.full((4, 4), 0.75), rtol=1e-3)


@pytest.mark.parametrize(("options", "scores"), [
    ({"min_score": 0.05}, [0.6, 0.1]),
    ({"min_score": 0.3}, [0.6]),
    ({"nms": "soft", "soft_nms_sigma": 1.0}, [0.6, 0.1, 0.2 * np.exp(-1)])])
def test_options_of_the_config_reach_the_voting(options, scores):
  rows = [by_hand(10.0, 9.0, 0.6), by_hand(10.0, 9.0, 0.2), by_hand(40.0, 9.0, 0.1)]
  candidates = jax.tree.map(lambda *parts: jnp.concatenate([x[0] for x in parts]), *rows)
  config = tiny.tiny_config(inference=options)
  found = jax.jit(functools.partial(select_instances, config=config))(
      candidates, jnp.array([64, 64]))
  assert found.valid.sum() == len(scores)
  np.testing.assert_allclose(found.scores[:len(scores)], scores, rtol=1e-4)


@pytest.mark.parametrize(("count", "model", "message"), [
    (2, {"num_categories": 5}, "model.num_categories of model 2 .* is 5, .* the first is 3"),
    (2, {"mask_size": 16}, "model.mask_size of model 2 .* is 16, .* the first is 12"),
    (3, {}, "3 models with 2 configs")])
def test_models_that_cannot_vote_together_are_named(count, model, message):
  configs = (PLAIN, tiny.tiny_config(model=model))
  with pytest.raises(ValueError, match=message):
    predict_ensemble([{}] * count, np.zeros((1, 64, 64, 3)), np.array([SIZE]), configs=configs)


def test_an_ensemble_without_models_is_rejected():
  with pytest.raises(ValueError, match="needs at least one model, found none"):
    predict_ensemble([], np.zeros((1, 64, 64, 3)), np.array([SIZE]), configs=())


def test_images_of_other_dtypes_are_rejected():
  with pytest.raises(TypeError, match="images are float32, must be uint8 RGB from 0 to 255"):
    predict({}, np.zeros((1, 64, 64, 3), np.float32), np.array([SIZE]), config=PLAIN)


def test_all_options_lower_for_accelerators():
  config = tiny.tiny_config(
      inference={"flip": True, "scales": (0.5,), "nms": "soft", "min_score": 0.1})
  shape = jax.ShapeDtypeStruct
  traced = jax.jit(functools.partial(predict, config=config)).trace(
      jax.eval_shape(lambda: init_params(jax.random.key(0), config)),
      shape((1, 64, 64, 3), jnp.uint8), shape((1, 2), jnp.int32))
  assert "stablehlo" in traced.lower(lowering_platforms=("tpu", "cuda")).as_text()[:4000]
