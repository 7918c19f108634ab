"""One loss function per stage. All in float32, each a mean over the rows it is defined on.

Their signatures are those of what `register_loss` adds.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from mnc_jax.config import TrainConfig, extensions
from mnc_jax.model.anchor_targets import AnchorTargets
from mnc_jax.model.roi_targets import RoiTargets
from mnc_jax.ops.boxes import as_float
from mnc_jax.structs import AnchorOutput, Array, StageOutput


def masked_mean(x: Array, mask: Array) -> jax.Array:
  """Returns the mean of `x` where `mask` is True; 0, with gradient 0, if it is False everywhere.

  Args:
    x: [...] values; those outside the mask must be finite.
    mask: [...] bool, or weights of 0 or more, broadcast against `x`.
  """
  x = as_float(x)  # In an integer dtype of `x` weights would be truncated.
  mask = jnp.broadcast_to(mask, x.shape).astype(x.dtype)
  total = jnp.sum(mask)
  return jnp.sum(x * mask) / jnp.where(total > 0, total, 1)


def smooth_l1(x: Array, *, sigma: float = 1.0) -> jax.Array:
  """Returns .5 (sigma x)^2 where |x| < 1 / sigma^2, else |x| - .5 / sigma^2.

  Girshick 2015, equation 3, with the sigma of Ren et al.'s code. [...] to [...]; the
  gradient is bounded by 1, and 0 at x = 0.
  """
  square = sigma**2
  size = jnp.abs(x)
  return jnp.where(size < 1 / square, 0.5 * square * x * x, size - 0.5 / square)


def _pick(rows, labels):
  """Returns of rows [N, C, ...] those of the labels [N], [N, ...].

  A sum over a mask: a gather has a scatter as gradient, and each takes several kernels.
  """
  chosen = jnp.arange(rows.shape[1])[None] == labels[:, None]
  return jnp.sum(rows, axis=1, where=chosen.reshape(chosen.shape + (1,) * (rows.ndim - 2)))


def _cross_entropy(logits, labels):
  """Returns the softmax cross entropy [N] of logits [N, C] and int labels [N]."""
  return jax.nn.logsumexp(logits, axis=1) - _pick(logits, labels)


def box_stage_loss(output: AnchorOutput, targets: AnchorTargets) -> jax.Array:
  """L1: softmax cross entropy and smooth L1 (sigma 3) over the sampled anchors.

  Both are divided by the number of sampled anchors (Ren et al. 2015, equation 1, with
  the balance of the release).

  Args:
    output: of stage 1, N anchors of one image.
    targets: of the same anchors.

  Returns:
    [] float32; 0, with gradient 0, if no anchor is sampled.
  """
  labels = targets.positive.astype(jnp.int32)
  objectness = _cross_entropy(output.objectness_logits, labels)
  distance = smooth_l1(output.box_deltas - targets.box_deltas, sigma=3.0).sum(axis=-1)
  return (masked_mean(objectness, targets.sampled)
          + masked_mean(distance * targets.positive, targets.sampled))


def mask_stage_loss(mask_logits: Array, targets: RoiTargets) -> jax.Array:
  """L2: binary cross entropy, mean over the pixels of the foreground RoIs (paper, eq. 3).

  Args:
    mask_logits: [R, M, M] of stage 2 (or 4).
    targets: of its RoIs; `masks` [R, M, M] are 0 or 1, or between if they are not binarised.

  Returns:
    [] float32; 0, with gradient 0, if no RoI is foreground.
  """
  entropy = optax.sigmoid_binary_cross_entropy(mask_logits, targets.masks)
  return masked_mean(entropy, (targets.foreground & targets.valid)[:, None, None])


def category_stage_loss(output: StageOutput, targets: RoiTargets, mask_labels: Array) -> jax.Array:
  """L3: two softmax cross entropies and the smooth L1 of the ground-truth category's deltas.

  Args:
    output: of stage 3.
    targets: of its RoIs.
    mask_labels: [R] int32 from `targets.mask_level_labels`.

  Returns:
    [] float32, the sum of three means over the valid RoIs (background RoIs have box distance 0);
    0, with gradient 0, if no RoI is valid.
  """
  deltas = _pick(output.box_deltas, targets.labels)
  distance = smooth_l1(deltas - targets.box_deltas).sum(axis=-1) * targets.foreground
  return (masked_mean(_cross_entropy(output.category_logits, mask_labels), targets.valid)
          + masked_mean(_cross_entropy(output.box_category_logits, targets.labels), targets.valid)
          + masked_mean(distance, targets.valid))


StageName = Literal["box", "mask", "category"]
# Those of `train.box_loss`, `mask_loss` and `category_loss` that are called "paper".
_PAPER: dict[StageName, Callable[..., jax.Array]] = {
    "box": box_stage_loss, "mask": mask_stage_loss, "category": category_stage_loss}


def register_loss(stage: StageName, name: str, loss: Callable[..., jax.Array]) -> None:
  """Makes a loss of your own available as `config.train.box_loss`, `mask_loss` or `category_loss`.

  Args:
    stage: "box" is stage 1, "mask" 2 and 4, "category" 3 and 5.
    name: lower-case letters, digits and underscores.
    loss: takes what `box_stage_loss`, `mask_stage_loss` or `category_stage_loss` of this module
      take, all of one image, and returns [] float32. It must be finite, with finite gradients, also
      if no anchor is sampled or no RoI is foreground (`masked_mean`). It is multiplied by
      `train.weight_box`, `weight_mask` or `weight_category`. Registering a name
      again replaces the loss, and drops the programs that were compiled with the earlier one.

  Raises:
    ValueError: if there is no such stage, or the name is "paper".

  Example:
    >>> import jax
    >>> import mnc_jax
    >>> from mnc_jax.model import losses
    >>> def squared_error(mask_logits, targets):
    ...   error = (jax.nn.sigmoid(mask_logits) - targets.masks) ** 2
    ...   return losses.masked_mean(error, (targets.foreground & targets.valid)[:, None, None])
    >>> mnc_jax.register_loss("mask", "squared_error", squared_error)
    >>> config = mnc_jax.TrainConfig(mask_loss="squared_error", weight_mask=2.0)
    >>> losses.find_loss("mask", config).__name__, config.weight_mask
    ('squared_error', 2.0)
  """
  if stage not in _PAPER:
    raise ValueError(f"there is no stage {stage!r}: {', '.join(_PAPER)}")
  if extensions.register(f"train.{stage}_loss", name, loss):
    # Programs of the earlier one were compiled for equal configs.
    jax.clear_caches()


def check_losses(config: TrainConfig) -> None:
  """Raises ValueError if a loss of `config` is not registered, before anything is compiled."""
  for stage in _PAPER:
    find_loss(stage, config)


def find_loss(stage: StageName, config: TrainConfig) -> Callable[..., jax.Array]:
  """Returns the loss of a stage.

  Raises:
    ValueError: if it is not registered.
  """
  field = f"{stage}_loss"
  name = getattr(config, field)
  return _PAPER[stage] if name == "paper" else extensions.find(f"train.{field}", name)
