"""Optimiser states of checkpoints from before groups of parameters had states of their own."""

import re
from typing import Any

import jax

from mnc_jax.weights.tree import check_fit, leaves_by_path

# What `optax.partition` adds to the path of an array.
_GROUP = re.compile(r"inner_states/\w+/inner_state/")


def has_groups(tree: Any) -> bool:
  """Returns whether `tree` has an array that belongs to a group."""
  return any(map(_GROUP.search, leaves_by_path(tree)))


def split_into_groups(saved: Any, like: Any, origin: str) -> Any:
  """Returns the arrays of a state without groups as a state like `like`, which has groups.

  The state of frozen parameters is dropped: it never had an effect.

  Raises:
    ValueError: if an array is missing or has another shape, naming it and the `origin`.
  """
  found = leaves_by_path(saved)
  paths = [_GROUP.sub("", path) for path in leaves_by_path(like)]
  expected = dict(zip(paths, jax.tree.leaves(like), strict=True))
  check_fit(expected, {path: found[path] for path in paths if path in found}, origin)
  return jax.tree.unflatten(jax.tree.structure(like), [found[path] for path in paths])
