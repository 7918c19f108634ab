"""Reads a compiled program: the text of XLA's optimised, scheduled HLO.

Format: https://openxla.org/xla/hlo_dumps and https://openxla.org/xla/operation_semantics. The text
is the compiler's plan of one device: which kernels run, in which order, and how often.
"""

from collections.abc import Iterator
import math
import re
from typing import NamedTuple

_COMPUTATION = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"\s+(ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)$")
_ARRAY = re.compile(r"\b([a-z]+\d*\w*)\[([\d,]*)\](\{[^}]*\})?")


class Array(NamedTuple):
  """An array in the shape of an instruction.

  Attributes:
    dtype: as HLO names it, for example "f32".
    dims: its sides.
    in_hbm: whether it is in the device's main memory. TPU programs place arrays also in on-chip
      memory, which the layout names: S(1) is vector memory.
  """
  dtype: str
  dims: tuple[int, ...]
  in_hbm: bool

  @property
  def nbytes(self) -> int:
    """Bytes without the padding of its layout."""
    bits = int(re.match(r"[a-z]+(\d*)", self.dtype)[1] or 8)  # A bool, "pred", is a byte.
    return math.prod(self.dims) * bits // 8


class Instruction(NamedTuple):
  """One line of a computation.

  Attributes:
    name: unique in the program.
    arrays: of the result; a tuple has several.
    opcode: for example "fusion".
    operands: names of instructions.
    attributes: the text after the operands.
    is_root: whether it is the result of its computation.
  """
  name: str
  arrays: tuple[Array, ...]
  opcode: str
  operands: tuple[str, ...]
  attributes: str
  is_root: bool

  def called(self, *keys: str) -> list[str]:
    """Returns the names of the computations that the attributes `keys` name."""
    names = []
    for key in keys:
      for group in re.findall(rf"\b{key}=(\{{[^}}]*\}}|%?[\w.\-]+)", self.attributes):
        names += re.findall(r"[\w.\-]+", group)
    return names

  def attribute(self, pattern: str) -> str:
    """Returns the first group of `pattern` in the attributes, or ""."""
    found = re.search(pattern, self.attributes)
    return found[1] if found else ""


class Executed(NamedTuple):
  """An instruction that runs.

  Attributes:
    instruction: of the entry computation, or of a loop, branch or call in it.
    times: how often at most. Loops that can end earlier count in full, those whose turns depend on
      the data alone once.
    loops: names of the loops around it, the outermost first.
  """
  instruction: Instruction
  times: int
  loops: tuple[str, ...]


class Program:
  """A compiled program.

  Attributes:
    computations: lists of instructions, by name.
    entry: the name of the first one to run.
    instructions: all of them, by name.
  """

  def __init__(self, text: str):
    self.computations, self.entry, current = {}, "", None
    for line in re.sub(r"/\*index=\d+\*/", "", text).splitlines():
      if not line.startswith(" "):
        head = _COMPUTATION.match(line)
        current = self.computations.setdefault(head[2], []) if head else None
        if head and head[1]:
          self.entry = head[2]
      elif current is not None and (found := _INSTRUCTION.match(line)):
        current.append(_parse(*found.groups()))
    self.instructions = {instruction.name: instruction
                         for body in self.computations.values() for instruction in body}

  def operands(self, instruction: Instruction) -> list[Instruction]:
    """Returns the instructions that the operands name."""
    return [self.instructions[name] for name in instruction.operands
            if name in self.instructions]

  def executed(self) -> list[Executed]:
    """Lists what runs, loops and both branches of conditionals included; fusions are one each."""
    return list(self._walk(self.entry, 1, ()))

  def _walk(self, computation, times, loops) -> Iterator[Executed]:
    for instruction in self.computations[computation]:
      yield Executed(instruction, times, loops)
      if instruction.opcode == "while":
        turns = self.turns(instruction) or 1
        yield from self._walk(
            *instruction.called("body"), times * turns, (*loops, instruction.name))
      elif instruction.opcode in ("conditional", "call", "async-start"):
        for name in instruction.called("to_apply", "calls", "called_computations",
                                       "true_computation", "false_computation",
                                       "branch_computations"):
          yield from self._walk(name, times, loops)

  def turns(self, loop: Instruction) -> int | None:
    """Returns the constant that a loop's condition compares with: how often it runs at most.

    None if the condition compares only, or also, values with each other: how often it runs depends
    on the data, and a constant beside that, as of NMS the number of boxes kept, is a far limit.
    """
    known = loop.attribute(r'"known_trip_count":\{"n":"(\d+)"')
    if known:
      return int(known)
    inner, = loop.called("condition")
    parts = list(self.nested(inner))
    bounds = [{self._constant(name, parts) for name in part.operands} - {None}
              for part in parts if part.opcode == "compare"]
    return max(set().union(*bounds)) if bounds and all(bounds) else None

  def _constant(self, name, parts) -> int | None:
    """Returns the integer that an instruction among `parts` stands for, or None."""
    source = self.instructions[name]
    if source.opcode in ("broadcast", "bitcast", "reshape", "convert", "copy"):
      return self._constant(source.operands[0], parts)
    if source.opcode == "parameter":
      position = int(source.attribute(r"^(\d+)"))
      outer = [part.operands[position] for part in parts if part.opcode == "fusion"
               and source in self.computations[part.called("calls")[0]]]
      return self._constant(outer[0], parts) if outer else None
    value = source.attribute(r"^(\d+)") if source.opcode == "constant" else ""
    return int(value) if value else None

  def nested(self, computation: str) -> Iterator[Instruction]:
    """Yields the instructions of a computation and of the fusions in it."""
    for instruction in self.computations[computation]:
      yield from self.inside(instruction)

  def inside(self, instruction: Instruction) -> Iterator[Instruction]:
    """Yields an instruction and, of a fusion, all that it consists of."""
    yield instruction
    if instruction.opcode == "fusion":
      for name in instruction.called("calls"):
        yield from self.nested(name)


def _parse(root, name, shape, opcode, rest) -> Instruction:
  # Constants and parameters hold a value, or a position, where others have operands.
  held = opcode in ("constant", "parameter")
  operands, _, attributes = ("", "", rest) if held else rest.partition(")")
  return Instruction(name, parse_shape(shape), opcode,
                     tuple(re.findall(r"%([\w.\-]+)", operands)), attributes, bool(root))


def parse_shape(shape: str) -> tuple[Array, ...]:
  """Returns the arrays of a shape, for example "f32[8,128]{1,0:T(8,128)S(1)}"."""
  return tuple(
      Array(dtype, tuple(int(side) for side in dims.split(",") if side),
            not re.search(r"S\([1-9]", layout or ""))
      for dtype, dims, layout in _ARRAY.findall(shape))
