"""Four fake devices predict what one does, with one model and with several."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import tiny
from helpers.toy_sets import make_source
from mnc_jax import parallel
from mnc_jax.evaluation import predict_split
from mnc_jax.model.inference import predict
from mnc_jax.structs import Instances


@pytest.fixture(autouse=True)
def _new_programs():
  """Lets no test find the program of another, whose prediction was replaced."""
  predict_split._compile.cache_clear()


def test_four_devices_predict_what_one_does(monkeypatch):
  traces, whole = [], predict_split.predict_ensemble

  def counted(models, images, image_sizes, *, configs):
    traces.append(images.shape)
    return whole(models, images, image_sizes, configs=configs)

  monkeypatch.setattr(predict_split, "predict_ensemble", counted)
  config, mesh = tiny.tiny_config(), parallel.make_mesh()
  params = tiny.random_params(config)
  batch = jax.device_get(tiny.make_batch(8))
  one = jax.jit(functools.partial(predict, config=config))(
      params, batch.images, batch.image_sizes)
  find, models = predict_split.make_predict([config], mesh), parallel.replicate([params], mesh)
  four = find(models, batch.images, batch.image_sizes)
  assert isinstance(four.boxes, np.ndarray)
  assert four.truncated_proposals.shape == (8,)
  np.testing.assert_array_equal(four.labels, one.labels)
  np.testing.assert_allclose(four.boxes, one.boxes, atol=1e-3)
  np.testing.assert_allclose(four.masks, one.masks, atol=1e-4)
  find(models, batch.images[:, ::-1], batch.image_sizes)
  assert traces == [(2, 64, 64, 3)]


def test_a_run_that_went_on_keeps_its_program():
  mesh, config = parallel.make_mesh(), tiny.tiny_config()
  for steps in (3, 7):
    predict_split.make_predict([tiny.override(config, train={"num_steps": steps})], mesh)
  predict_split.make_predict([tiny.override(config, inference={"nms_iou": 0.4})], mesh)
  assert predict_split._compile.cache_info().misses == 2


def test_four_devices_run_all_models_of_an_ensemble(monkeypatch):
  def weigh(models, images, image_sizes, *, configs):
    assert [config.model.dense_width for config in configs] == [32, 48]
    return models[0]["a"] * images[:, 0, 0, 0] + models[1]["b"]["c"] * image_sizes[:, 0]

  monkeypatch.setattr(predict_split, "predict_ensemble", weigh)
  mesh = parallel.make_mesh()
  find = predict_split.make_predict(
      [tiny.tiny_config(), tiny.tiny_config(model={"dense_width": 48})], mesh)
  models = parallel.replicate([{"a": np.int32(2)}, {"b": {"c": np.int32(100)}}], mesh)
  images = np.arange(8, dtype=np.int32).reshape(8, 1, 1, 1)
  sizes = np.stack([np.arange(8, dtype=np.int32)] * 2, axis=1)
  np.testing.assert_array_equal(find(models, images, sizes), 102 * np.arange(8))


def one_instance(size, rows=()):
  """An instance that fills an image of `size`, with the leading axes `rows`."""
  full = lambda value, *shape, dtype=np.float32: np.full((*rows, *shape), value, dtype)
  return Instances(
      boxes=full(0, 1, 4) + np.float32([0, 0, size[1], size[0]]), labels=full(1, 1, dtype=np.int32),
      scores=full(0.5, 1), masks=full(1, 1, 4, 4), valid=full(True, 1, dtype=bool),
      dropped=full(1, dtype=np.int32), truncated_proposals=full(2, dtype=np.int32))


@pytest.mark.parametrize("max_shrink", [1.5, 0.0])
def test_large_images_are_found_as_by_detect(max_shrink):
  """Network inputs have 64 pixels; at a factor of 1.5 the second and the fourth are large."""
  sizes = [(64, 64), (150, 200), (64, 48), (130, 64)]
  source, read = make_source(sizes), []
  def find(models, images, image_sizes):
    found, real = one_instance((64, 64), images.shape[:1]), image_sizes[:, 0] > 0
    return found._replace(dropped=found.dropped * real,
                          truncated_proposals=found.truncated_proposals * real)
  def find_large(image):
    read.append(int(image[0, 0, 0]))
    return one_instance(image.shape[:2])._replace(scores=np.float32([0.9]))
  config = tiny.tiny_config(inference={"max_shrink": max_shrink}, data={"eval_batch_size": 1})
  batches = []
  results, counts = predict_split.predict_all(
      find, [], config, source, find_large=find_large,
      each_batch=lambda batch: batches.extend(batch.images[:, 0, 0, 0].tolist()))
  # Each size is filled up to four slots, one on each device.
  assert sorted(filter(None, batches)) == ([1, 3] if max_shrink else [1, 2, 3, 4])
  assert [record["image_id"] for record in results] == [100, 101, 102, 103]
  large = [record for record in results if record["score"] > 0.6]
  assert [record["image_id"] for record in large] == ([101, 103] if max_shrink else [])
  assert read == ([2, 4] if max_shrink else [])
  if max_shrink:
    assert [record["bbox"] for record in large] == [[0, 0, 200, 150], [0, 0, 64, 130]]
    assert [record["segmentation"]["size"] for record in large] == [[150, 200], [130, 64]]
  assert counts == {"truncated_proposals": 8, "dropped_instances": 4}


@pytest.mark.parametrize(("batch_size", "slots"), [(1, 4), (2, 4), (6, 8)])
def test_an_evaluation_batch_is_raised_to_a_multiple_of_the_devices(monkeypatch, batch_size, slots):
  def find_one(models, images, image_sizes, *, configs):
    return jax.tree.map(jnp.asarray, one_instance((64, 64), images.shape[:1]))

  monkeypatch.setattr(predict_split, "predict_ensemble", find_one)
  config, mesh = tiny.tiny_config(data={"eval_batch_size": batch_size}), parallel.make_mesh()
  source, shapes = make_source([(64, 64)] * 5), []
  results, _ = predict_split.predict_all(
      predict_split.make_predict([config], mesh), parallel.replicate([{}], mesh), config, source,
      each_batch=lambda batch: shapes.append(len(batch.images)))
  assert [record["image_id"] for record in results] == [100, 101, 102, 103, 104]
  assert shapes == [slots] * -(-5 // slots)


def test_instances_beyond_what_the_model_returns_are_counted():
  source = dataclasses.replace(
      make_source([(64, 64)] * 3),
      instance_counts=np.int32([5, 9, 5]), crowd_counts=np.int32([1, 0, 0]))
  config = tiny.tiny_config(inference={"max_instances": 4})
  with pytest.warns(UserWarning, match=r": 2 images with more than inference.max_instances = 4 "
                                       "instances, up to 9: those beyond it count as missed"):
    predict_split.warn_of_limit(source, config)
  predict_split.warn_of_limit(source, tiny.tiny_config(inference={"max_instances": 9}))
  tiled = tiny.tiny_config(inference={"max_instances": 4, "max_shrink": 0.5})
  predict_split.warn_of_limit(source, tiled, tiles=True)
  with pytest.warns(UserWarning, match="2 images"):
    predict_split.warn_of_limit(source, tiled)


def test_instances_beyond_the_proposals_are_counted():
  source = dataclasses.replace(
      make_source([(64, 64)] * 2), instance_counts=np.int32([5, 9]), crowd_counts=np.int32([0, 0]))
  config = tiny.tiny_config(inference={"max_instances": 20})
  few = dataclasses.replace(config.inference.proposals, num_proposals=6)
  config = dataclasses.replace(
      config, inference=dataclasses.replace(config.inference, proposals=few))
  with pytest.warns(UserWarning, match=r": 1 image with more than inference.proposals."
                                       "num_proposals = 6 instances, up to 9"):
    predict_split.warn_of_limit(source, config)
