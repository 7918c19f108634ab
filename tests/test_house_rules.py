"""The rules of the house, read from the source: who imports whom, and how functions look."""

import ast
import configparser
import pathlib
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]

# Each part of mnc_jax and what it may import of mnc_jax. The arrows point one way.
_STAGES = {"config", "structs", "ops", "pixels", "resnet", "stages"}
_CASCADE = _STAGES | {"targets", "anchor_targets", "losses", "cascade"}
_ABOVE = _CASCADE | {
    "config_json", "config_check", "run_folder", "tree_shapes", "inference", "train",
    "checkpoint", "weights", "results"}
MAY_IMPORT = {
    "config": set(),
    "config_json": {"config"},
    "config_check": {"config"},
    "run_folder": {"config", "config_json"},
    "tree_shapes": set(),
    "pixels": {"config"},
    "structs": {"config"},
    "ops": {"structs", "ops"},
    # Two stages are made of the blocks of a ResNet, and stages do not know each other.
    "resnet": {"config", "structs", "ops", "pixels"},
    "stages": {"config", "structs", "ops", "pixels", "resnet"},
    "targets": _STAGES,
    "anchor_targets": _STAGES | {"targets"},
    "losses": _STAGES | {"targets", "anchor_targets"},
    "cascade": _CASCADE,
    "views": _STAGES,
    "inference": _CASCADE | {"views"},
    "optimizer": _STAGES,
    "train": _CASCADE | {"optimizer"},
    "parallel": _CASCADE | {"inference", "train"},
    "checkpoint": _ABOVE,
    "diagnosis": _CASCADE | {"train", "tree_shapes"},
    "watchdog": set(),
    "weights": _ABOVE,
    "self_check": _CASCADE,
    "results": _ABOVE | {"metrics"},
    "segmentations": set(),
    "data": {"config", "structs", "segmentations", "data"},
    "metrics": {"config", "structs", "segmentations", "metrics"},
    "visualize": {"config", "structs"},
    "report": {"metrics", "visualize", "report"},
}
# Parts that work on the host alone.
HOST_PARTS = {"segmentations", "data", "metrics", "visualize", "report"}
DEVICE_LIBRARIES = {"jax", "flax", "optax", "chex"}
# What knows of many devices; parallel.py alone says it.
DEVICE_NAMES = {"pmap", "pmean", "psum", "all_gather", "shard_map", "axis_name", "axis_index",
                "replicate", "unreplicate"}
KEY_MISNOMERS = {"rng", "rngs", "prng", "rng_key", "prng_key", "random_key", "seed_key", "keys"}
VAGUE_FILES = {"util", "utils", "helpers", "misc", "common"}
# The library's core and the benchmark run on a bare accelerator machine. Where chex is not
# installed there, the benchmark puts empty assertions in its place.
BARE_LIBRARIES = {"jax", "flax", "optax", "chex", "numpy"}
OPTIONAL_LIBRARIES = {"torch", "torchvision"}
# Where the name to import is not the name to install, and what others import for us.
DISTRIBUTIONS = {"cv2": "opencv-python-headless", "tensorflow_datasets": "tensorflow-datasets",
                 "absl": "absl-py", "orbax": "orbax-checkpoint", "PIL": "pillow"}
NEEDED_BY_OTHERS = {"jaxlib", "array_record", "importlib_resources"}


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


def check_imports(path, tree):
  """Imports inside mnc_jax follow the arrows, and stages do not know each other."""
  part = part_of(path)
  if part not in MAY_IMPORT:
    return [f"{path}: say in MAY_IMPORT what {part!r} may import"]
  faults = []
  for name, line in imported_modules(tree):
    pieces = name.split(".")
    if name.startswith("."):
      faults.append(f"{path}:{line}: relative import")
    elif pieces[0] == "mnc_jax" and pieces[1] not in MAY_IMPORT[part]:
      faults.append(f"{path}:{line}: {part} must not import {pieces[1]}")
    elif pieces[0] in DEVICE_LIBRARIES and part in HOST_PARTS:
      faults.append(f"{path}:{line}: {part} works on the host and must not import {pieces[0]}")
  return faults


