"""Flax modules: convolution; parameters and outputs without the collections that none here has."""

import functools
from typing import Any

from flax import linen as nn
import jax

from mnc_jax.ops.conv import conv_general_dilated
from mnc_jax.structs import Array

Conv = functools.partial(nn.Conv, conv_general_dilated=conv_general_dilated)
"""`nn.Conv`, whose kernel gradient of large maps is also fast on CPU."""


def init_module(module: nn.Module, key: jax.Array, *inputs: Array) -> dict:
  """Returns fresh parameters of `module`, whose arguments are `inputs`."""
  return dict(module.init(key, *inputs)["params"])


def apply_module(module: nn.Module, params: dict, *inputs: Array) -> Any:
  """Returns what `module` computes from `inputs` with `params`."""
  return module.apply({"params": params}, *inputs)
