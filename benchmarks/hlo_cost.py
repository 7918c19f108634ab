"""Lower and upper estimates of the time of each instruction of a compiled program."""

from collections.abc import Iterator
import math
import re
from typing import NamedTuple

from benchmarks.chips import Chip
from benchmarks.hlo import Executed, Instruction, Program
from benchmarks.hlo_kinds import is_collective, is_kernel
from benchmarks.hlo_products import product_flops

_SLICES = {"dynamic-slice", "slice", "gather"}
_UPDATES = {"dynamic-update-slice": 1, "scatter": 2}  # And which operand holds the new values.
# Transfers that run beside other kernels, and what reads and writes nothing itself.
_NO_TRAFFIC = {"iota", "copy-start", "slice-start", "async-start"}
# Passes of bfloat16 products that a TPU takes for float32 ones, by `jax.lax.Precision`.
_PASSES = {"high": 3, "highest": 6}


class Cost(NamedTuple):
  """Estimates of an instruction over all its runs; all but `flops` in seconds.

  Attributes:
    memory: for what it reads and writes in main memory, at full bandwidth.
    matrix: for its products, at the full rate of the matrix units.
    compiler: XLA's estimate. It has none for sorts, gathers, scatters and pads.
    schedule: of the final schedules of the kernels, with their loops, without waits.
    flops: operations of its products.
  """
  memory: float = 0.0
  matrix: float = 0.0
  compiler: float = 0.0
  schedule: float = 0.0
  flops: float = 0.0

  @property
  def roofline(self) -> float:
    """The larger of memory and matrix time: no kernel is faster."""
    return max(self.memory, self.matrix)

  @property
  def low(self) -> float:
    """The smaller estimate by cycles, where there is one, but at least `roofline`."""
    return max(self.roofline, min(filter(None, (self.compiler, self.schedule)), default=0.0))

  @property
  def high(self) -> float:
    """The largest of all estimates."""
    return max(self.roofline, self.compiler, self.schedule)


def cost_of(executed: Executed, program: Program, chip: Chip, cycles: dict[str, int]) -> Cost:
  """Estimates an instruction; that of collectives, which depends on the network, is 0.

  Args:
    executed: from `program.executed()`.
    program: that it belongs to.
    chip: that the program is compiled for.
    cycles: of the schedules of kernels by name, from `benchmarks.schedule`; may be empty.
  """
  instruction = executed.instruction
  if not is_kernel(instruction) or is_collective(instruction):
    return Cost()
  products = [(product_flops(inner, program), _rate(inner, program, chip))
              for inner in program.inside(instruction)]
  clock = chip.clock or math.inf
  return Cost(*(executed.times * value for value in (
      moved_bytes(instruction, program) / chip.bandwidth,
      sum(flops / rate for flops, rate in products),
      _estimated_cycles(instruction) / clock,
      cycles.get(instruction.name, 0) / clock,
      sum(flops for flops, _ in products))))


def _estimated_cycles(instruction):
  cycles = int(instruction.attribute(r'"estimated_cycles":"(\d+)"') or 0)
  return cycles if cycles < 10**14 else 0  # The largest integer stands for an unknown number.


def _rate(product, program, chip):
  dtypes = {operand.arrays[0].dtype for operand in program.operands(product) if operand.arrays}
  passes = _PASSES.get(product.attribute(r"operand_precision=\{(\w+)"), 1)
  return (chip.float32_rate if "f32" in dtypes else chip.matrix_rate) / passes


def moved_bytes(instruction: Instruction, program: Program) -> int:
  """Counts what a kernel reads and writes in main memory, without the padding of layouts.

  An operand of which only slices are read counts with these, and an array that is updated in place
  with the update, which is read and written.
  """
  if instruction.opcode in _NO_TRAFFIC:
    return 0
  read = sum(_read(program, instruction, position, _nbytes(operand))
             for position, operand in enumerate(program.operands(instruction)))
  root = _root(program, instruction)
  if root.opcode == "tuple":
    return read + sum(_written(program, part) for part, array in zip(
        program.operands(root), instruction.arrays, strict=False) if array.in_hbm)
  return read + min(_written(program, root), _nbytes(instruction))


def _nbytes(instruction):
  return sum(array.nbytes for array in instruction.arrays if array.in_hbm)


def _root(program, instruction):
  while instruction.opcode == "fusion":
    body = program.computations[instruction.called("calls")[0]]
    instruction = next(inner for inner in body if inner.is_root)
  return instruction


def _written(program, instruction):
  """Returns the bytes that a root, or a part of it, writes wherever its result is."""
  instruction = _root(program, instruction)
  if instruction.opcode == "bitcast":
    return _written(program, program.operands(instruction)[0])
  if instruction.opcode in _UPDATES:
    instruction = program.operands(instruction)[_UPDATES[instruction.opcode]]
  return sum(array.nbytes for array in instruction.arrays)


def _read(program, user, position, whole):
  """Returns the bytes, of `whole`, that `user` reads of its operand number `position`."""
  if position == 0 and user.opcode in _SLICES:
    return min(whole, sum(array.nbytes for array in user.arrays))
  if position == 0 and user.opcode in _UPDATES:
    return 0
  if user.opcode != "fusion" or not whole:
    return whole
  body = program.computations[user.called("calls")[0]]
  parameter = next(inner for inner in body if inner.opcode == "parameter"
                   and re.match(rf"{position}\)", inner.attributes))
  return min(whole, sum(_read(program, inner, index, whole)
                        for inner, index in _uses(body, parameter.name)))


def _uses(body, name) -> Iterator[tuple[Instruction, int]]:
  for inner in body:
    for index, operand in enumerate(inner.operands):
      if operand == name and inner.opcode == "bitcast":
        yield from _uses(body, inner.name)
      elif operand == name:
        yield inner, index
