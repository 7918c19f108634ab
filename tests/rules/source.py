"""The source of the library and of the scripts, as syntax trees, and what to ask of one."""

import ast
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def part_of(path):
  """Returns the part of the house that "ops/nms.py" or "train.py" belongs to."""
  return path.split("/")[0].removesuffix(".py")


def imported_modules(tree):
  """Returns (dotted name, line) of all that is imported; `from a import b` gives a.b."""
  found = []
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      found += [(alias.name, node.lineno) for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      base = "." * node.level + (node.module or "")
      found += [(f"{base}.{alias.name}", node.lineno) for alias in node.names]
  return found


def third_party(tree):
  """Returns the libraries imported that are neither Python's nor our own."""
  tops = {name.split(".")[0] for name, _ in imported_modules(tree)}
  ours = {"", "mnc_jax"} | {path.stem for path in (ROOT / "experiments").rglob("*.py")}
  return tops - set(sys.stdlib_module_names) - ours


def functions_of(tree, *, public):
  """Returns the functions of a module and the methods of its classes; all or the public ones."""
  if not public:
    return [node for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)]
  scopes = [tree] + [node for node in tree.body
                     if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
  return [node for scope in scopes for node in scope.body
          if isinstance(node, ast.FunctionDef) and not re.match("_[^_]", node.name)]


def sources(folder):
  """Returns {path inside the folder: syntax tree}."""
  return {path.relative_to(ROOT / folder).as_posix(): ast.parse(path.read_text(), str(path))
          for path in sorted((ROOT / folder).rglob("*.py"))}


LIBRARY = sources("mnc_jax")
SCRIPTS = sources("experiments")
