"""The whole cascade: inference, and training steps, with random weights on random images."""

import functools
import resource
import sys

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import flops as benchmark_flops
from benchmarks.timing import matrix_rate, median_seconds
from mnc_jax.config import Config, DataConfig, ModelConfig, TrainConfig
from mnc_jax.model.inference import predict
from mnc_jax.model.parameters import init_params
from mnc_jax.structs import MASK_SIDE, Batch
from mnc_jax.training.step import init_state, train_step

OBJECTS = 8
MATRIX_SIZE = 8192


def make_config(options) -> Config:
  """Returns the paper's VGG-16 with five stages, at the sizes of the command line."""
  model = ModelConfig(
      num_categories=options.categories, dense_width=options.dense_width,
      mask_hidden=options.mask_hidden,
      compute_dtype=options.dtype, roi_method=options.roi_method, roi_chunk=options.roi_chunk)
  data = DataConfig(buckets=((options.height, options.width),), batch_size=options.batch)
  # So small that random weights do not run away from step to step.
  return Config(model=model, data=data, train=TrainConfig(learning_rate=1e-9))


def make_batch(options, config: Config) -> Batch:
  """Draws noise images with `OBJECTS` objects each, padded to the config's static shapes."""
  rng = np.random.default_rng(0)
  count, padded = options.batch, config.data.max_instances
  size = np.array([options.width, options.height])
  corners = rng.uniform(0, 0.5, (count, padded, 2)) * size
  sides = rng.uniform(0.2, 0.45, (count, padded, 2)) * size
  valid = np.broadcast_to(np.arange(padded) < OBJECTS, (count, padded))
  labels = rng.integers(1, options.categories, (count, padded))
  return Batch(
      images=rng.integers(0, 256, (count, options.height, options.width, 3)).astype(np.uint8),
      image_sizes=np.full((count, 2), size[::-1], np.int32),
      boxes=(np.concatenate([corners, corners + sides], -1) * valid[..., None]).astype(np.float32),
      labels=(labels * valid).astype(np.int32),
      masks=np.repeat(valid[..., None], MASK_SIDE**2, -1).astype(np.uint8).reshape(
          count, padded, MASK_SIDE, MASK_SIDE),
      areas=(sides.prod(-1) * valid).astype(np.float32),
      crowd=np.zeros((count, padded), bool),
      valid=valid)


def measure(options, torch_side):
  """Times the command's step and relates it to the operations it takes.

  Args:
    options: of the command line.
    torch_side: the module `benchmark_torchvision`, or None.

  Returns:
    `(rows, notes)`.
  """
  config = make_config(options)
  batch = make_batch(options, config)
  run = _training if options.command == "train" else _inference
  seconds, needed = run(config, jax.tree.map(jnp.asarray, batch), options.repeats)
  peak, peak_note = _peak_bytes(needed)
  theirs, their_peak = (None, None) if torch_side is None else torch_side.mask_rcnn_figures(
      options.command, batch.images, batch.boxes[:, :OBJECTS], batch.labels[:, :OBJECTS],
      categories=options.categories, dtype=options.dtype, repeats=options.repeats)
  rows = [
      _row("seconds a step", seconds, theirs),
      _row("images a second", options.batch / seconds, theirs and options.batch / theirs),
      _row("peak memory, GB", peak / 1e9, their_peak and their_peak / 1e9),
      _row("the compiled step alone, GB", needed / 1e9),
      *_arithmetic_rows(options, config, seconds)]
  return rows, [*_notes(options), peak_note]


def _row(name, ours, theirs=None):
  return {"name": name, "mnc_jax": ours, "torchvision": theirs}


def make_params(config: Config):
  """Draws weights of the shapes of `init_params`, without the minute to compile that."""
  shapes = jax.eval_shape(functools.partial(init_params, config=config), jax.random.key(0))
  rng = np.random.default_rng(1)

  def draw(path, leaf):
    if leaf.ndim < 2:
      # Pixels times a scale of 0 would make all features 0, and all scores equal.
      return jnp.full(leaf.shape, path[-1].key.endswith("scale"), leaf.dtype)
    spread = np.float32(1 / np.sqrt(np.prod(leaf.shape[:-1])))
    return jnp.asarray(spread * rng.standard_normal(leaf.shape, np.float32))

  return jax.tree_util.tree_map_with_path(draw, shapes)


def _inference(config, batch, repeats):
  params = make_params(config)
  arguments = (params, batch.images, batch.image_sizes)
  step = jax.jit(functools.partial(predict, config=config)).lower(*arguments).compile()
  seconds = median_seconds(
      lambda: step(*arguments), repeats=repeats, wait=jax.block_until_ready)
  return seconds, _step_bytes(step)


def _training(config, batch, repeats):
  state = init_state(make_params(config), config)
  key = jax.random.key(1)
  # The old state is given up to the step, as in a real run.
  step = jax.jit(functools.partial(train_step, config=config), donate_argnums=0)
  step = step.lower(state, batch, key).compile()

  def take_step():
    nonlocal state
    state, metrics = step(state, batch, key)
    return state, metrics

  return median_seconds(take_step, repeats=repeats, wait=jax.block_until_ready), _step_bytes(step)


def _step_bytes(compiled) -> int:
  """Returns what the compiler plans for arguments, results and everything between."""
  sizes = compiled.memory_analysis()
  return (sizes.argument_size_in_bytes + sizes.output_size_in_bytes
          + sizes.temp_size_in_bytes - sizes.alias_size_in_bytes)


def _peak_bytes(needed):
  """Returns the peak of the device or the process, and a sentence saying which."""
  statistics = jax.devices()[0].memory_stats() or {}
  if "peak_bytes_in_use" in statistics:
    return statistics["peak_bytes_in_use"], "peak memory: of the device, by its allocator"
  if jax.default_backend() != "cpu":
    return needed, "peak memory: as the compiler plans it; the device reports none"
  return (process_peak(),
          "peak memory: the largest resident size of this process, compilation included")


def process_peak() -> int:
  """Returns the largest resident size that this process had, in bytes."""
  # Kilobytes on Linux, bytes on macOS.
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
      1 if sys.platform == "darwin" else 1024)


def _arithmetic_rows(options, config, seconds):
  count = (benchmark_flops.training_flops if options.command == "train"
           else benchmark_flops.inference_flops)
  parts = count(options.height, options.width, config)
  rows = [_row(f"GFLOP an image: {name}", flops / 1e9) for name, flops in parts.items()]
  rate = options.batch * sum(parts.values()) / seconds
  rows += [_row("GFLOP an image", sum(parts.values()) / 1e9), _row("TFLOP/s", rate / 1e12)]
  if jax.default_backend() != "cpu":
    full = matrix_rate(options.dtype, size=MATRIX_SIZE, repeats=options.repeats)
    rows += [_row(f"TFLOP/s of a {MATRIX_SIZE} x {MATRIX_SIZE} matrix product", full / 1e12),
             _row("share of it", rate / full)]
  return rows


def _notes(options):
  return [f"VGG-16, five stages, {options.batch} x {options.height} x {options.width}, "
          f"{options.dtype}, RoIs by {options.roi_method}; median of {options.repeats} steps on "
          "one device",
          "FLOP: convolutions, dense layers and warps, a multiply-add as two; in training the "
          "backward pass too, without what it computes again",
          "torchvision: its Mask R-CNN (ResNet-50, FPN), another network for the same task"]
