"""Parameters and outputs of Flax modules, without the collections that no module here has."""

from typing import Any

from flax import linen as nn
import jax

from mnc_jax.structs import Array


def init_module(module: nn.Module, key: jax.Array, *inputs: Array) -> dict:
  """Returns fresh parameters of `module`, whose arguments are `inputs`."""
  return dict(module.init(key, *inputs)["params"])


def apply_module(module: nn.Module, params: dict, *inputs: Array) -> Any:
  """Returns what `module` computes from `inputs` with `params`."""
  return module.apply({"params": params}, *inputs)
