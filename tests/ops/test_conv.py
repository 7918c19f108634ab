"""Convolution whose kernel gradient is a product for each cell of the kernel."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnc_jax.ops import conv

_LAYOUT = ("NHWC", "HWIO", "NHWC")
# Name, inputs, kernel, strides, padding: those of VGG-16, of ResNets, and an odd one.
_CASES = {
    "3 x 3": ((2, 14, 15, 128), (3, 3, 128, 128), (1, 1), "SAME"),
    "1 x 1": ((2, 14, 15, 256), (1, 1, 256, 64), (1, 1), ((0, 0), (0, 0))),
    "1 x 1, stride 2": ((2, 14, 15, 256), (1, 1, 256, 64), (2, 2), ((0, 0), (0, 0))),
    "3 x 3, stride 2": ((2, 14, 15, 128), (3, 3, 128, 128), (2, 2), ((1, 1), (1, 1))),
    "2 x 3, uneven": ((1, 14, 15, 128), (2, 3, 128, 128), (1, 2), ((0, 1), (2, 0))),
    "no padding": ((1, 14, 15, 128), (3, 3, 128, 128), (1, 1), "VALID"),
}


@pytest.fixture(autouse=True)
def _small_maps_count_as_large(monkeypatch):
  monkeypatch.setattr(conv, "_MIN_NUMBERS", 0)
  monkeypatch.setattr(conv, "_MIN_KERNEL", 0)


def _loss(convolve, case):
  _, _, strides, padding = _CASES[case]
  apply = functools.partial(
      convolve, window_strides=strides, padding=padding, dimension_numbers=_LAYOUT)
  return lambda x, w: jnp.sum(jnp.sin(apply(x, w)))


def _arguments(case, dtype):
  rng = np.random.default_rng(0)
  inputs, kernel, _, _ = _CASES[case]
  return (jnp.asarray(rng.normal(size=inputs), dtype),
          jnp.asarray(rng.normal(size=kernel) / np.sqrt(np.prod(kernel[:-1])), dtype))


@pytest.mark.parametrize("case", _CASES)
def test_gradients_are_those_of_lax_in_float64(case):
  with jax.enable_x64(True):
    arguments = _arguments(case, np.float64)
    ours, expected = (jax.jit(jax.value_and_grad(_loss(function, case), argnums=(0, 1)))(*arguments)
                      for function in (conv.conv_general_dilated, jax.lax.conv_general_dilated))
  assert ours[0] == expected[0]
  for found, right in zip(ours[1], expected[1], strict=True):
    np.testing.assert_allclose(found, right, rtol=0, atol=1e-12 * np.abs(right).max())


def test_the_kernel_gradient_is_by_products_on_cpu_only_where_maps_are_large(monkeypatch):
  arguments = _arguments("3 x 3", np.float32)
  lower = lambda platform: jax.jit(jax.grad(
      _loss(conv.conv_general_dilated, "3 x 3"), argnums=(0, 1))).trace(
          *arguments).lower(lowering_platforms=(platform,)).as_text()
  by_products = lower("cpu")
  assert by_products.count("dot_general") == 1  # In a loop over the nine cells.
  assert "tensor<9x128x128xf32>" in by_products
  assert lower("tpu").count("dot_general") == 0
  monkeypatch.setattr(conv, "_MIN_NUMBERS", 1 + arguments[0].size)
  assert lower("cpu").count("dot_general") == 0


def test_products_of_bfloat16_are_summed_in_float32():
  arguments = _arguments("3 x 3", jnp.bfloat16)
  found = jax.jit(jax.grad(_loss(conv.conv_general_dilated, "3 x 3"), argnums=1))(*arguments)
  exact = jax.grad(_loss(jax.lax.conv_general_dilated, "3 x 3"), argnums=1)(
      *(argument.astype(jnp.float32) for argument in arguments))
  assert found.dtype == jnp.bfloat16
  # The sine's gradient is rounded to 8 bits before the sum, the sum once more.
  assert jnp.abs(found.astype(jnp.float32) - exact).max() < 0.01 * jnp.abs(exact).max()


def test_images_under_vmap_add_up():
  x, w = _arguments("3 x 3", np.float32)
  loss = _loss(conv.conv_general_dilated, "3 x 3")
  one_by_one = lambda w: jax.vmap(lambda image: loss(image[None], w))(x).sum()
  summed, whole = jax.jit(jax.grad(one_by_one))(w), jax.jit(jax.grad(loss, argnums=1))(x, w)
  np.testing.assert_allclose(summed, whole, rtol=0, atol=2e-6 * np.abs(whole).max())


def test_on_accelerators_images_under_vmap_share_one_kernel_gradient():
  x, w = _arguments("3 x 3", np.float32)
  loss = _loss(conv.conv_general_dilated, "3 x 3")
  one_by_one = lambda w: jax.vmap(lambda image: loss(image[None], w))(x).sum()
  program = jax.jit(jax.grad(one_by_one)).trace(w).lower(lowering_platforms=("tpu",)).as_text()
  assert "tensor<2x3x3x128x128xf32>" not in program
  assert program.count("stablehlo.convolution") == 2  # Forward, and the kernel's gradient.


@pytest.mark.parametrize("options", [{"rhs_dilation": (2, 2)}, {"feature_group_count": 2}])
def test_dilated_and_grouped_convolutions_are_left_to_lax(options):
  x, w = _arguments("3 x 3", np.float32)
  w = w[:, :, :128 // options.get("feature_group_count", 1)]

  def gradient(function):
    convolve = functools.partial(function, window_strides=(1, 1), padding="SAME",
                                 dimension_numbers=_LAYOUT, **options)
    return jax.jit(jax.grad(lambda w: jnp.sum(jnp.sin(convolve(x, w)))))(w)

  np.testing.assert_array_equal(
      gradient(conv.conv_general_dilated), gradient(jax.lax.conv_general_dilated))


def test_another_layout_is_left_to_lax():
  x, w = _arguments("3 x 3", np.float32)
  x = x[..., :15]  # [2, 14, 15, 15]: also valid as [B, K, H, W] with 14 channels.
  w = jnp.asarray(np.random.default_rng(1).normal(size=(64, 14, 3, 3)), jnp.float32)
  ours, expected = (jax.jit(jax.grad(lambda w, function=function: jnp.sum(
      jnp.sin(function(x, w, (1, 1), "SAME")))))(w)
                    for function in (conv.conv_general_dilated, jax.lax.conv_general_dilated))
  np.testing.assert_array_equal(ours, expected)


# Name, inputs, strides, padding: blocks of images, of rows, of one row, and of uneven strides.
_BLOCKS = {
    "images": ((6, 4, 4, 16), (1, 1), "SAME"),
    "rows": ((2, 12, 8, 16), (1, 1), "SAME"),
    "single rows": ((1, 5, 40, 16), (1, 1), "SAME"),
    "strides": ((2, 12, 9, 16), (2, 1), ((1, 0), (0, 1))),
}


@pytest.mark.parametrize("under_vmap", [False, True])
@pytest.mark.parametrize("case", _BLOCKS)
def test_gradients_by_blocks_are_those_of_lax_in_float64(case, under_vmap, monkeypatch):
  for name, value in {"_MIN_KERNEL": 128 * 128, "_MIN_ALL_CELLS": 0, "_BLOCK": 40}.items():
    monkeypatch.setattr(conv, name, value)
  shape, strides, padding = _BLOCKS[case]
  rng = np.random.default_rng(0)

  def loss(convolve, x, w):
    convolve = functools.partial(
        convolve, window_strides=strides, padding=padding, dimension_numbers=_LAYOUT)
    return jnp.sum(jnp.sin(jax.vmap(lambda x: convolve(x, w))(x) if under_vmap else convolve(x, w)))

  with jax.enable_x64(True):
    x, w = rng.normal(size=(3,) * under_vmap + shape), rng.normal(size=(3, 2, 16, 5))
    ours, expected = (jax.jit(jax.grad(functools.partial(loss, function), argnums=(0, 1)))(x, w)
                      for function in (conv.conv_general_dilated, jax.lax.conv_general_dilated))
  for found, right in zip(ours, expected, strict=True):
    np.testing.assert_allclose(found, right, rtol=0, atol=1e-12 * np.abs(right).max())


@pytest.mark.parametrize("shape, by_blocks", [
    ((32, 8, 8, 48), True),  # The RoIs of an image.
    ((8, 48, 48, 48), True),
    ((8, 24, 24, 64), False),  # Too few cells,
    ((8, 192, 192, 3), False),  # too few channels.
])
def test_few_channels_are_by_blocks_where_cells_are_many(shape, by_blocks, monkeypatch):
  monkeypatch.setattr(conv, "_MIN_KERNEL", 128 * 128)
  convolve = functools.partial(conv.conv_general_dilated, window_strides=(1, 1), padding="SAME",
                               dimension_numbers=_LAYOUT)
  gradient = jax.jit(jax.grad(lambda w, x: convolve(x, w).sum()))
  lower = lambda platform: gradient.trace(
      jax.ShapeDtypeStruct((3, 3, shape[-1], 16), np.float32),
      jax.ShapeDtypeStruct(shape, np.float32)).lower(lowering_platforms=(platform,)).as_text()
  assert lower("cpu").count("dot_general") == 9 * by_blocks
  assert lower("cpu").count("stablehlo.while") == by_blocks
  assert lower("tpu").count("stablehlo.while") == 0
