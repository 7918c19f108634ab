"""The instances of one image by one or more models: in one piece, or in tiles if it is large."""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import warnings

import jax
import numpy as np

from mnc_jax.coco.faults import count_noun
from mnc_jax.config import Config
from mnc_jax.data.contrast import adapt_image
from mnc_jax.data.image_files import make_image_batch
from mnc_jax.evaluation.limits import describe_limit, score_at_limit
from mnc_jax.evaluation.results import take_image, to_file_pixels
from mnc_jax.evaluation.tiles.merge import merge_tiles
from mnc_jax.evaluation.tiles.plan import plan_tiles
from mnc_jax.evaluation.tiles.run import find_in_tiles
from mnc_jax.model.inference import predict_ensemble
from mnc_jax.model.trained import Model
from mnc_jax.structs import Instances


def find_instances(models: Sequence[Model], image: np.ndarray, *, name: str = "the image",
                   min_score: float = 0.5, warn: Callable[[str], object] = warnings.warn,
                   beat: Callable[[int, int], None] = lambda done, tiles: None) -> Instances:
  """Finds the instances of one image, under the options in the configs of the models.

  Args:
    models: one or more, whose candidates vote together.
    image: [h, w, 3] RGB, uint8 or uint16.
    name: of the image in messages.
    min_score: that dropped instances must have for a message; above 0.
    warn: called with a message if more instances may reach `min_score` than the static shapes of
      inference hold (in tiles, those of each tile).
    beat: called with the numbers of tiles done and of all, after each batch of them.

  Returns:
    `Instances` as numpy arrays without padding, boxes in pixels of the image; they may reach
    outside of it.

  Raises:
    BrokenImageError: if the image fits into no bucket, naming it.
  """
  configs = [model.config for model in models]
  config = configs[0]
  compiled = _compile(tuple(map(config_of_program, configs)))
  find = lambda images, sizes: jax.device_get(
      compiled(tuple(model.params for model in models), images, sizes))
  plan = plan_tiles(image.shape[:2], config, name=name)
  if plan is None:
    images, sizes, info = make_image_batch(image, config.data, image_id=0, name=name)
    found = to_file_pixels(take_image(find(images, sizes), 0), info.scales[0])
    limits = [score_at_limit(found, configs)]
  else:
    tiles = find_in_tiles(find, adapt_image(image, config.data), plan, configs=configs,
                          beat=lambda done: beat(done, plan.num_tiles))
    found, limits = merge_tiles(tiles, plan.size, config.inference), tiles.limits.tolist()
    name = f"{count_noun(int(np.sum(tiles.limits >= min_score)), 'tile')} of {name}"
  message = describe_limit(limits, name, min_score, config)
  if message:
    warn(message)
  return found


def config_of_program(config: Config) -> Config:
  """Returns a config of all that `predict_ensemble` depends on, so that equal programs are shared.

  An exported model has no paths, a resumed run another number of steps, and tiles are cut outside
  of the program.
  """
  inference = dataclasses.replace(config.inference, max_shrink=0.0, tile_overlap=0.0)
  return Config(model=config.model, inference=inference)


# Each holds a program per bucket; more sets of options than this are seldom used in turns.
@functools.lru_cache(maxsize=8)
def _compile(configs: tuple[Config, ...]):
  return jax.jit(functools.partial(predict_ensemble, configs=configs))
