"""The optimiser: learning-rate schedule, and groups of parameters with their own rules."""

import collections
from collections.abc import Hashable
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from mnc_jax.config import Config, ModelConfig, TrainConfig
from mnc_jax.model.backbones.features import backbone_layers, frozen_layers
from mnc_jax.model.backbones.resnet import FROZEN_NORMS
from mnc_jax.structs import Array


class GroupRule(NamedTuple):
  """How the parameters of a group are updated: by a factor of the learning rate, with a decay."""
  rate: float
  decay: float


def group_rules(config: TrainConfig) -> dict[str, GroupRule]:
  """Returns the rule of each group of `parameter_groups`; `frozen` parameters never change."""
  return {"weights": GroupRule(1.0, config.weight_decay),
          "biases": GroupRule(
              config.bias_rate, config.weight_decay if config.decay_biases else 0.0),
          "scales": GroupRule(1.0, 0.0),
          "frozen": GroupRule(0.0, 0.0)}


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
  mean and scale of the pixels. The others are `biases`, `scales` of normalisations, or `weights`.
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
  train = config.train
  accumulates = train.accumulate_steps > 1
  clip = (_clip_norm(train.clip_norm, None if accumulates else norm) if train.clip_norm
          else optax.identity())
  rules: dict[Hashable, optax.GradientTransformation] = {
      group: optax.set_to_zero() if group == "frozen" else _make_rule(train, step, rule)
      for group, rule in group_rules(train).items()}
  optimizer = _scale_backbone(config, optax.chain(
      clip, optax.partition(rules, functools.partial(parameter_groups, config=config))))
  if not accumulates:
    return optimizer
  return optax.MultiSteps(optimizer, train.accumulate_steps).gradient_transformation()


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


def _make_rule(config: TrainConfig, step, rule: GroupRule):
  schedule = learning_rate(config)
  # The updates are counted here, the steps of the run in the schedule.
  rate = lambda update: rule.rate * schedule(
      update * config.accumulate_steps if step is None else step)
  if config.optimizer == "adamw":
    return optax.adamw(rate, weight_decay=rule.decay)
  return optax.chain(
      optax.add_decayed_weights(rule.decay), optax.sgd(rate, momentum=config.momentum))


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
  lines = ["parameters   arrays      numbers       rate    decay"]
  for group, rule in group_rules(config.train).items():
    for factor in dict.fromkeys((1.0, config.train.backbone_rate)):
      rate = config.train.learning_rate * rule.rate * factor
      key = group, factor
      if factor == 1.0 or arrays[key]:
        lines.append(f"{group:10}{arrays[key]:9}{numbers[key]:13,}"
                     f"{rate:11g}{rule.decay:9g}")
  return "\n".join(lines)
