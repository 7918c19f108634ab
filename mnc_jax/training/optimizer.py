"""The optimiser: learning-rate schedule, and groups of parameters with their own rules."""

import collections
from collections.abc import Hashable
import functools

import jax
import jax.numpy as jnp
import optax

from mnc_jax.config import Config, ModelConfig, TrainConfig
from mnc_jax.model.backbones.features import backbone_layers, frozen_layers
from mnc_jax.model.backbones.resnet import FROZEN_NORMS
from mnc_jax.structs import Array

GROUPS = ("weights", "biases", "scales", "frozen")


def learning_rate(config: TrainConfig) -> optax.Schedule:
  """Returns the learning rate by step: warm-up, then drops by ten or a cosine.

  With `accumulate_steps` k, the rate of a step is that of the first of the k steps of its update.
  """
  if config.schedule == "cosine":
    after = optax.cosine_decay_schedule(
        config.learning_rate, max(config.num_steps - config.warmup_steps, 1))
  else:
    # Boundaries count from the start of the run, join_schedules from the end of warm-up.
    after = optax.piecewise_constant_schedule(
        config.learning_rate, {step - config.warmup_steps: 0.1 for step in config.decay_steps})
  # Not from 0: the first step would compute gradients for nothing.
  warmup = optax.linear_schedule(config.learning_rate / (config.warmup_steps + 1),
                                 config.learning_rate, config.warmup_steps)
  schedule = optax.join_schedules([warmup, after], [config.warmup_steps])
  size = config.accumulate_steps
  return (lambda step: schedule(jnp.asarray(step) // size * size)) if size > 1 else schedule


def parameter_groups(params: dict, config: Config) -> dict:
  """Returns a tree like `params` with the name of each array's group.

  `frozen` are the layers of `config.model.frozen_blocks`, frozen batch normalisations and the
  mean and scale of the pixels; they never change. Of the others, `weights` are decayed, `scales`
  of normalisations are not; `biases` have `train.bias_rate` times the learning rate, and are
  decayed at it if `train.decay_biases` (release).
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
  return _in_features(names, frozen_layers(config))


def _in_features(names, layers):
  # Heads have layers with names of the backbone's, like conv1.
  return names[0].endswith("features") and names[1] in layers


def make_optimizer(config: Config, *, norm: Array | None = None, step: Array | None = None
                   ) -> optax.GradientTransformation:
  """Returns SGD with momentum (paper, section 4) or AdamW, with clipping, as set in `config`.

  Frozen parameters have no state, but for the zeros of a mean gradient. Their gradients must be 0,
  as `update_state` gives them, so that the norm, which is clipped, is that of the others. With
  `train.accumulate_steps` k, each k-th update is that of the mean gradient, of which the norm is
  clipped; the others are 0.

  Args:
    config: of the run.
    norm: [] of the gradients, if the update has only parts of them; None: it is computed.
    step: [] of the run, for the learning rate; None: the number of updates times
      `accumulate_steps`, if that was never changed.
  """
  options = config.train
  accumulates = options.accumulate_steps > 1
  clip = (_clip_norm(options.clip_norm, None if accumulates else norm) if options.clip_norm
          else optax.identity())
  decays = _decays(options)
  rules: dict[Hashable, optax.GradientTransformation] = {
      "weights": _rule(options, step, decay=decays["weights"]),
      "biases": _rule(options, step, decay=decays["biases"], rate_factor=options.bias_rate),
      "scales": _rule(options, step),
      "frozen": optax.set_to_zero()}
  optimizer = _scale_backbone(config, optax.chain(
      clip, optax.partition(rules, functools.partial(parameter_groups, config=config))))
  if not accumulates:
    return optimizer
  return optax.MultiSteps(optimizer, options.accumulate_steps).gradient_transformation()


def _clip_norm(max_norm, norm):
  """Scales gradients of a larger norm down to `max_norm`, as `optax.clip_by_global_norm`."""
  def clip(gradients, _=None):
    length = optax.tree.norm(gradients) if norm is None else norm
    # One factor for all: XLA on CPU would compile a choice and a division of its own per array.
    factor = jnp.where(length < max_norm, 1.0, max_norm / length)
    return jax.tree.map(lambda x: x * factor.astype(x.dtype), gradients)

  return optax.stateless(clip)


def _scale_backbone(config, optimizer):
  """Multiplies the updates of the backbone's own layers by `train.backbone_rate`."""
  if config.train.backbone_rate == 1.0:
    return optimizer

  def update(updates, state, params=None):
    updates, state = optimizer.update(updates, state, params)
    return jax.tree.map(jnp.multiply, updates, _backbone_rates(updates, config)), state

  return optax.GradientTransformation(optimizer.init, update)


def _backbone_rates(params, config):
  """Returns a tree like `params` with the factor of each array's learning rate."""
  layers = backbone_layers(config.model)
  return jax.tree_util.tree_map_with_path(
      lambda path, _: config.train.backbone_rate if _in_features(
          [part.key for part in path], layers) else 1.0, params)


def _decays(options: TrainConfig) -> dict[str, float]:
  """Returns the weight decay of each group."""
  return {"weights": options.weight_decay, "scales": 0.0, "frozen": 0.0,
          "biases": options.weight_decay if options.decay_biases else 0.0}


def _rule(options: TrainConfig, step, *, decay: float = 0.0, rate_factor: float = 1.0):
  schedule = learning_rate(options)
  # The updates are counted here, the steps of the run in the schedule.
  rate = lambda update: rate_factor * schedule(
      update * options.accumulate_steps if step is None else step)
  if options.optimizer == "adamw":
    return optax.adamw(rate, weight_decay=decay)
  return optax.chain(optax.add_decayed_weights(decay), optax.sgd(rate, momentum=options.momentum))


def describe_groups(params: dict, config: Config) -> str:
  """Returns a table of the groups: their arrays and numbers, learning rate and decay.

  Groups of which the backbone's layers have another rate are a line for these and one for others.
  """
  arrays, numbers = collections.Counter(), collections.Counter()
  for group, factor, value in zip(*map(jax.tree.leaves, (
      parameter_groups(params, config), _backbone_rates(params, config), params)), strict=True):
    key = group, 1.0 if group == "frozen" else factor
    arrays[key] += 1
    numbers[key] += value.size
  rates = {"weights": 1.0, "biases": config.train.bias_rate, "scales": 1.0, "frozen": 0.0}
  lines = ["parameters   arrays      numbers       rate    decay"]
  for group in GROUPS:
    for factor in dict.fromkeys((1.0, config.train.backbone_rate)):
      rate = config.train.learning_rate * rates[group] * factor
      key = group, factor
      if factor == 1.0 or arrays[key]:
        lines.append(f"{group:10}{arrays[key]:9}{numbers[key]:13,}"
                     f"{rate:11g}{_decays(config.train)[group]:9g}")
  return "\n".join(lines)
