"""Which part of the library each instruction of a compiled program comes from."""

from collections import defaultdict
import re

from benchmarks.hlo import Instruction, Program
from benchmarks.hlo_kinds import is_collective

# Files that serve many parts; an instruction of theirs belongs to the part that called them.
_SHARED = re.compile(
    r"model/flax_modules|ops/(boxes|bilinear|padding|gradients|conv|sampling|masks)\.py")
_LIBRARY, _OPTIMIZER = "mnc_jax/", "training/optimizer.py"


class Sources:
  """The stack of source files behind each instruction, from the tables at the start of HLO text.

  Each table is a heading and lines with an id; see `StackFrameIndexProto` of XLA. A frame's parent
  is printed as its id + 1.
  """

  def __init__(self, text: str):
    tables, table = defaultdict(dict), None
    for line in text.splitlines():
      if re.fullmatch(r"FileNames|FunctionNames|FileLocations|StackFrames", line):
        table = tables[line]
      elif table is not None and (found := re.match(r"(\d+) (.*)", line)):
        table[int(found[1])] = found[2]
      elif re.match("ENTRY|%", line):
        break
    self._files = {key: value.strip('"') for key, value in tables["FileNames"].items()}
    self._locations = {key: _number("file_name_id", value)
                       for key, value in tables["FileLocations"].items()}
    self._frames = {key: (_number("file_location_id", value),
                          _number("parent_frame_id", value) - 1)
                    for key, value in tables["StackFrames"].items()}

  def part_of(self, instruction: Instruction, program: Program) -> str:
    """Returns the library's innermost file behind an instruction, and whether backward.

    Files that serve many parts are skipped; `training/step.py` itself runs the optimizer. What the
    compiler added, copies above all, is "other".
    """
    if is_collective(instruction):
      return "collectives"
    for inner in program.inside(instruction):
      file = self._file_of(inner)
      if file:
        backward = "transpose(" in inner.attribute(r'op_name="([^"]*)"')
        return f"{file}, backward" if backward else file
    return "other"

  def _file_of(self, instruction):
    frame = int(instruction.attribute(r"stack_frame_id=(\d+)") or 0)
    while frame in self._frames:
      location, frame = self._frames[frame]
      _, library, file = self._files.get(self._locations.get(location, 0), "").rpartition(_LIBRARY)
      if library and not _SHARED.match(file):
        return _OPTIMIZER if file == "training/step.py" else file
    return ""


def _number(name, text):
  found = re.search(rf"{name}=(\d+)", text)
  return int(found[1]) if found else 0
