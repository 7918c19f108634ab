"""How weights move: the schedule of the rate, and groups of parameters that move differently."""

import collections
import functools

import jax
import optax

from mnc_jax.config import Config, ModelConfig, TrainConfig
from mnc_jax.model.backbones.features import frozen_layers
from mnc_jax.model.backbones.resnet import FROZEN_NORMS

GROUPS = ("weights", "biases", "scales", "frozen")


def learning_rate(config: TrainConfig) -> optax.Schedule:
  """Returns the rate that `config` asks for, by step: warm-up, then steps of ten or a cosine."""
  if config.schedule == "cosine":
    after = optax.cosine_decay_schedule(
        config.learning_rate, max(config.num_steps - config.warmup_steps, 1))
  else:
    # Boundaries count from the start of the run, join_schedules from the end of warm-up.
    after = optax.piecewise_constant_schedule(
        config.learning_rate, {step - config.warmup_steps: 0.1 for step in config.decay_steps})
  warmup = optax.linear_schedule(0.0, config.learning_rate, config.warmup_steps)
  return optax.join_schedules([warmup, after], [config.warmup_steps])


def parameter_groups(params, config: Config):
  """Returns a tree like `params` that names the group of each array.

  `frozen` are the layers of `config.model.frozen_blocks`, frozen batch normalisations and the
  mean of the pixels, which stay as they are loaded. Of the rest, `biases` move at `train.bias_rate`
  times the rate and `scales` of normalisations at the rate, both without decay; `weights` are
  decayed (release).
  """
  def group(path, value):
    if _is_frozen([part.key for part in path], config.model):
      return "frozen"
    if path[-1].key == "bias":
      return "biases"
    return "weights" if value.ndim > 1 else "scales"

  return jax.tree_util.tree_map_with_path(group, params)


def _is_frozen(names, config: ModelConfig):
  if not FROZEN_NORMS.isdisjoint(names):
    return True
  # Heads have layers with names of the backbone's, like conv1.
  return names[0].endswith("features") and names[1] in frozen_layers(config)


def make_optimizer(config: Config) -> optax.GradientTransformation:
  """Returns SGD with momentum (paper, section 4) or AdamW, with clipping, as `config` asks."""
  options, rate = config.train, learning_rate(config.train)
  weights, biases, frozen = (
      functools.partial(_in_group, name, config=config) for name in ("weights", "biases", "frozen"))
  clip = optax.clip_by_global_norm(options.clip_norm) if options.clip_norm else optax.identity()
  if options.optimizer == "adamw":
    rule = optax.adamw(rate, weight_decay=options.weight_decay, mask=weights)
  else:
    rule = optax.chain(optax.add_decayed_weights(options.weight_decay, mask=weights),
                       optax.sgd(rate, momentum=options.momentum))
  return optax.chain(clip, rule, optax.masked(optax.scale(options.bias_rate), biases),
                     optax.masked(optax.set_to_zero(), frozen))


def _in_group(name, params, *, config):
  return jax.tree.map(lambda group: group == name, parameter_groups(params, config))


def describe_groups(params, config: Config) -> str:
  """Returns a line a group of `params`: its arrays and numbers, rate and decay by `config`."""
  arrays, numbers = collections.Counter(), collections.Counter()
  for group, value in zip(jax.tree.leaves(parameter_groups(params, config)),
                          jax.tree.leaves(params), strict=True):
    arrays[group] += 1
    numbers[group] += value.size
  rates = {"weights": 1.0, "biases": config.train.bias_rate, "scales": 1.0, "frozen": 0.0}
  lines = ["parameters   arrays      numbers   rate    decay"]
  for group in GROUPS:
    decay = config.train.weight_decay if group == "weights" else 0.0
    lines.append(f"{group:10}{arrays[group]:9}{numbers[group]:13,}"
                 f"{config.train.learning_rate * rates[group]:7g}{decay:9g}")
  return "\n".join(lines)
