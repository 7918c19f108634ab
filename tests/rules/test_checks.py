"""Each check sees the fault that it is for, and lets pass what keeps the rule."""

import ast

import pytest

from rules.docstrings import (
    OF_OPERATIONS,
    check_arguments,
    check_docstrings,
    check_exported,
    check_fields,
    check_raises,
    check_returns,
)
from rules.form import (
    check_defaults,
    check_excepts,
    check_file_name,
    check_keys,
    check_mutable_defaults,
)
from rules.imports import check_devices, check_imports
from rules.source import third_party

_OK = '"""Doc."""\n'


def operation(*, without="", shows="[1 2]"):
  """Returns the source of an `nms` with all sections but one, and what its example prints."""
  lines = {name: ["x: it."] for name in OF_OPERATIONS} | {"Example": [">>> nms(x)", shows]}
  sections = [f"\n  {name}:\n" + "".join(f"    {line}\n" for line in lines[name])
              for name in OF_OPERATIONS if name != without]
  return f'def nms(x):\n  """Doc of x.\n{"".join(sections)}  """'


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
    (check_arguments, "train.py", 'def f(x, y):\n  """Doc of x."""'),
    (check_arguments, "train.py", 'def f(x, *y):\n  """Doc of y.\n\n  Args:\n    x: it.\n  """'),
    (check_arguments, "train.py", 'class A:\n  def f(self, boxes):\n    """Doc of box."""'),
    (check_returns, "train.py", 'def f():\n  """Doc."""\n  return 1'),
    (check_returns, "train.py", 'def f():\n  """What this Returns."""\n  yield 1'),
    (check_raises, "train.py", 'def f():\n  """Doc."""\n  raise ValueError("no")'),
    (check_raises, "train.py", 'def f():\n  """Doc.\n\n  Raises:\n    OSError: a.\n  """\n'
                               '  raise ValueError'),
    (check_fields, "train.py", 'class A:\n  """Doc of x."""\n  x: int'),
    (check_fields, "train.py", 'class A:\n  """Doc."""\n  x: int\n  y: int\n  """Of y."""'),
    (check_exported, "ops/nms.py", operation(without="Args")),
    (check_exported, "ops/nms.py", operation(without="Returns")),
    (check_exported, "ops/nms.py", operation(without="Degenerate input")),
    (check_exported, "ops/nms.py", operation(without="Gradient")),
    (check_exported, "ops/nms.py", operation(without="Example")),
    (check_exported, "ops/nms.py", operation(shows="True")),
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
    (check_arguments, "train.py", 'def f(x, *, y):\n  """Doc of `x` and y."""\ndef _g(z): pass'),
    (check_arguments, "train.py", 'def f(x, *y):\n  """Doc.\n\n  Args:\n    x: a.\n'
                                  '    *y: b.\n  """'),
    (check_arguments, "train.py", 'def f(x):\n  """Doc.\n\n  Arguments are those of `g`.\n  """'),
    (check_returns, "train.py", 'def f():\n  """Doc."""\n  g = lambda: 1\n  return None'),
    (check_returns, "train.py", 'def f():\n  """Returns 1."""\n  return 1'),
    (check_returns, "train.py", 'def f():\n  """Doc.\n\n  Yields:\n    1.\n  """\n  yield 1'),
    (check_returns, "train.py", 'class A:\n  @property\n  def f(self):\n    """Size."""\n'
                                '    return 1'),
    (check_raises, "train.py", 'def f():\n  """Doc.\n\n  Raises:\n    OSError: a.\n  """\n'
                               '  raise OSError'),
    (check_raises, "train.py", 'def f():\n  """Arguments and errors are those of `g`."""\n'
                               '  raise OSError'),
    (check_raises, "train.py", 'def f():\n  """Doc."""\n  def g():\n    raise OSError'),
    (check_fields, "train.py", 'class A:\n  """Doc.\n\n  Attributes:\n    x: a.\n  """\n  x: int'),
    (check_fields, "train.py", 'class A(nn.Module):\n  """Doc."""\n  config: ModelConfig'),
    (check_exported, "ops/nms.py", operation()),
    (check_exported, "ops/boxes.py", operation(without="Args")),
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
