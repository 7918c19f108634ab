"""A file like the authors' release, imported, against their layers in numpy, stage by stage.

Each stage gets the output of the oracle's previous stage; at the end all run in one. The size of
the image is not a multiple of the stride, and its bucket is larger; the oracle has no bucket.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import release_files, tiny
from helpers import release_oracle as oracle
from mnc_jax import config as presets
from mnc_jax import weights
from mnc_jax.model import cascade, forward, parameters
from mnc_jax.model.stages import box_stage, bridge
from mnc_jax.structs import StageFeatures, StageOutput

HEIGHT, WIDTH, BUCKET = 90, 123, (112, 144)
CELLS = (6, 8)  # Of 16 pixels, rounded up.
SIZE = np.array([HEIGHT, WIDTH], np.int32)
NUM_ROIS = 12
FAR_CORNER = np.array([[0, 0, 1, 1]])
CONFIG = tiny.override(
    presets.release(),
    model={"num_categories": 21, "dense_width": 64, "mask_hidden": 32, "roi_chunk": 5},
    inference={"proposals": {
        "num_proposals": NUM_ROIS, "pre_nms": 60, "min_box_size": 12.0}})
assert_close = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-3)


@pytest.fixture(scope="module")
def image():
  return np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def layers():
  return release_files.random_layers()


@pytest.fixture(scope="module")
def imported(layers, tmp_path_factory):
  """The parameters of the file, and the report of its import."""
  path = tmp_path_factory.mktemp("release") / "mnc_model.caffemodel.h5"
  release_files.write_h5(path, layers)
  like = jax.eval_shape(lambda: parameters.init_params(jax.random.key(0), CONFIG))
  return weights.load_pretrained(like, path, config=CONFIG.model)


@pytest.fixture(scope="module")
def params(imported):
  return jax.tree.map(jnp.asarray, imported[0])


@pytest.fixture(scope="module")
def theirs(layers, image):
  """The oracle's five stages: rois, outputs and refined ones by name."""
  features = oracle.shared_features(layers, image)
  probabilities, deltas = oracle.score_boxes(layers, features)
  rois, scores = oracle.propose(
      probabilities, deltas, HEIGHT, WIDTH, threshold=0.7, post_nms=NUM_ROIS, pre_nms=60,
      min_size=12)
  first = oracle.run_heads(layers, features, rois, pooled=True)
  refined = oracle.bridge(rois, first[3], first[1], HEIGHT, WIDTH)
  second = oracle.run_heads(layers, features, refined, pooled=False)
  return {"features": features, "probabilities": probabilities, "deltas": deltas, "rois": rois,
          "scores": scores, "first": first, "refined": refined, "second": second}


