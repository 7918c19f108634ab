"""How functions and files look: defaults, the names of keys, what is caught, file names."""

import ast
import pathlib

from rules.imports import HOST_PARTS
from rules.source import functions_of, part_of

KEY_MISNOMERS = {"rng", "rngs", "prng", "rng_key", "prng_key", "random_key", "seed_key", "keys"}
VAGUE_FILES = {"util", "utils", "helpers", "misc", "common"}


def check_defaults(path, tree):
  """Arguments with defaults are keyword-only in public functions."""
  return [f"{path}:{node.lineno}: {node.name} has a default that is not keyword-only"
          for node in functions_of(tree, public=True) if node.args.defaults]


def check_keys(path, tree):
  """A random key is called `key`. (On the host, `rng` may be a generator of numpy.)"""
  if part_of(path) in HOST_PARTS:
    return []
  faults = []
  for node in functions_of(tree, public=False):
    arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
    faults += [f"{path}:{node.lineno}: argument {argument.arg!r}; a random key is called 'key'"
               for argument in arguments if argument.arg in KEY_MISNOMERS]
  return faults


def check_mutable_defaults(path, tree):
  """No default is a list, dict or set, which all calls would share."""
  mutable = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
  def is_mutable(node):
    made = isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("list", "dict", "set")
    return made or isinstance(node, mutable)
  return [f"{path}:{node.lineno}: mutable default" for node in functions_of(tree, public=False)
          if any(map(is_mutable, node.args.defaults + node.args.kw_defaults))]


def check_excepts(path, tree):
  """No `except:` without saying what."""
  return [f"{path}:{node.lineno}: bare except" for node in ast.walk(tree)
          if isinstance(node, ast.ExceptHandler) and node.type is None]


def check_file_name(path, tree):
  """No file is a drawer for anything."""
  del tree
  return [f"{path}: name a file after what it does"] if (
      pathlib.PurePath(path).stem in VAGUE_FILES) else []


CHECKS = (check_defaults, check_keys, check_mutable_defaults, check_excepts, check_file_name)
