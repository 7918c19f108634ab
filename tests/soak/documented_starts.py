"""Takes the first five steps of shipped configs: documented_starts.py [NAME ...].

`make soak` starts it, with tests/ on the import path.

Every number is the config's, but for small images, two of them a step, and a warm-up that ends at
the second step, so that the full rate is taken. Weights are random, scaled so that features are as
large as with ImageNet's weights on photographs. Without names, all configs run but the presets
`paper` and `release`, whose published schedules start from VGG-16's own fc6 and fc7. Ends with
status 1 if a loss is not finite or grows by half.
"""

import argparse
import dataclasses
import functools
import sys

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from helpers import tiny
from mnc_jax import configs
from mnc_jax.config import with_categories
from mnc_jax.model.forward import extract_stage_features
from mnc_jax.model.parameters import init_params
from mnc_jax.training.step import init_state, step_key, train_step

SIDE, STEPS, WARMUP, GROWTH = 192, 5, 2, 1.5
# Root mean square of conv5_3: see mnc_jax/model/stages/initial_scale.py.
RMS = 10.0
# Of the last normalisation in the blocks of a ResNet. With 1, as without weights, each of 33 would
# double the variance; with this, all together multiply it by 4, and features are about 1.
RESIDUAL_SCALE = 0.2
# Of the pixels, by which the first normalisation of pretrained weights divides.
PIXEL_SPREAD = 58.0
PRESETS = ("paper", "release")
CATEGORIES = {"sbd": 20, "coco": 80}


def main() -> int:
  """Runs the named configs, or all; returns 1 if one of them diverges."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("names", nargs="*", metavar="NAME",
                      default=[name for name in configs.names() if name not in PRESETS])
  diverged = [name for name in parser.parse_args().names if not stays_bounded(name)]
  print(f"diverged: {', '.join(diverged)}" if diverged else "all starts stay bounded")
  return 1 if diverged else 0


def stays_bounded(name) -> bool:
  """Takes the steps, prints the losses, and returns whether they are finite and do not grow."""
  config = configs.get(name)
  names = tuple(f"category {i}" for i in range(CATEGORIES.get(config.data.dataset, 4)))
  config = with_categories(dataclasses.replace(config, train=dataclasses.replace(
      config.train, warmup_steps=min(config.train.warmup_steps, WARMUP))), names)
  batch = tiny.make_batch(2, side=SIDE)
  step = jax.jit(functools.partial(train_step, config=config), donate_argnums=0)
  state, losses = init_state(start(config, batch), config), []
  for number in range(STEPS):
    state, metrics = step(state, batch, step_key(0, number, 0))
    losses.append(float(metrics["loss"]))
  print(f"{name:22} {'  '.join(f'{loss:7.3f}' for loss in losses)}", flush=True)
  return bool(np.all(np.isfinite(losses)) and max(losses) < GROWTH * losses[0])


def start(config, batch):
  """Returns fresh parameters, whose features have the scale of pretrained ones."""
  params = jax.jit(lambda: init_params(jax.random.key(0), config))()
  if config.model.normalize:
    return params
  flat = traverse_util.flatten_dict(params, sep="/")
  for path in flat:
    if path.endswith("bn3/scale"):
      flat[path] *= RESIDUAL_SCALE
    if path == "features/bn1/scale":
      flat[path] /= PIXEL_SPREAD
  if config.model.backbone == "vgg16":
    features = jax.jit(functools.partial(extract_stage_features, config=config))(
        params, batch.images, batch.image_sizes)
    last = next(path for path in flat if "conv5_3" in path and path.endswith("kernel"))
    flat[last] *= RMS / float(jnp.sqrt(jnp.mean(features.boxes ** 2)))
  return traverse_util.unflatten_dict(flat, sep="/")


if __name__ == "__main__":
  sys.exit(main())
