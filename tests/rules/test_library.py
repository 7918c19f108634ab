"""The library and the scripts keep the rules of the house; libraries used are those required."""

import ast
import configparser
import re

import pytest

import mnc_jax
from rules import docstrings, form, imports
from rules.source import LIBRARY, ROOT, SCRIPTS, functions_of, imported_modules, third_party

# The library's core and the benchmark run on a bare accelerator machine. Where chex is not
# installed there, the benchmark puts empty assertions in its place.
BARE_LIBRARIES = {"jax", "flax", "optax", "chex", "numpy"}
OPTIONAL_LIBRARIES = {"torch", "torchvision"}
# Where the name to import is not the name to install, and what others import for us.
DISTRIBUTIONS = {"cv2": "opencv-python-headless", "tensorflow_datasets": "tensorflow-datasets",
                 "absl": "absl-py", "orbax": "orbax-checkpoint", "PIL": "pillow"}
NEEDED_BY_OTHERS = {"jaxlib", "array_record", "importlib_resources"}

CHECKS = (*imports.CHECKS, *form.CHECKS, *docstrings.CHECKS)
EVERYWHERE = (form.check_mutable_defaults, form.check_excepts, form.check_file_name)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_library_keeps_the_rule(check):
  assert len(LIBRARY) > 15
  faults = [fault for path, tree in LIBRARY.items() for fault in check(path, tree)
            if not (check is imports.check_imports and path == "__init__.py")]
  assert not faults, "\n".join(faults)


@pytest.mark.parametrize("check", EVERYWHERE, ids=lambda check: check.__name__)
def test_scripts_keep_the_rule(check):
  faults = [fault for path, tree in SCRIPTS.items() for fault in check(path, tree)]
  assert not faults, "\n".join(faults)


def test_every_exported_name_has_an_example_or_a_reason():
  functions = {node.name for path, tree in LIBRARY.items()
               for node in functions_of(tree, public=True)
               if docstrings.EXPORTED.get(node.name) == path}
  assert functions.isdisjoint(docstrings.WITHOUT_EXAMPLE)
  assert functions | docstrings.WITHOUT_EXAMPLE.keys() == set(mnc_jax.__all__)
  assert set(mnc_jax.__all__) == docstrings.EXPORTED.keys()


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
