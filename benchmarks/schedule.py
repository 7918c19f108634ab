"""Cycles of TPU kernels by their final schedule, which libtpu writes on request.

A bundle is what a TPU core issues in one cycle. Bundles in a loop count once per turn where the
loop ends at a constant, otherwise once. Waits for memory are not in a schedule.
"""

import pathlib
import re

from benchmarks.hlo import Program

_BUNDLE = re.compile(r"\s*(0x[0-9a-f]+|0)\s.*?:\s*>*\s*\{")
_BRANCH = re.compile(r"sbr\.rel \(!?(%[\w]+)\) target = \$region(\d+)")
_FILE = re.compile(r"\d+-(.+)-\d+-final_bundles\.txt")


def libtpu_options(folder: pathlib.Path) -> str:
  """Returns the `LIBTPU_INIT_ARGS` that write the schedules; libtpu reads them once."""
  return (f"--xla_jf_dump_to={folder} --xla_jf_dump_llo_text=true "
          "--xla_jf_dump_llo_pass_label_regex=final_bundles")


def read_cycles(folder: pathlib.Path) -> dict[str, int]:
  """Returns the cycles of each kernel in a folder of schedules, by the instruction's name."""
  cycles = {}
  for path in sorted(folder.glob("*-final_bundles.txt")):
    found = _FILE.fullmatch(path.name)
    if not found[1].endswith("schedule-analysis"):
      cycles[found[1]] = count_cycles(path.read_text(errors="replace"))
  return cycles


def count_cycles(schedule: str) -> int:
  """Counts the bundles that one run of a kernel issues."""
  bundles = [(int(found[1], 16), line) for line in schedule.splitlines()
             if (found := _BUNDLE.match(line))]
  starts = {}
  for address, line in bundles:
    for region in re.findall(r"Start region (\d+)", line):
      starts.setdefault(region, address)
  loops = []
  for number, (address, line) in enumerate(bundles):
    branch = _BRANCH.search(line)
    if branch and starts.get(branch[2], address + 1) <= address:  # Backward.
      body = [text for place, text in bundles[:number + 1] if place >= starts[branch[2]]]
      loops.append((starts[branch[2]], address, _turns(body, branch[1])))
  total = 0
  for address, _ in bundles:
    turns = 1
    for first, last, count in loops:
      turns *= count if first <= address <= last else 1
    total += turns
  return total


def _turns(body, predicate):
  """Returns the constant that the counter of a loop is compared with at its end, or 1."""
  pattern = re.escape(predicate) + r" = scmp\.(?:ge|gt|eq)\.s32\.totalorder %\S+, (\d+)"
  for line in reversed(body):
    found = re.search(pattern, line)
    if found:
      return max(1, int(found[1]))
  return 1


def complete_cycles(cycles: dict[str, int], program: Program) -> dict[str, int]:
  """Returns `cycles` with those of kernels that libtpu compiled once for several instructions."""
  known = {_signature(program.instructions[name], program): count
           for name, count in cycles.items() if name in program.instructions}
  return {name: known[signature] for name, instruction in program.instructions.items()
          if (signature := _signature(instruction, program)) in known} | cycles


def _signature(instruction, program):
  """Returns what equal kernels have in common: operations and shapes, wherever these are stored."""
  inner = tuple((part.opcode, _shapes(part)) for part in program.inside(instruction))
  return inner, tuple(_shapes(operand) for operand in program.operands(instruction))


def _shapes(instruction):
  return tuple((array.dtype, array.dims) for array in instruction.arrays)
