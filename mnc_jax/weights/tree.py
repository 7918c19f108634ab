"""Trees of arrays by the paths of their leaves, for messages that name them."""

import jax

_ADVICE = "Use the config it was saved with, or other weights (another --workdir)."


def check_fit(like, saved, origin) -> None:
  """Compares two trees of arrays (or shapes) path by path.

  Args:
    like: what the config asks for.
    saved: what there is.
    origin: where `saved` is from, for the message.

  Raises:
    ValueError: naming the first path that is missing, left over or of another shape. Orbax
      and Flax would name neither the path nor both shapes.
  """
  expected, found = shapes_by_path(like), shapes_by_path(saved)
  for path in sorted(expected.keys() | found.keys()):
    if path not in found:
      raise ValueError(f"{origin} has no {path}, which the config asks for with shape "
                       f"{expected[path]}. {_ADVICE}")
    if path not in expected:
      raise ValueError(f"{origin} has {path} with shape {found[path]}, which the config does not "
                       f"ask for. {_ADVICE}")
    if expected[path] != found[path]:
      raise ValueError(f"{origin} has {path} with shape {found[path]}, but the config asks for "
                       f"{expected[path]}. {_ADVICE}")


def shapes_by_path(tree) -> dict:
  """Returns {"a/b/c": shape} of the arrays, or shapes, of a tree."""
  return {path: tuple(leaf.shape) for path, leaf in leaves_by_path(tree).items()}


def leaves_by_path(tree) -> dict:
  """Returns {"a/b/c": leaf} of a tree."""
  # Orbax gives tuples and NamedTuples back as dicts or lists, so only the names are compared.
  paths, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {"/".join(map(_key_name, path)): leaf for path, leaf in paths}


def _key_name(key):
  for field in ("key", "name", "idx"):
    if hasattr(key, field):
      return str(getattr(key, field))
  return str(key)
