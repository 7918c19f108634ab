"""One kernel gradient for all uses of a dense layer."""

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from helpers import tiny
from mnc_jax.model import cascade, parameters, shared_kernels
from mnc_jax.model.flax_modules import apply_module
from mnc_jax.model.shared_kernels import fill_slots, make_slots

_IMAGES, _ROWS = 3, (4, 6)


class _Head(nn.Module):
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x):
    x = nn.relu(nn.Dense(7, dtype=self.dtype, name="first")(x))
    return nn.Dense(5, name="last")(x)


def _arguments(dtype):
  rng = np.random.default_rng(0)
  params = {name: {"kernel": rng.normal(size=shape).astype(dtype),
                   "bias": rng.normal(size=shape[1:]).astype(dtype)}
            for name, shape in {"first": (8, 7), "last": (7, 5)}.items()}
  return params, [rng.normal(size=(_IMAGES, rows, 8)).astype(dtype) for rows in _ROWS]


def _loss(params, inputs, layers, dtype):
  """The second use depends on the first."""
  slots = make_slots({"head": params}, {"head": layers}, images=_IMAGES, rows=_ROWS,
                     dtype=jnp.dtype(dtype))

  def apply(x, slots):
    with fill_slots({"head": params}, slots) as filled:
      return apply_module(_Head(dtype), filled["head"], x)

  def of_image(first, second, slots):
    moved = apply(first, slots[0]).sum()
    return jnp.sum(jnp.sin(apply(second * jnp.cos(moved), slots[1]))) + moved

  return jax.vmap(of_image)(*inputs, slots).sum()


def test_gradients_are_those_of_separate_uses_in_float64():
  with jax.enable_x64(True):
    arguments = _arguments(np.float64)
    ours, expected = (
        jax.jit(jax.grad(lambda *given, layers=layers: _loss(*given, layers, np.float64), (0, 1)))(
            *arguments) for layers in (("first", "absent"), ()))
  for found, right in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(found, right, rtol=0, atol=1e-13 * np.abs(right).max())


def test_both_uses_of_all_images_are_one_product():
  products = lambda layers: str(jax.make_jaxpr(jax.grad(
      lambda *given: _loss(*given, layers, np.float32)))(*_arguments(np.float32)))
  rows = _IMAGES * sum(_ROWS)
  assert products(("first",)).count(f"f32[{rows},8]") and f"f32[{rows},8]" not in products(())
  # The other products: forward, and of the input's gradient of the second use, whatever `layers`.
  assert products(()).count("dot_general[") - products(("first",)).count("dot_general[") == 1


def test_products_of_bfloat16_are_summed_in_float32():
  arguments = _arguments(np.float32)
  found, expected = (jax.grad(lambda *given, layers=layers: _loss(*given, layers, jnp.bfloat16))(
      *arguments)["first"]["kernel"] for layers in (("first",), ()))
  assert found.dtype == np.float32
  # Separate uses are rounded to 8 bits each.
  assert jnp.any(found.astype(jnp.bfloat16) != found)
  assert jnp.abs(found - expected).max() < 0.02 * jnp.abs(expected).max()


@pytest.mark.parametrize("gt_in_stage_4", [False, True])
def test_the_cascade_takes_one_gradient_of_each_dense_kernel(gt_in_stage_4):
  config = tiny.override(tiny.tiny_config(), model={"mask_head": "dense"},
                         train={"gt_in_stage_4": gt_in_stage_4})
  params = jax.eval_shape(lambda: parameters.init_params(jax.random.key(0), config))
  batch = tiny.make_batch(2)
  program = str(jax.make_jaxpr(jax.grad(lambda params: cascade.cascade_loss(
      params, batch, jax.random.key(1), config=config)[0]))(params))
  rows = 2 * (2 * config.train.rois_per_image + gt_in_stage_4 * batch.valid.shape[1])
  for stage, layers in shared_kernels._DENSE_LAYERS.items():
    for layer in layers:
      inputs = params[stage][layer]["kernel"].shape[0]
      assert f"f32[{rows},{inputs}]" in program, layer


@pytest.mark.parametrize("dtype,tolerance", [("float32", 1e-6), ("bfloat16", 3e-3)])
def test_the_cascade_has_the_gradient_of_separate_uses(monkeypatch, dtype, tolerance):
  """The rounding of each use's kernel gradient to bfloat16 is all that may differ."""
  config = tiny.override(tiny.tiny_config(), model={"mask_head": "dense", "compute_dtype": dtype})
  params = tiny.random_params(config)
  batch = tiny.make_batch(2)
  gradient = lambda: jax.jit(jax.grad(lambda params: cascade.cascade_loss(
      params, batch, jax.random.key(1), config=config)[0]))(params)
  ours = gradient()
  monkeypatch.setattr(shared_kernels, "_DENSE_LAYERS", {})
  separate = gradient()
  difference = optax.tree.norm(jax.tree.map(jnp.subtract, ours, separate))
  assert 0 < difference < tolerance * optax.tree.norm(separate)
