"""Rows of the table of a compiler's plan."""

from collections.abc import Sequence

import numpy as np

from benchmarks.hlo import Executed, Program
from benchmarks.hlo_cost import Cost
from benchmarks.hlo_kinds import has_holes, is_collective, is_kernel

COLUMNS = ("plan", "roofline", "low", "high")
LARGE = 1_000_000  # Bytes.


def memory_rows(memory: dict[str, int]) -> list[dict]:
  """Returns rows of the bytes in all, and by kind."""
  return [_row("GB a chip", sum(memory.values()) / 1e9),
          *(_row(f"GB: {name}", size / 1e9) for name, size in memory.items())]


def count_rows(program: Program, executed: list[Executed]) -> list[dict]:
  """Returns rows of what the program consists of; what is inside fusions counts too."""
  inside = [(part, each) for each in executed for part in program.inside(each.instruction)]
  turns = [(program.turns(each.instruction), each.times) for each in executed
           if each.instruction.opcode == "while"]
  exchanged = [(part, each) for part, each in inside if is_collective(part)]
  kernels = [each.times for each in executed if is_kernel(each.instruction)]
  return [
      _row("kernels", len(kernels)),
      _row("kernels started", sum(kernels)),
      _row("loops", len(turns)),
      _row("turns of loops", sum((count or 0) * times for count, times in turns)),
      _row("loops as long as the data says", sum(count is None for count, _ in turns)),
      _row("sorts", sum(part.opcode == "sort" or "Sort" in part.attribute(
          r'custom_call_target="([^"]*)"') for part, _ in inside)),
      _row("large pads with holes", sum(has_holes(part, least_bytes=LARGE) for part, _ in inside)),
      _row("collectives", len(exchanged)),
      _row("collectives in loops", sum(bool(each.loops) for _, each in exchanged)),
      _row("MB exchanged", sum(each.times * array.nbytes for part, each in exchanged
                               for operand in program.operands(part)
                               for array in operand.arrays) / 1e6)]


def time_rows(costs: Sequence[Cost], needed: dict[str, float], matrix_rate: float, images: int
              ) -> list[dict]:
  """Returns rows of arithmetic and time.

  Args:
    costs: of all instructions.
    needed: operations that an image needs, by part of the cascade.
    matrix_rate: operations a second.
    images: per step.
  """
  total = _seconds(costs)
  least = images * sum(needed.values()) / matrix_rate
  return [
      *(_row(f"needed GFLOP an image: {name}", flops / 1e9) for name, flops in needed.items()),
      _row("needed GFLOP an image", sum(needed.values()) / 1e9),
      _row("planned GFLOP an image", sum(cost.flops for cost in costs) / 1e9 / images),
      _row("needed ms a step at the matrix rate", least * 1e3),
      _row("ms a step", None, total * 1e3),
      _row("ms an image", None, total * 1e3 / images),
      _row("share of the matrix rate", None, least / total)]


def part_rows(parts: Sequence[str], costs: Sequence[Cost]) -> list[dict]:
  """Returns a row of milliseconds a step per part, the largest first."""
  by_part = {}
  for part, cost in zip(parts, costs, strict=True):
    by_part.setdefault(part, []).append(cost)
  sums = {part: _seconds(own) * 1e3 for part, own in by_part.items()}
  return [_row(f"ms: {part}", None, sums[part])
          for part in sorted(sums, key=lambda part: -sums[part][1]) if sums[part][2] > 0]


def op_rows(executed: Sequence[Executed], parts: Sequence[str], costs: Sequence[Cost], count: int
            ) -> list[dict]:
  """Returns a row of milliseconds a step for each of the `count` largest instructions."""
  ranked = sorted(zip(executed, parts, costs, strict=True), key=lambda row: -row[2].low)[:count]
  return [_row(f"ms: {_describe(each)} ({part})", None, _seconds([cost]) * 1e3)
          for each, part, cost in ranked]


def _describe(each):
  array = each.instruction.arrays[0]
  times = f"{each.times} x " if each.times > 1 else ""
  return f"{times}{each.instruction.name} {array.dtype}[{','.join(map(str, array.dims))}]"


def _seconds(costs):
  """Returns [3]: roofline, low, high."""
  return np.array([[cost.roofline, cost.low, cost.high] for cost in costs]).sum(0)


def _row(name, plan, times=(None, None, None)):
  return {"name": name, "plan": plan} | {
      column: None if value is None else float(value)
      for column, value in zip(COLUMNS[1:], times, strict=True)}
