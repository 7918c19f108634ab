"""Gradients against central differences in float64, along random directions.

For F(x) = sum of w * f(x), w random and fixed, and a random direction u,

  |<grad F(x), u> - (F(x + h u) - F(x - h u)) / 2h|  over the larger of the two

must stay below `TOLERANCE` for every differentiated argument by itself, so that no large gradient
hides a small one. The gradient is taken plain (operation by operation), compiled, and compiled
under vmap over the points: XLA fuses and recomputes differently in each.
"""

from collections.abc import Callable
import dataclasses
import itertools
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
    plain: also test without jit; too slow for backbones, which compile hundreds of programs.
  """
  name: str
  call: Callable
  draw: Callable
  wrt: tuple[int, ...]
  covers: tuple[str, ...] = ()
  plain: bool = True

  def __str__(self):
    return self.name


def generator(name):
  """Returns the generator of a row, so that no row depends on the rows before it."""
  return np.random.default_rng(zlib.crc32(name.encode()))


def to_float64(tree):
  """Returns a tree of arrays with floats as float64; other dtypes are unchanged."""
  wide = lambda x: x.astype(np.float64) if x.dtype.kind == "f" else x
  return jax.tree.map(lambda x: jnp.asarray(wide(np.asarray(x))), tree)


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
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _unstack(tree, count):
  leaves, structure = jax.tree.flatten(tree)
  return [jax.tree.unflatten(structure, [x[index] for x in leaves]) for index in range(count)]


def random_direction(rng, tree):
  return jax.tree.map(lambda x: rng.normal(size=x.shape), tree)


def step_along(point, number, direction, step):
  """Returns the arguments `point` with argument `number` moved by `step` times `direction`."""
  moved = jax.tree.map(lambda x, u: x + step * u, point[number], direction)
  return (*point[:number], moved, *point[number + 1:])


def central_difference(evaluate, move):
  """Returns the slope of `evaluate` at 0, a float of `move(step)`."""
  quotients = [(float(evaluate(move(step))) - float(evaluate(move(-step)))) / (2 * step)
               for step in STEPS]
  return settled(quotients)


def settled(quotients):
  """Returns the mean of the two neighbouring quotients that differ least."""
  _, best = min((abs(a - b), (a + b) / 2) for a, b in itertools.pairwise(quotients))
  return best


def relative_error(slope, quotient):
  largest = max(abs(slope), abs(quotient))
  return abs(slope - quotient) / largest if largest else np.inf


def compare(row: Row, *, points=POINTS):
  """Returns {way: largest relative error} of a row over points, arguments and directions."""
  rng = generator(row.name)
  base = [to_float64(row.draw(rng)) for _ in range(points)]
  moves = [(p, number, random_direction(rng, base[p][number]))
           for p in range(points) for number in row.wrt for _ in range(DIRECTIONS)]
  scalar = lambda *arguments: weigh(row.call(*arguments))
  both = jax.value_and_grad(scalar, row.wrt)
  compiled = jax.jit(both)
  ways = {"vmap": _unstack(jax.jit(jax.vmap(both))(*stack(base))[1], points),
          "jit": [compiled(*point)[1] for point in base]}
  if row.plain:
    ways["plain"] = [both(*base[0])[1]]
  quotients = [central_difference(
      lambda point: compiled(*point)[0],
      lambda step, p=p, number=number, u=u: step_along(base[p], number, u, step))
               for p, number, u in moves]
  return {way: _largest_error(found, row.wrt, moves, quotients) for way, found in ways.items()}


def _largest_error(gradients, wrt, moves, quotients):
  errors = []
  for (p, number, u), quotient in zip(moves, quotients, strict=True):
    if p < len(gradients):
      gradient = gradients[p][wrt.index(number)]
      assert {x.dtype for x in jax.tree.leaves(gradient)} == {np.dtype("float64")}
      errors.append(relative_error(inner(gradient, u), quotient))
  return float(max(errors))
