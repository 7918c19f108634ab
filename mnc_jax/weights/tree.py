"""Trees of arrays by the paths of their leaves, for messages that name them."""

import pathlib
from typing import Any

import jax

_ADVICE = "Use the config it was saved with, or other weights (another --workdir)."


class FitError(ValueError):
  """Arrays that were read are not those that the config needs."""


def check_fit(like: Any, saved: Any, origin: str | pathlib.Path) -> None:
  """Compares two trees of arrays (or shapes) path by path.

  Args:
    like: the tree that the config needs.
    saved: the tree that was read.
    origin: the file or folder of `saved`, for the message.

  Raises:
    FitError: naming the first path that is missing, extra or of another shape. Orbax and Flax
      would name neither the path nor both shapes.
  """
  expected, found = shapes_by_path(like), shapes_by_path(saved)
  for path in sorted(expected.keys() | found.keys()):
    if path not in found:
      raise FitError(f"{origin} has no {path}, which the config needs with shape "
                     f"{expected[path]}. {_ADVICE}")
    if path not in expected:
      raise FitError(f"{origin} has {path} with shape {found[path]}, which the config does not "
                     f"have. {_ADVICE}")
    if expected[path] != found[path]:
      raise FitError(f"{origin} has {path} with shape {found[path]}, but the config needs "
                     f"{expected[path]}. {_ADVICE}")


def shapes_by_path(tree: Any) -> dict[str, tuple[int, ...]]:
  """Returns {"a/b/c": shape} of the arrays, or shapes, of a tree."""
  return {path: tuple(leaf.shape) for path, leaf in leaves_by_path(tree).items()}


def leaves_by_path(tree: Any) -> dict[str, Any]:
  """Returns {"a/b/c": leaf} of a tree."""
  # Orbax returns tuples and NamedTuples as dicts or lists, so only the names are compared.
  paths, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in paths}
