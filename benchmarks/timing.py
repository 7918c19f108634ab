"""Times compiled functions: warmed up, waited for, the median of several."""

import statistics
import time

import jax


def median_seconds(function, *, repeats: int, wait=lambda result: result) -> float:
  """Returns the median duration of `wait(function())` after one call that is not counted."""
  durations = []
  for _ in range(repeats + 1):
    start = time.perf_counter()
    wait(function())
    durations.append(time.perf_counter() - start)
  return statistics.median(durations[1:])


def jax_seconds(function, *arguments, repeats: int) -> float:
  """Returns the median duration of `function(*arguments)`, compiled."""
  compiled = jax.jit(function).lower(*arguments).compile()
  return median_seconds(
      lambda: compiled(*arguments), repeats=repeats, wait=jax.block_until_ready)


def matrix_rate(dtype, *, size: int, repeats: int) -> float:
  """Measures floating-point operations a second of one size x size matrix product."""
  matrix = jax.random.normal(jax.random.key(0), (size, size), dtype)
  product = jax.jit(lambda a: a @ a).lower(matrix).compile()
  # Several are queued so that the time to start one does not count.
  queued = 10
  seconds = median_seconds(lambda: [product(matrix) for _ in range(queued)],
                           repeats=repeats, wait=jax.block_until_ready)
  return queued * 2 * size**3 / seconds
