"""Outcomes of a damaged input: rejected, accepted and valid, or a fault of the reader."""

from collections.abc import Callable
import pathlib
import random
import tempfile
from typing import Any, Literal, NamedTuple
import warnings

# Words of Python and its libraries about their internals, instead of what is wrong with the file.
_INTERNAL = (
    "NoneType", "object is not", "object has no", "has no attribute", "not subscriptable",
    "cannot unpack", "not enough values", "too many values", "unhashable", "index out of range",
    "invalid literal", "could not convert", "unsupported operand", "not supported between",
    "Traceback", "unexpected keyword", "positional argument", "maximum recursion",
    "too large to convert", "must be real number", "broadcast", "argument must be", "dictionary")


class Invalid(Exception):
  """The result of a reader is not valid."""


class Family(NamedTuple):
  """One kind of input, and the reader that must survive it.

  Attributes:
    write: (rng, folder) -> what a rejection must name. Writes a valid input and damages it.
    read: folder -> what the project's own reader makes of it.
    check: what was read -> None. Raises `Invalid`; must not trust the reader's own checks.
    rejections: what the reader may raise.
  """
  write: Callable[[random.Random, pathlib.Path], str]
  read: Callable[[pathlib.Path], Any]
  check: Callable[[Any], None]
  rejections: tuple = (ValueError, OSError)


class Outcome(NamedTuple):
  """Of one input; `detail` is the reader's message, or what is wrong with the reader."""
  kind: Literal["rejected", "accepted", "fault"]
  detail: str


def require(condition, message: str) -> None:
  """Raises `Invalid` unless the condition holds."""
  if not condition:
    raise Invalid(message)


def judge(name: str, family: Family, seed: int) -> Outcome:
  """Makes the input of a family and a seed, reads it, and judges what came of it."""
  with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
    warnings.simplefilter("ignore")
    folder = pathlib.Path(place)
    named = family.write(random.Random(f"{name} {seed}"), folder)
    try:
      found = family.read(folder)
    except family.rejections as error:
      return _judge_message(error, named)
    except BaseException as error:
      return Outcome("fault", f"{type(error).__name__}: {error!s:.300}")
    try:
      family.check(found)
    except Invalid as error:
      return Outcome("fault", f"accepted, but {error}")
  return Outcome("accepted", "")


def _judge_message(error, name):
  message = str(error)
  if name not in message:
    return Outcome("fault", f"{type(error).__name__} does not name {name!r}: {message:.300}")
  bare = next((words for words in _INTERNAL if words in message), None)
  if bare:
    return Outcome("fault", f"speaks of {bare!r}, not of the file: {message:.300}")
  return Outcome("rejected", message[:300])
