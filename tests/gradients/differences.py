"""Gradients against central differences in float64, along random directions.

For F(x) = sum of w * f(x), w random and fixed, and a random direction u,

  |<grad F(x), u> - (F(x + h u) - F(x - h u)) / 2h|  over the larger of the two

must stay below `TOLERANCE` for every differentiated argument by itself, so that no large gradient
hides a small one. The gradient is taken compiled and compiled under vmap, of small functions also
plain (operation by operation): XLA fuses and recomputes differently in each. Nearly all the time is
compilation, so that one program gives the gradients of a way and all the values for differences.
"""

from collections.abc import Callable
import dataclasses
import zlib

import jax
import jax.numpy as jnp
import numpy as np

TOLERANCE = 1e-5
STEPS = (1e-5, 3e-6, 1e-6, 3e-7, 1e-7)
"""Long steps cross kinks (thousands of rectified units) and curvature; short ones suffer from
rounding, near 1e-16 / step. The two neighbouring steps that agree best are used; this choice does
not depend on the gradient."""
POINTS, DIRECTIONS = 2, 2


@dataclasses.dataclass(frozen=True)
class Row:
  """A line of the table: a function, its random interior points, what is differentiated.

  Attributes:
    name: of the function, and in brackets its options.
    call: the function of positional arguments, all static options bound.
    draw: maps a numpy generator to the arguments at one interior point, of arrays and trees.
    wrt: numbers of the arguments that are differentiated.
    covers: the public functions, if not `call` itself, as "ops.boxes.box_iou".
    ways: how the gradient is taken. Each costs programs: "plain" one per operation.
  """
  name: str
  call: Callable
  draw: Callable
  wrt: tuple[int, ...]
  covers: tuple[str, ...] = ()
  ways: tuple[str, ...] = ("vmap", "jit")

  def __str__(self):
    return self.name


def generator(name):
  """Returns the generator of a row, so that no row depends on the rows before it."""
  return np.random.default_rng(zlib.crc32(name.encode()))


def to_float64(tree):
  """Returns a tree of numpy arrays with floats as float64; other dtypes are unchanged."""
  wide = lambda x: x.astype(np.float64) if x.dtype.kind == "f" else x
  return jax.tree.map(lambda x: wide(np.asarray(x)), tree)


def weigh(outputs):
  """Returns the sum of all float outputs under fixed random weights of order one."""
  rng = np.random.default_rng(7)
  draw = lambda shape: rng.uniform(0.5, 1.5, shape) * rng.choice([-1, 1], shape)
  total = 0.0
  for x in jax.tree.leaves(outputs):
    if jnp.issubdtype(x.dtype, jnp.floating):
      total += jnp.sum(x * jnp.asarray(draw(x.shape), x.dtype))
  return total


def inner(a, b):
  """Returns the inner product of two trees of numpy arrays."""
  return sum(float(np.sum(np.asarray(x) * np.asarray(y)))
             for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def stack(trees):
  return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def random_direction(rng, tree):
  return jax.tree.map(lambda x: rng.normal(size=x.shape), tree)


def step_along(point, number, direction, step):
  """Returns the arguments `point` with argument `number` moved by `step` times `direction`."""
  moved = jax.tree.map(lambda x, u: x + step * u, point[number], direction)
  return (*point[:number], moved, *point[number + 1:])


def steps_along(point, number, direction):
  """Returns the arguments ahead and behind at each of `STEPS`, in the order of `settle`."""
  return [step_along(point, number, direction, sign * step) for step in STEPS for sign in (1, -1)]


def settle(values):
  """Returns the slope of a function from its values at `steps_along`.

  It is the mean of the two neighbouring quotients that differ least.
  """
  ahead, behind = np.asarray(values, np.float64).reshape(len(STEPS), 2).T
  quotients = (ahead - behind) / (2 * np.asarray(STEPS))
  best = np.abs(np.diff(quotients)).argmin()
  return quotients[best:best + 2].mean()


def relative_error(slope, quotient):
  largest = max(abs(slope), abs(quotient))
  return abs(slope - quotient) / largest if largest else np.inf


def compare(row: Row, *, points=POINTS):
  """Returns {way: largest relative error} of a row over points, arguments and directions."""
  rng = generator(row.name)
  base = [to_float64(row.draw(rng)) for _ in range(points)]
  moves = [(p, number, random_direction(rng, base[p][number]))
           for p in range(points) for number in row.wrt for _ in range(DIRECTIONS)]
  both = jax.value_and_grad(lambda *arguments: weigh(row.call(*arguments)), row.wrt)
  inputs = base + [moved for p, number, u in moves for moved in steps_along(base[p], number, u)]
  gradients = {}
  for way in row.ways:
    if way == "plain":
      gradients[way] = [both(*map(to_device, base[0]))[1]]
      continue
    # The way that comes first also gives the values for the differences.
    first = way == row.ways[0]
    values, gradients[way] = _WAYS[way](both, inputs if first else base, points)
    if first:
      quotients = [settle(x) for x in np.split(values[points:], len(moves))]
  return {way: _largest_error(found, row.wrt, moves, quotients)
          for way, found in gradients.items()}


def to_device(tree):
  return jax.tree.map(jnp.asarray, tree)


def _together(both, inputs, points):
  values, gradients = jax.device_get(jax.jit(jax.vmap(both))(*stack(inputs)))
  return values, [jax.tree.map(lambda x, p=p: x[p], gradients) for p in range(points)]


def _one_by_one(both, inputs, points):
  compiled = jax.jit(both)
  found = [jax.device_get(compiled(*point)) for point in inputs]
  return np.array([value for value, _ in found]), [gradient for _, gradient in found[:points]]


_WAYS = {"vmap": _together, "jit": _one_by_one}


def _largest_error(gradients, wrt, moves, quotients):
  errors = []
  for (p, number, u), quotient in zip(moves, quotients, strict=True):
    if p < len(gradients):
      gradient = gradients[p][wrt.index(number)]
      assert {x.dtype for x in jax.tree.leaves(gradient)} == {np.dtype("float64")}
      errors.append(relative_error(inner(gradient, u), quotient))
  return float(max(errors))
