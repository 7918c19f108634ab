"""The state that a run begins with, or goes on from."""

import pathlib

import jax

from mnc_jax import weights
from mnc_jax.config import Config, ModelConfig
from mnc_jax.config.validation import check_same_meaning
from mnc_jax.model.backbones.resnet import DEPTHS
from mnc_jax.model.cascade import init_params
from mnc_jax.training import checkpoint, run_folder
from mnc_jax.training.step import init_state


def start_state(config: Config, manager, source):
  """Returns the state to go on from, of the last checkpoint or a fresh one, and its notes."""
  if manager.latest_step() is not None:
    return go_on(config, manager, source)
  key = jax.random.key(config.train.seed)
  origin = "random weights"
  params = jax.eval_shape(lambda: init_params(key, config))
  if config.train.init_weights:
    params, report = weights.load_pretrained(
        params, config.train.init_weights, config=config.model,
        reset_categories=config.train.init_reset_categories,
        only_backbone=config.train.init_only_backbone, category_names=source.category_names)
    print(report)
    origin = f"{report.kind}: {pathlib.Path(config.train.init_weights).name}"
  else:
    check_fresh_start(config.model)
  return init_state(weights.initialise_missing(params, key, config), config), {"source": origin}


def go_on(config: Config, manager, source):
  """Returns the state of the last checkpoint, of a run or imported, and its notes."""
  workdir = manager.directory.parent
  check_same_meaning(run_folder.read_config(workdir).model, config.model, workdir)
  key = jax.random.key(config.train.seed)
  like = jax.eval_shape(lambda: init_state(init_params(key, config), config))
  if checkpoint.has_optimizer(manager):
    state = checkpoint.restore(manager, like, categories=source)
    print(f"Going on from the checkpoint of step {int(state.step)}.")
  elif config.train.init_weights:
    raise ValueError(f"{workdir} holds imported weights, but train.init_weights is "
                     f"{config.train.init_weights}: give another --workdir, or leave it out")
  else:
    params = checkpoint.restore_params(manager, like.params, categories=source)
    state = init_state(params, config)
    print("Starting from the imported weights of the workdir.")
  # Numbers to check are those of the imported weights alone.
  return state, {"source": checkpoint.saved_notes(manager).get("source", "unknown")}


def check_fresh_start(model: ModelConfig):
  """Refuses to train on what would stay random for ever.

  Raises:
    ValueError: if a part that never moves has no weights to load.
  """
  if model.backbone in DEPTHS and model.backbone_norm == "frozen_batch":
    raise ValueError(f"the batch normalisation of the {model.backbone} backbone is frozen, but "
                     "it starts from random weights: give --train.init-weights, or set "
                     "--model.backbone-norm group --model.frozen-blocks 0")
  if model.backbone != "small" and model.frozen_blocks:
    raise ValueError(f"{model.frozen_blocks} blocks of the {model.backbone} backbone are frozen, "
                     "but it starts from random weights: give --train.init-weights, or set "
                     "--model.frozen-blocks 0")
