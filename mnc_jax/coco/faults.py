"""Items of a data set that cannot be used: an error at the first, or collected and counted.

Whoever checks items hands each bad one to a `FaultReport` and drops it. `raise_fault` is the
report that stops at the first; `list.append` collects them. What is odd about a set as a whole is
reported the same way, and drops nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple
import warnings

_LARGEST_SHARE = 0.01  # Of the images, or of the annotations, that may be bad.
_SHOWN = 20  # Faults listed in full; more are counted.


class Fault(NamedTuple):
  """One item that cannot be used, or something odd about the whole set.

  Attributes:
    item: an image, with all its annotations; one annotation; or the set, of which nothing is
      dropped.
    message: a sentence that names file and id, and says what is wrong.
  """
  item: Literal["image", "annotation", "set"]
  message: str


FaultReport = Callable[[Fault], None]


def raise_fault(fault: Fault) -> None:
  """Raises ValueError with the message of the fault; if it is one of the set, warns."""
  if fault.item == "set":
    warnings.warn(fault.message, stacklevel=3)
    return
  raise ValueError(fault.message)


def count(faults: Sequence[Fault], item: str) -> int:
  """Returns how many of the faults are of this item, `image` or `annotation`."""
  return sum(fault.item == item for fault in faults)


def count_noun(number: int, noun: str) -> str:
  """Returns a number with its noun: `1 image`, `2 images`, `2 categories`."""
  plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
  return f"{number} {noun if number == 1 else plural}"


def describe(messages: Sequence[str]) -> str:
  """Returns one line per message for the first of them, and a line that counts the others."""
  lines = [f"  {message}" for message in messages[:_SHOWN]]
  if len(messages) > _SHOWN:
    lines.append(f"  ... and {len(messages) - _SHOWN} more")
  return "\n".join(lines)


def list_first(values: Iterable) -> str:
  """Returns the first five values as text, and an ellipsis if there are more."""
  shown = [str(value) for value in values]
  return ", ".join(shown[:5]) + (", ..." if len(shown) > 5 else "")


def check_share(faults: Sequence[Fault], *, images: int, annotations: int) -> None:
  """Checks that at most one in a hundred images, and annotations, is bad.

  Args:
    faults: of all splits together.
    images: number of sound ones.
    annotations: number of sound ones.

  Raises:
    ValueError: if more are bad, with the first faults.
  """
  for item, sound in (("image", images), ("annotation", annotations)):
    bad = count(faults, item)
    if bad > _LARGEST_SHARE * (bad + sound):
      raise ValueError(
          f"{bad} of {bad + sound} {item}s cannot be used, more than {_LARGEST_SHARE:.0%}:\n"
          f"{describe([fault.message for fault in faults])}\n"
          "Correct them, or skip them with --allow-bad. Nothing was prepared.")
