"""Shipped configurations by name: one module each, with a `get_config()`; and the presets."""

import difflib
import importlib
import pkgutil

from mnc_jax.config import Config, paper, release

_PRESETS = {"paper": paper, "release": release}


def names() -> tuple[str, ...]:
  """Returns the names that `get` accepts, sorted."""
  return tuple(sorted([*_PRESETS, *(module.name for module in pkgutil.iter_modules(__path__))]))


def get(name: str) -> Config:
  """Returns a shipped configuration.

  Args:
    name: one of `names()`: a module of this package, or a preset of `mnc_jax.config`.

  Raises:
    ValueError: if there is none of that name; the message lists those that there are.

  Example:
    >>> from mnc_jax import configs
    >>> configs.get("shapes").train.num_steps
    700
  """
  if name in _PRESETS:
    return _PRESETS[name]()
  if name not in names():
    near = difflib.get_close_matches(name, names(), n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise ValueError(f"no shipped config is called {name!r}.{hint} Shipped are: "
                     f"{', '.join(names())}")
  return importlib.import_module(f"{__name__}.{name}").get_config()
