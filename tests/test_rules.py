"""Rules that no linter knows: signatures, examples in docstrings, dependencies."""

import ast
import configparser
import doctest
import inspect
import pathlib
import re
import subprocess
import sys

import pytest

import mnc_jax

ROOT = pathlib.Path(__file__).resolve().parents[1]
SOURCES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(), str(path))
           for folder in ("mnc_jax", "benchmarks", "experiments")
           for path in sorted((ROOT / folder).rglob("*.py"))}
LIBRARY = {path: tree for path, tree in SOURCES.items() if path.startswith("mnc_jax/")}
EXPORTED = [getattr(mnc_jax, name) for name in mnc_jax.__all__]
FUNCTIONS = [value for value in EXPORTED if inspect.isfunction(value)]
# The numerical core needs only what a machine with an accelerator has for JAX.
BARE_LIBRARIES = {"jax", "flax", "optax", "chex", "numpy"}
OPTIONAL_LIBRARIES = {"torch", "torchvision"}
# Distributions whose import name differs, and those that only other libraries import.
DISTRIBUTIONS = {"cv2": "opencv-python-headless", "tensorflow_datasets": "tensorflow-datasets",
                 "absl": "absl-py", "orbax": "orbax-checkpoint", "PIL": "pillow",
                 "jinja2": "Jinja2", "yaml": "PyYAML"}
NEEDED_BY_OTHERS = {"jaxlib", "array_record", "importlib_resources", "flatbuffers"}


def functions_of(tree):
  """Returns the public functions of a module and the public methods of its public classes."""
  scopes = [tree] + [node for node in tree.body
                     if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
  return [node for scope in scopes for node in scope.body
          if isinstance(node, ast.FunctionDef) and not re.match("_[^_]", node.name)]


def imported_libraries(tree):
  """Returns the top-level names that a module imports, without Python's own and ours."""
  names = set()
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      names |= {alias.name.split(".")[0] for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, f"relative import in line {node.lineno}"
      names.add(node.module.split(".")[0])
  return names - set(sys.stdlib_module_names) - {"mnc_jax", "benchmarks"}


def positional_defaults(tree):
  return [node.name for node in functions_of(tree) if node.args.defaults]


def misnamed_keys(tree):
  misnomers = {"rngs", "prng", "rng_key", "prng_key", "random_key", "seed_key", "keys"}
  return [node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)
          and node.arg in misnomers]


def unannotated(tree):
  """Returns the public functions that lack the type of an argument, or of the result."""
  def lacks(node):
    untyped = [argument.arg for argument in ast.iter_child_nodes(node.args)
               if isinstance(argument, ast.arg) and not argument.annotation]
    return set(untyped) - {"self", "cls"} or not (node.returns or node.name == "__init__")
  return [node.name for node in functions_of(tree) if lacks(node)]


@pytest.mark.parametrize(("find", "source"), [
    (positional_defaults, "def f(x, y=1): pass"),
    (positional_defaults, "class A:\n  def f(self, y=1): pass"),
    (misnamed_keys, "def f(*, prng_key): pass"),
    (unannotated, "def f(x: int, *, y): pass"),
    (unannotated, "def f(x: int, *more) -> None: pass"),
    (unannotated, "class A:\n  def f(self, x: int): pass")])
def test_broken_rules_are_found(find, source):
  assert find(ast.parse(source))
  assert not find(ast.parse("def f(x: int, *, key: int = 1) -> int: pass\ndef _g(x=1): pass\n"
                            "class A:\n  def __init__(self, x: int): pass"))


@pytest.mark.parametrize("find", [positional_defaults, misnamed_keys, unannotated])
def test_signatures(find):
  found = {path: find(tree) for path, tree in LIBRARY.items()}
  assert not {path: names for path, names in found.items() if names}


def test_no_file_is_called_utils():
  stems = {pathlib.PurePath(path).stem for path in SOURCES}
  assert not stems & {"util", "utils", "helpers", "misc", "common"}


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_exported_functions_have_examples(function):
  text = inspect.getdoc(function)
  assert "\nArgs:\n" in text or not inspect.signature(function).parameters  # Ruff checks each name.
  # An example that prints no number has nothing that could be wrong.
  assert any(re.search(r"\d", case.want) for case in doctest.DocTestParser().get_examples(text))


def loaded_libraries(*statements):
  """Returns the libraries that the last statement loads in a new process after the others."""
  *before, last = statements
  program = "\n".join(["import sys", *before, "before = set(sys.modules)", last,
                       "print(*{name.split('.')[0] for name in set(sys.modules) - before})"])
  loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          check=True, cwd=ROOT).stdout.split()
  return set(loaded) - set(sys.stdlib_module_names)


def test_importing_the_library_loads_nothing_else():
  assert loaded_libraries("import jax", "import mnc_jax") == {"mnc_jax"}


def test_its_numerical_core_needs_only_bare_libraries():
  core = set(mnc_jax.__all__) - {"load", "sample_images", "detect", "draw", "register_reader"}
  loaded = loaded_libraries("import jax, flax.linen, optax, chex",
                            f"from mnc_jax import {', '.join(core)}")
  assert loaded - BARE_LIBRARIES == {"mnc_jax"}


def test_requirements_are_what_is_imported():
  setup = configparser.ConfigParser()
  setup.read(ROOT / "setup.cfg")
  lines = [line for line in setup["options"]["install_requires"].splitlines()
           if line and not line.startswith("#")]
  required = {re.match(r"[\w.-]+", line)[0] for line in lines} - NEEDED_BY_OTHERS
  imported = set().union(*map(imported_libraries, SOURCES.values())) - OPTIONAL_LIBRARIES
  assert {DISTRIBUTIONS.get(name, name) for name in imported - {"experiments"}} == required
