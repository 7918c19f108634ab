"""Kinds of instructions of a compiled program."""

import re

from benchmarks.hlo import Instruction

# Names for inputs, constants and parts of others, and what only contains other instructions.
_NO_KERNEL = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all",
              "partition-id", "replica-id", "while", "conditional", "call", "opt-barrier"}
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute",
               "collective-broadcast", "ragged-all-to-all")


def is_kernel(instruction: Instruction) -> bool:
  """Returns whether an instruction takes a kernel or a copy.

  Arithmetic on scalars that is not in a fusion takes none: TPUs do it between kernels.
  """
  if instruction.opcode in _NO_KERNEL or instruction.opcode.endswith("-done"):
    return False
  scalars = all(not array.dims for array in instruction.arrays)
  return not scalars or instruction.opcode in ("fusion", "custom-call") or is_collective(
      instruction)


def has_holes(instruction: Instruction, *, least_bytes: int) -> bool:
  """Returns whether it pads a large array between its elements, as gradients of strides do."""
  padding = instruction.attribute(r"\bpadding=([\dx_\-]+)")
  return (instruction.opcode == "pad" and instruction.arrays[0].nbytes >= least_bytes
          and bool(re.search(r"-?\d+_-?\d+_[1-9]", padding)))


def is_collective(instruction: Instruction) -> bool:
  """Returns whether it exchanges data between devices; of a pair, only the start does."""
  return instruction.opcode.removesuffix("-start") in COLLECTIVES
