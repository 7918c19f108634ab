"""The examples in the docstrings print what they claim, each run alone as a reader pastes it."""

import doctest
import importlib
import pkgutil

import pytest

import mnc_jax


def find_examples():
  """Returns the docstrings of `mnc_jax` and its modules that contain an example."""
  modules = pkgutil.walk_packages(mnc_jax.__path__, "mnc_jax.")
  names = ["mnc_jax", *(module.name for module in modules)]
  # A name that a module imports is tested where it is defined.
  finder = doctest.DocTestFinder(exclude_empty=True)
  found = [test for name in names for test in finder.find(importlib.import_module(name), name)]
  return [test for test in found if test.examples]


EXAMPLES = find_examples()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_example(example):
  # Without the globals of its module: an example imports what it needs.
  example.globs = {"__name__": "__main__"}
  failures = []
  doctest.DocTestRunner().run(example, out=failures.append)
  assert not failures, "".join(failures)


def test_examples_of_the_whole_library_are_found():
  found = {example.name for example in EXAMPLES}
  assert {"mnc_jax.ops.boxes.box_iou", "mnc_jax.model.cascade.cascade_loss"} <= found
  assert len(EXAMPLES) >= 17
