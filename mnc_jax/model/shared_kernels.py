"""One kernel gradient for all uses of a dense layer.

Stages 4 and 5 use the dense layers of stages 2 and 3 again. Reverse mode takes a kernel's gradient
once per use and adds them up: for fc6 of VGG-16 two products of 411 MB each, and their sum. Here
each use leaves its inputs and the gradient of its outputs, a few megabytes, in a slot, and one
product over the rows of all images and uses makes the gradient.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib

from flax import linen as nn
import jax
import jax.numpy as jnp

from mnc_jax.config import Config
from mnc_jax.structs import Array, GroundTruth

_SLOT = "slot"
# On whole RoIs, which both rounds of stages 2 and 3 use.
_DENSE_LAYERS = {"mask_stage": ("reduce",),
                 "category_stage": ("fc6", "fc7", "fc6_mask", "fc7_mask")}


def slots_of_rounds(params: dict, ground_truth: GroundTruth, *, config: Config) -> list[dict]:
  """Returns the slots of the cascade's dense layers for each round of stages 2 and 3.

  Args:
    params: of the cascade.
    ground_truth: with leading B.
    config: the experiment, of 3 stages (one round) or 5.
  """
  images, padded = ground_truth.valid.shape
  rois = config.train.rois_per_image
  rows = (rois, rois + padded * config.train.gt_in_stage_4)[:1 + (config.train.num_stages == 5)]
  return make_slots(params, _DENSE_LAYERS, images=images, rows=rows,
                    dtype=jnp.dtype(config.model.compute_dtype))


def make_slots(params: dict, layers: Mapping[str, Sequence[str]], *, images: int,
               rows: Sequence[int], dtype: jnp.dtype) -> list[dict]:
  """Returns slots for each use of some dense layers.

  Args:
    params: {module: {layer: parameters}}.
    layers: {module: names of dense layers on [R, K]}. Names that `params` lacks are ignored.
    images: number B of images.
    rows: R of each use.
    dtype: of the layers' products.

  Returns:
    For each use {module: {layer: (zeros [B, R, K], zeros [B, R, outputs])}}, for `fill_slots`
    under `vmap`.

  Gradient:
    Flows into the kernels: one product over the rows of all images and uses, summed in float32
    at least.
  """
  uses = [{module: {} for module in layers} for _ in rows]
  for module, names in layers.items():
    for name in (name for name in names if name in params[module]):
      shapes = [(images, count) for count in rows]
      slots = _make_slots(params[module][name]["kernel"], shapes, dtype)
      for use, slot in zip(uses, slots, strict=True):
        use[module][name] = slot
  return uses


@contextlib.contextmanager
def fill_slots(params: dict, slots: dict) -> Iterator[dict]:
  """Yields parameters with which modules, applied inside, take kernel gradients through slots.

  Args:
    params: as for `make_slots`.
    slots: of one use and one image.
  """
  def use(layer, slot):
    # Without the stop each use would take the kernel's gradient as well.
    return {**layer, "kernel": jax.lax.stop_gradient(layer["kernel"]), _SLOT: slot}

  filled = {module: params[module] | {name: use(params[module][name], slot)
                                      for name, slot in of_module.items()}
            for module, of_module in slots.items()}
  with nn.intercept_methods(_fill_slot):
    yield params | filled


def _fill_slot(next_function, arguments, options, context):
  """Interceptor of Flax methods: a dense layer with a slot leaves there what its gradient needs."""
  outputs = next_function(*arguments, **options)
  module = context.module
  if not isinstance(module, nn.Dense) or not module.has_variable("params", _SLOT):
    return outputs
  return _leave(outputs, arguments[0], module.get_variable("params", _SLOT))


@jax.custom_vjp
def _leave(outputs, inputs, slot):
  """Returns `outputs`; the gradient of `slot` is (inputs, gradient of the outputs)."""
  del inputs, slot
  return outputs


def _leave_forward(outputs, inputs, slot):
  return outputs, inputs.astype(slot[0].dtype)


def _leave_backward(inputs, gradient):
  return gradient, None, (inputs, gradient)


_leave.defvjp(_leave_forward, _leave_backward)


def _make_slots(kernel: Array, leading, dtype):
  """Returns zeros for (inputs, outputs) per use; from their gradients comes that of the kernel."""
  def zeros(kernel):
    return tuple(tuple(jnp.zeros((*shape, width), dtype) for width in kernel.shape)
                 for shape in leading)

  def backward(_, slots):
    inputs, gradients = (
        jnp.concatenate([part.reshape(-1, width) for part in parts])
        for parts, width in zip(zip(*slots, strict=True), kernel.shape, strict=True))
    product = jax.lax.dot_general(
        inputs, gradients, (((0,), (0,)), ((), ())),
        preferred_element_type=jnp.promote_types(dtype, jnp.float32))
    return (product.astype(kernel.dtype),)

  slots = jax.custom_vjp(zeros)
  slots.defvjp(lambda kernel: (zeros(kernel), None), backward)
  return slots(kernel)