def check_devices(path, tree):
  """Only parallel.py speaks of many devices."""
  if path == "parallel.py":
    return []
  faults = []
  for node in ast.walk(tree):
    for field in ("id", "attr", "arg", "name"):
      if getattr(node, field, None) in DEVICE_NAMES:
        line = getattr(node, "lineno", "?")
        faults.append(f"{path}:{line}: {getattr(node, field)} belongs in parallel.py")
  return faults


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


def check_docstrings(path, tree):
  """Modules, public functions, classes and methods say what they are for."""
  classes = [node for node in tree.body
             if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
  named = [node for node in functions_of(tree, public=True) if not node.name.startswith("__")]
  faults = [f"{path}:{node.lineno}: {node.name} has no docstring"
            for node in classes + named if not ast.get_docstring(node)]
  return faults if ast.get_docstring(tree) else [*faults, f"{path}: no docstring"]


def check_file_name(path, tree):
  """No file is a drawer for anything."""
  del tree
  return [f"{path}: name a file after what it does"] if (
      pathlib.PurePath(path).stem in VAGUE_FILES) else []


CHECKS = (check_imports, check_devices, check_defaults, check_keys, check_mutable_defaults,
          check_excepts, check_docstrings, check_file_name)
EVERYWHERE = (check_mutable_defaults, check_excepts, check_file_name)


def sources(folder):
  """Returns {path inside the folder: syntax tree}."""
  return {path.relative_to(ROOT / folder).as_posix(): ast.parse(path.read_text(), str(path))
          for path in sorted((ROOT / folder).rglob("*.py"))}


LIBRARY = sources("mnc_jax")
SCRIPTS = sources("experiments")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_library_keeps_the_rule(check):
  assert len(LIBRARY) > 15
  faults = [fault for path, tree in LIBRARY.items() for fault in check(path, tree)
            if not (check is check_imports and path == "__init__.py")]
  assert not faults, "\n".join(faults)


@pytest.mark.parametrize("check", EVERYWHERE, ids=lambda check: check.__name__)
def test_scripts_keep_the_rule(check):
  faults = [fault for path, tree in SCRIPTS.items() for fault in check(path, tree)]
  assert not faults, "\n".join(faults)


def reachable_files():
  """Returns the files of mnc_jax that `import mnc_jax` reads."""
  reached, waiting = set(), ["__init__.py"]
  while waiting:
    path = waiting.pop()
    if path in LIBRARY and path not in reached:
      reached.add(path)
      for name, _ in imported_modules(LIBRARY[path]):
        pieces = name.split(".")[1:] if name.startswith("mnc_jax.") else []
        stems = ["/".join(pieces[:end]) for end in range(1, len(pieces) + 1)]
        waiting += [stem + end for stem in stems for end in (".py", "/__init__.py")]
  return reached


def test_importing_the_library_needs_only_bare_libraries():
  reached = reachable_files()
  assert {"cascade.py", "ops/nms.py", "stages/features.py"} <= reached
  needed = {path: third_party(LIBRARY[path]) - BARE_LIBRARIES for path in reached}
  assert not {path: names for path, names in needed.items() if names}


def test_the_library_uses_of_chex_only_its_assertions():
  used = {node.attr for tree in LIBRARY.values() for node in ast.walk(tree)
          if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "chex"}
  assert used
  assert all(name.startswith("assert_") for name in used)


def test_the_benchmark_needs_only_bare_libraries():
  # benchmark.py imports those three, which read files and score, only when it measures that.
  whole = ("benchmark_data", "benchmark_evaluation", "benchmark_import")
  bare = {path: tree for path, tree in SCRIPTS.items()
          if path.startswith("benchmark") and not path.startswith(whole)}
  assert not {name for tree in bare.values() for name in third_party(tree)} - (
      BARE_LIBRARIES | OPTIONAL_LIBRARIES)
  imported = {name for tree in bare.values() for name, _ in imported_modules(tree)}
  assert not {name for name in imported if name.startswith((*whole, "mnc_jax.data"))}


def test_what_is_imported_is_required_and_nothing_else():
  setup = configparser.ConfigParser()
  setup.read(ROOT / "setup.cfg")
  lines = [line for line in setup["options"]["install_requires"].splitlines()
           if line and not line.startswith("#")]
  required = {re.match(r"[\w.-]+", line)[0] for line in lines} - NEEDED_BY_OTHERS
  trees = [*LIBRARY.values(), *SCRIPTS.values()]
  imported = set().union(*map(third_party, trees)) - OPTIONAL_LIBRARIES
  assert {DISTRIBUTIONS.get(name, name) for name in imported} == required


_OK = '"""Doc."""\n'
FAULTS = (
    (check_imports, "ops/nms.py", "from mnc_jax.config import Config"),
    (check_imports, "ops/nms.py", "from mnc_jax import cascade"),
    (check_imports, "stages/mask_stage.py", "from mnc_jax.stages import box_stage"),
    (check_imports, "targets.py", "import mnc_jax.losses"),
    (check_imports, "cascade.py", "def f():\n  from mnc_jax.train import train_step"),
    (check_imports, "train.py", "from mnc_jax import parallel"),
    (check_imports, "losses.py", "from . import targets"),
    (check_imports, "cascade.py", "from mnc_jax import predict"),
    (check_imports, "data/coco.py", "from mnc_jax.ops.boxes import box_iou"),
    (check_imports, "metrics/voc.py", "import jax.numpy as jnp"),
    (check_imports, "visualize.py", "from mnc_jax import cascade"),
    (check_imports, "new_part.py", ""),
    (check_devices, "train.py", "import jax\njax.pmap(f)"),
    (check_devices, "train.py", "from jax.lax import pmean"),
    (check_devices, "train.py", "f(x, axis_name=1)"),
    (check_devices, "train.py", "def f(axis_name): pass"),
    (check_devices, "train.py", "replicate(x)"),
    (check_defaults, "train.py", "def f(x, y=1): pass"),
    (check_defaults, "train.py", "class A:\n  def f(self, y=1): pass"),
    (check_keys, "train.py", "def f(x, rng): pass"),
    (check_keys, "train.py", "def _f(x, *, prng=None): pass"),
    (check_mutable_defaults, "train.py", "def f(*, x=[]): pass"),
    (check_mutable_defaults, "train.py", "def _f(*, x=dict()): pass"),
    (check_excepts, "train.py", "try:\n  f()\nexcept:\n  pass"),
    (check_docstrings, "train.py", "def f(): pass"),
    (check_docstrings, "train.py", "class A: pass"),
    (check_docstrings, "train.py", 'class A:\n  """Doc."""\n  def f(self): pass'),
    (check_file_name, "ops/utils.py", ""),
)
FINE = (
    (check_imports, "losses.py", "from mnc_jax.targets import f\nimport jax"),
    (check_imports, "ops/nms.py", "from mnc_jax.ops import boxes\nfrom mnc_jax.structs import A"),
    (check_imports, "data/coco.py", "import numpy\nfrom mnc_jax.data import coco"),
    (check_devices, "parallel.py", "import jax\njax.pmap(f, axis_name=1)"),
    (check_devices, "train.py", '"""Says pmap."""'),
    (check_defaults, "train.py", "def f(x, *, y=1): pass\ndef _g(x=1): pass"),
    (check_keys, "train.py", "def f(x, key): pass"),
    (check_keys, "data/shapes.py", "def f(rng): pass"),
    (check_mutable_defaults, "train.py", "def f(*, x=(), y=None): pass"),
    (check_excepts, "train.py", "try:\n  f()\nexcept ValueError:\n  pass"),
    (check_docstrings, "train.py", 'def f():\n  """Doc."""\ndef _g(): pass'),
    (check_file_name, "ops/nms.py", ""),
)


@pytest.mark.parametrize(("check", "path", "source"), FAULTS)
def test_a_broken_rule_is_seen(check, path, source):
  assert len(check(path, ast.parse(_OK + source))) == 1


@pytest.mark.parametrize(("check", "path", "source"), FINE)
def test_a_kept_rule_is_not_complained_about(check, path, source):
  assert check(path, ast.parse(_OK + source)) == []


def test_a_module_without_a_docstring_is_seen():
  assert check_docstrings("train.py", ast.parse("x = 1")) == ["train.py: no docstring"]


def test_libraries_are_told_from_our_own_and_pythons():
  tree = ast.parse("import os, cv2\nfrom mnc_jax import x\nimport orbax.checkpoint\nimport train")
  assert third_party(tree) == {"cv2", "orbax"}