@pytest.fixture(scope="module")
def their_features(theirs):
  """conv5_3 as one image of ours in its bucket."""
  rows, columns = (-(-side // 16) for side in BUCKET)
  padded = np.zeros((rows, columns, 512), np.float32)
  padded[:CELLS[0], :CELLS[1]] = theirs["features"].transpose(1, 2, 0)
  return StageFeatures(*[jnp.asarray(padded)] * 3)


@pytest.fixture(scope="module")
def our_anchors(params, their_features):
  return jax.jit(functools.partial(forward.score_anchors, config=CONFIG))(
      params, their_features, SIZE)


def in_bucket(image):
  padded = np.full((1, *BUCKET, 3), 77, np.uint8)
  padded[0, :HEIGHT, :WIDTH] = image
  return jnp.asarray(padded)


def by_anchor(x, size):
  """[size * A, h, w] with the anchor within `size`, or as [A * size, h, w], by row, column, A."""
  return x.transpose(1, 2, 0).reshape(*CELLS, -1, size)


def assert_outputs_agree(output, expected):
  """Compares a `StageOutput` with masks, categories, box categories and deltas."""
  masks, categories, box_categories, deltas = expected
  stds = np.array(CONFIG.model.box_delta_stds)
  assert_close(jax.nn.sigmoid(output.mask_logits), masks)
  assert_close(jax.nn.softmax(output.category_logits), categories)
  assert_close(jax.nn.softmax(output.box_category_logits), box_categories)
  assert_close(np.asarray(output.box_deltas) * stds, deltas.reshape(len(deltas), -1, 4))


def test_the_file_has_every_parameter_and_nothing_else(imported):
  params, report = imported
  assert report.kind == "MNC, five stages (the authors' release)"
  assert (len(report.loaded), report.initialised, report.unused) == (2 * 25 + 2, (), ())
  np.testing.assert_allclose(params["features"]["pixel_mean"], [102.9801, 115.9465, 122.7717])


def test_the_oracle_is_not_trivial(theirs):
  masks, categories, _, deltas = theirs["first"]
  assert theirs["features"].shape == (512, *CELLS)
  assert 0.3 < theirs["features"].std() < 3
  assert len(theirs["rois"]) == NUM_ROIS
  assert np.ptp(theirs["scores"]) > 0.02
  best = categories.argmax(axis=1)
  assert (best == 0).any() and (best > 0).any()
  assert masks.std(axis=(1, 2)).min() > 0.2
  assert np.abs(deltas).max() > 0.2
  moved = np.abs(theirs["refined"] - theirs["rois"])
  assert np.median(moved) > 1
  # Some RoIs end in the last cells, where the release clamps and bucket and image differ.
  assert (theirs["rois"][:, 2] > WIDTH - 5).any()
  assert np.abs(theirs["second"][1] - categories).max() > 0.1


def test_features(params, image, theirs):
  extract = jax.jit(functools.partial(forward.extract_stage_features, config=CONFIG))
  found = np.asarray(extract(params, in_bucket(image), SIZE[None]).boxes[0])
  assert_close(found[:CELLS[0], :CELLS[1]], theirs["features"].transpose(1, 2, 0))
  assert not found[CELLS[0]:].any() and not found[:, CELLS[1]:].any()


def test_stage_1_scores(our_anchors, their_features, theirs):
  grid = their_features.boxes.shape[:2]
  unpad = lambda x: np.asarray(x).reshape(*grid, 9, -1)[:CELLS[0], :CELLS[1]]
  probabilities = theirs["probabilities"].reshape(2, 9, *CELLS).transpose(2, 3, 1, 0)
  assert_close(unpad(jax.nn.softmax(our_anchors.objectness_logits)), probabilities)
  assert_close(unpad(our_anchors.box_deltas), by_anchor(theirs["deltas"], 4))
  assert_close(unpad(our_anchors.anchors)[0, 0] - FAR_CORNER, oracle.base_anchors())


def test_stage_1_boxes(our_anchors, theirs):
  options = CONFIG.inference
  found = box_stage.propose_boxes(
      our_anchors, SIZE, config=options.proposals, inclusive_corners=True)
  assert found.valid.all()
  assert_close(found.boxes - FAR_CORNER, theirs["rois"])
  assert_close(found.scores, theirs["scores"])


@pytest.mark.parametrize("rois, stages, samples", [("rois", "first", 0), ("refined", "second", 1)])
def test_masks_and_categories(params, their_features, theirs, rois, stages, samples):
  run_heads = jax.jit(
      functools.partial(forward.mask_and_classify, config=CONFIG, samples=samples))
  output = run_heads(params, their_features, jnp.asarray(theirs[rois] + FAR_CORNER, jnp.float32),
                     np.ones(NUM_ROIS, bool), image_size=SIZE)
  assert_outputs_agree(output, theirs[stages])


def test_bridge(theirs):
  masks, categories, _, deltas = theirs["first"]
  stds = np.array(CONFIG.model.box_delta_stds)
  logits = jnp.log(categories)
  output = StageOutput(
      jnp.asarray(theirs["rois"] + FAR_CORNER, jnp.float32), jnp.ones(NUM_ROIS, bool),
      jnp.asarray(masks), logits, logits, jnp.asarray(deltas.reshape(NUM_ROIS, -1, 4) / stds))
  boxes = bridge.refine_boxes(output, SIZE, config=CONFIG.model, with_background=True)
  assert_close(boxes - FAR_CORNER, theirs["refined"])


def test_five_stages_in_one(params, image, theirs):
  run = jax.jit(functools.partial(cascade.run_cascade, config=CONFIG))
  _, output = jax.tree.map(lambda x: x[0], run(params, in_bucket(image), SIZE[None]))
  assert output.valid.all()
  rois = np.concatenate([theirs["rois"], theirs["refined"]])
  assert_close(output.boxes - FAR_CORNER, rois)
  assert_outputs_agree(output, [np.concatenate(pair) for pair in zip(
      theirs["first"], theirs["second"], strict=True)])
