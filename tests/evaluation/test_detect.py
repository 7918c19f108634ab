"""Detections in pixels of the image, with a stand-in network and with small real ones."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from helpers import tiny
from mnc_jax import cli, weights
from mnc_jax.coco.rle import decode_masks
from mnc_jax.config.serialization import to_json
from mnc_jax.evaluation import detect as module
from mnc_jax.evaluation import predict_image
from mnc_jax.evaluation.detect import detect
from mnc_jax.model.parameters import init_params
from mnc_jax.model.trained import Model
from mnc_jax.structs import Instances


@pytest.fixture(scope="module")
def model():
  return make_model(0)


def make_model(seed, *, names=("cat", "dog"), **sections):
  """A model with arbitrary weights, which finds something everywhere."""
  config = tiny.tiny_config(**sections)
  shapes = jax.eval_shape(lambda: init_params(jax.random.key(0), config))
  rng = np.random.default_rng(seed)
  params = jax.tree.map(
      lambda x: jnp.asarray(rng.normal(scale=0.1, size=x.shape), jnp.float32), shapes)
  return Model(params, config, names, (3, 7), {})


def make_image(height=64, width=64, *, seed=0):
  image = np.full((height, width, 3), 30, np.uint8)
  image[height // 6:height // 2, width // 3:2 * width // 3] = 220 - 40 * seed
  return image


def assert_equal(found, expected):
  for one, other in zip(found, expected, strict=True):
    np.testing.assert_array_equal(one, other)


def replace_network(monkeypatch, boxes, scores, masks, mask_boxes=None, dropped=0):
  """Lets the network find these boxes, in pixels of its input, in every image."""
  labels = np.arange(len(boxes), dtype=np.int32) % 2 + 1
  found = jax.tree.map(lambda x: np.asarray(x)[None], Instances(
      np.float32(boxes), labels, np.float32(scores), np.float32(masks), np.float32(scores) > 0,
      dropped=dropped, mask_boxes=None if mask_boxes is None else np.float32(mask_boxes)))
  monkeypatch.setattr(predict_image, "_compile", lambda configs: lambda *batch: found)


@pytest.mark.parametrize("size", [(100, 50), (37, 64), (64, 37), (7, 1000), (640, 480), (2, 2)])
def test_boxes_come_back_by_the_exact_ratio_of_each_axis(monkeypatch, model, size):
  # A box of the whole network input is one of the whole image, whatever was rounded.
  inside = np.maximum(np.rint(np.multiply(size, 64 / max(size))), 1)
  replace_network(monkeypatch, [[0, 0, inside[1], inside[0]], [0, 0, *inside[::-1] / 2]],
                  [0.9, 0.8], np.ones((2, 12, 12)))
  found = detect(model, make_image(*size))
  np.testing.assert_allclose(
      found.boxes, [[0, 0, size[1], size[0]], [0, 0, size[1] / 2, size[0] / 2]], rtol=1e-6)
  assert found.masks.shape == (2, *size)
  assert found.masks[0].all()
  # A side of half a pixel more or less.
  assert abs(found.masks[1].sum() - size[0] * size[1] / 4) <= sum(size) / 4
  assert (found.labels.tolist(), found.names) == ([1, 2], ("cat", "dog"))
  assert [x.dtype for x in found[:4]] == [np.float32, bool, np.float32, np.int32]
  assert all(isinstance(x, np.ndarray) for x in found[:4])


def test_masks_are_pasted_where_they_were_predicted_whatever_the_box(monkeypatch, model):
  # The image of 32 x 32 is enlarged to the network input of 64 x 64. The last row is padding, the
  # second scores too little.
  replace_network(
      monkeypatch, [[4, 2, 30, 22], [0, 0, 9, 9], [40, 40, 60, 60], [0, 0, 9, 9]],
      [0.9, 0.2, 0.8, 0], np.ones((4, 12, 12)),
      [[0, 0, 32, 24], [0, 0, 9, 9], [44, 44, 80, 50], [0, 0, 9, 9]])
  found = detect(model, make_image(32, 32))
  np.testing.assert_array_equal(found.boxes, [[2, 1, 15, 11], [20, 20, 30, 30]])
  expected = np.zeros((2, 32, 32), bool)
  expected[0, :12, :16] = expected[1, 22:25, 22:] = True
  np.testing.assert_array_equal(found.masks, expected)


def test_what_is_outside_below_the_score_or_without_a_pixel_is_dropped(monkeypatch, model):
  masks = np.ones((5, 12, 12))
  masks[1] = 0.3  # Below inference.mask_threshold.
  replace_network(monkeypatch, [[-16, -16, 16, 16], [0, 0, 9, 9], [80, 0, 99, 20], [0, 0, 8, 8],
                                [0, 0, 8, 8]], [0.9, 0.8, 0.7, 0.49, 0], masks)
  found = detect(model, make_image())
  np.testing.assert_array_equal(found.boxes, [[0, 0, 16, 16]])
  assert found.masks.sum() == 16 * 16
  np.testing.assert_array_equal(
      detect(model, make_image(), min_score=0.45).scores, np.float32([0.9, 0.49]))


@pytest.mark.parametrize("scores", [[], [0.4], [0]])
def test_nothing_found(monkeypatch, model, scores):
  count = len(scores)
  replace_network(monkeypatch, np.zeros((count, 4)), scores, np.zeros((count, 12, 12)))
  found = detect(model, make_image(30, 50))
  assert [x.shape for x in found[:4]] == [(0, 4), (0, 30, 50), (0,), (0,)]
  assert [x.dtype for x in found[:4]] == [np.float32, bool, np.float32, np.int32]
  assert found.names == ()


def test_masks_that_would_fill_the_memory_are_an_error(monkeypatch, model):
  replace_network(monkeypatch, [[0, 0, 9, 9], [0, 0, 9, 9]], [0.9, 0.8], np.ones((2, 12, 12)))
  monkeypatch.setattr(module, "_MOST_MASK_BYTES", 2 * 64 * 64)
  assert detect(model, make_image()).masks.shape == (2, 64, 64)
  with pytest.raises(ValueError, match=r"2 masks of 65 x 64 pixels .* 0.0 GB: raise min_score, or"):
    detect(model, make_image(64, 65))
  assert len(detect(model, make_image(64, 65), min_score=0.85).masks) == 1


def test_a_list_of_files_and_arrays_of_any_size(model, tmp_path):
  arrays = [make_image(), make_image(100, 70), make_image(20, 30, seed=2)]
  PIL.Image.fromarray(arrays[1]).save(tmp_path / "image.png")
  found = detect(model, [arrays[0], str(tmp_path / "image.png"), arrays[2]], min_score=0)
  assert isinstance(found, list)
  assert min(len(one.scores) for one in found) > 0
  for one, array in zip(found, arrays, strict=True):
    assert_equal(one, detect(model, array, min_score=0))
  assert_equal(found[1], detect(model, tmp_path / "image.png", min_score=0))
  assert detect(model, []) == []


def test_an_image_that_uses_little_of_its_range_is_reported_once(model):
  camera = 16 * make_image().astype(np.uint16)  # 12 bits in 16.
  message = r"image 1 of the list uses 4\.6% of its range .*data\.stretch_contrast spreads them"
  with pytest.warns(UserWarning, match=message) as caught:
    detect(model, [make_image(), camera, camera])
  assert len(caught) == 1
  stretched = model._replace(config=tiny.tiny_config(data={"stretch_contrast": True}))
  detect(stretched, camera)  # A warning would be an error.


def test_the_first_image_that_may_have_more_instances_is_reported(monkeypatch, model):
  replace_network(monkeypatch, [[0, 0, 9, 9], [20, 0, 29, 9]], [0.9, 0.6], np.ones((2, 12, 12)),
                  dropped=1)
  message = ("^image 0 of the list: there may be more instances of score 0.6 than were found, "
             "since inference.max_instances is 6 and inference.proposals.num_proposals 16")
  with pytest.warns(UserWarning, match=message) as caught:
    assert [len(one.scores) for one in detect(model, [make_image()] * 2, min_score=0.6)] == [2, 2]
  assert len(caught) == 1
  detect(model, make_image(), min_score=0.7)  # A warning would be an error.
  detect(model, make_image(), min_score=0)


def test_files_are_detected_upright(model, tmp_path):
  exif = PIL.Image.Exif()
  exif[0x0112] = 6
  PIL.Image.fromarray(make_image(40, 60)).save(tmp_path / "image.png", exif=exif)
  found = detect(model, tmp_path / "image.png", min_score=0)
  assert found.masks.shape[1:] == (60, 40)
  assert_equal(found, detect(model, np.rot90(make_image(40, 60), -1), min_score=0))


def count_traces(monkeypatch):
  """Returns a list with the bucket of each trace of the network."""
  traces, predict = [], predict_image.predict_ensemble
  def watch(params, images, image_sizes, *, configs):
    traces.append(images.shape[1:3])
    return predict(params, images, image_sizes, configs=configs)
  monkeypatch.setattr(predict_image, "predict_ensemble", watch)
  predict_image._compile.cache_clear()  # Programs of other tests are shared.
  return traces


def test_one_compilation_per_bucket_and_options(monkeypatch):
  buckets = {"data": {"buckets": ((64, 32), (64, 64))}}
  traces = count_traces(monkeypatch)
  first, second = (make_model(seed, **buckets) for seed in (0, 1))
  found = [detect(one, image, min_score=score) for one, image, score in (
      (first, make_image(64, 64), 0), (first, make_image(90, 80), 0.5), (second, make_image(), 0),
      (make_model(0, **buckets), make_image(), 0.9))]
  assert traces == [(64, 64)]
  assert found[0].scores[0] != found[2].scores[0]
  detect(first, [make_image(60, 20), make_image(90, 40)])
  assert traces == [(64, 64), (64, 32)]
  for _ in range(2):
    detect(first, make_image(), nms="soft")
    detect(first, make_image())
  assert traces == [(64, 64), (64, 32), (64, 64)]


def test_a_run_that_went_on_and_its_export_share_a_program(monkeypatch):
  traces = count_traces(monkeypatch)
  first = make_model(0)
  changes = {"train": {"num_steps": 7}, "data": {"data_dir": "elsewhere"},
             "inference": {"max_shrink": 3.0}}
  later = first._replace(config=tiny.override(first.config, **changes))
  found = [detect(one, make_image(), min_score=0) for one in (first, later)]
  assert traces == [(64, 64)]
  assert_equal(*found)


def test_few_programs_are_kept():
  assert predict_image._compile.cache_info().maxsize == 8


@pytest.mark.parametrize("options", [
    {"flip": True, "nms": "soft", "soft_nms_sigma": 0.1}, {"scales": [0.5]}, {"nms": "soft"}])
def test_options_are_those_of_the_config(model, options):
  found = detect(model, make_image(), min_score=0, **options)
  fields = {name: tuple(value) if name == "scales" else value for name, value in options.items()}
  config = tiny.override(model.config, inference=fields)
  assert_equal(found, detect(model._replace(config=config), make_image(), min_score=0))
  plain = detect(model, make_image(), min_score=0)
  assert (found.scores.shape, found.scores.tolist()) != (plain.scores.shape, plain.scores.tolist())


def test_the_minimum_score_replaces_that_of_the_config(model):
  everything = detect(model, make_image(), min_score=0)
  between = float(everything.scores[2:4].mean())
  strict = model._replace(config=tiny.override(model.config, inference={"min_score": between}))
  assert_equal(detect(strict, make_image(), min_score=0), everything)
  some = detect(strict, make_image(), min_score=between)
  assert len(some.scores) == 3
  assert_equal(some, [column[:3] for column in everything])


@pytest.mark.parametrize(("options", "message"), [
    ({"min_score": 50}, "min_score is 50: it must be from 0 to 1"),
    ({"min_score": float("nan")}, "min_score is nan"),
    ({"scales": ()}, r"inference.scales is \(\)"), ({"scales": (0.0,)}, "inference.scales is"),
    ({"nms": "hard"}, "nms must be 'greedy' or 'soft', found 'hard'"),
    ({"soft_nms_sigma": 0.2}, "inference.soft_nms_sigma is 0.2, .* no effect without"),
    ({"nms": "soft", "soft_nms_sigma": 0.0}, "soft_nms_sigma is 0.0: it must be above 0")])
def test_options_without_meaning(model, options, message):
  with pytest.raises(ValueError, match=message):
    detect(model, make_image(), **options)


def test_models_vote_together(model):
  other = make_model(1, model={"dense_width": 16})
  alone, together = (detect(one, make_image(), min_score=0) for one in (model, [model, other]))
  assert alone.scores.tolist() != together.scores.tolist()
  assert together.masks.shape == (6, 64, 64)
  assert_equal(detect([model], make_image(), min_score=0), alone)


@pytest.mark.parametrize(("other", "message"), [
    ({"names": ("cat", "cow")}, "number 2 is 'cow' in the first and 'dog' in the second"),
    ({"model": {"mask_size": 16}}, "its model.mask_size is 16, that of the first model 12"),
    ({"data": {"stretch_contrast": True}}, "its data.stretch_contrast is True")])
def test_models_that_cannot_vote_together(model, other, message):
  with pytest.raises(ValueError, match=message) as error:
    detect([model, model, make_model(1, **other)], make_image())
  assert "model 2 of the list cannot join model 0 of the list in an ensemble" in str(error.value)


@pytest.mark.parametrize("other", ["shapes", None, [], (), ["shapes"], make_image()])
def test_other_things_than_models(other):
  with pytest.raises(TypeError, match="first argument of detect is a .* model of mnc_jax.load"):
    detect(other, make_image())


def test_wrong_images_are_named(model):
  with pytest.raises(ValueError, match=r"the image has float64 pixels"):
    detect(model, make_image() / 255)
  with pytest.raises(ValueError, match=r"image 1 of the list has the shape \[64, 64\]"):
    detect(model, [make_image(), make_image()[..., 0]])
  with pytest.raises(ValueError, match=r"none.png: No such file"):
    detect(model, "none.png")
  with pytest.raises(ValueError, match=r"has the shape \[2, 64, 64, 3\].*pass a list"):
    detect(model, np.stack([make_image()] * 2))


def test_the_command_line_finds_the_same(model, tmp_path):
  weights.save_safetensors(tmp_path / "model.safetensors", model.params, {
      "config": to_json(model.config), "category_names": json.dumps(["cat", "dog"]),
      "category_ids": "[3, 7]"})
  PIL.Image.fromarray(make_image(90, 70)).save(tmp_path / "image.png")
  cli.call("predict", ["--weights", str(tmp_path / "model.safetensors"), "--output",
                       str(tmp_path / "out"), str(tmp_path / "image.png")])
  records = json.loads((tmp_path / "out" / "instances.json").read_text())
  found = detect(model, make_image(90, 70), min_score=0)
  assert [record["category_id"] for record in records] == [(3, 7)[x - 1] for x in found.labels]
  np.testing.assert_array_equal([record["score"] for record in records], found.scores)
  np.testing.assert_array_equal(
      decode_masks([record["segmentation"] for record in records], (90, 70)), found.masks)
  corners = np.array([record["bbox"] for record in records])
  corners[:, 2:] += corners[:, :2]
  np.testing.assert_allclose(corners, found.boxes, atol=0.011)
