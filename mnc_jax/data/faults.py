"""Items of a data set that cannot be used: refused at once, or collected while preparing.

Readers hand each bad item to a `Report` and go on without it. `refuse` makes them strict.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

_LARGEST_SHARE = 0.01  # Of the images, or of the annotations, that may be bad.
_SHOWN = 20  # Faults told in full; more are counted.


class Fault(NamedTuple):
  """One item that cannot be used.

  Attributes:
    item: an image, with all its annotations, or one annotation.
    message: a sentence that names file and id, and says what is wrong.
  """
  item: Literal["image", "annotation"]
  message: str


Report = Callable[[Fault], None]


def refuse(fault: Fault) -> None:
  """Makes a reader stop at its first fault.

  Raises:
    ValueError: with the message of the fault.
  """
  raise ValueError(fault.message)


def count(faults: Sequence[Fault], item: str) -> int:
  """Returns how many of the faults are of this item, `image` or `annotation`."""
  return sum(fault.item == item for fault in faults)


def describe(messages: Sequence[str]) -> str:
  """Returns a line for each of the first messages, and one that counts the others."""
  lines = [f"  {message}" for message in messages[:_SHOWN]]
  if len(messages) > _SHOWN:
    lines.append(f"  ... and {len(messages) - _SHOWN} more")
  return "\n".join(lines)


def check_share(faults: Sequence[Fault], *, images: int, annotations: int) -> None:
  """Checks that at most one in a hundred images, and annotations, is bad.

  Args:
    faults: of all splits together.
    images: how many are sound.
    annotations: how many are sound.

  Raises:
    ValueError: if more are bad, with the first faults.
  """
  for item, sound in (("image", images), ("annotation", annotations)):
    bad = count(faults, item)
    if bad > _LARGEST_SHARE * (bad + sound):
      raise ValueError(
          f"{bad} of {bad + sound} {item}s cannot be used, more than {_LARGEST_SHARE:.0%}:\n"
          f"{describe([fault.message for fault in faults])}\n"
          "Correct them, or give --allow-bad to leave them out. Nothing was prepared.")
