"""A section of a config checks the types of its values when it is made.

A config from Python has no parser that would: a misspelt choice would quietly be the other one, and
a list would end the run where the config is hashed or saved.
"""

import dataclasses
import functools
import types
import typing
from typing import Any

_PLAIN = (bool, int, float, str)
_UNIONS = (typing.Union, types.UnionType)


class Section:
  """Base of the sections, which are dataclasses."""

  def __post_init__(self) -> None:
    """Raises ValueError, naming the field, if a value is not of its type."""
    for name, hint in _hints(type(self)).items():
      value = getattr(self, name)
      if not fits(value, hint):
        raise ValueError(f"{type(self).__name__}.{name} must be {describe_type(hint)}, "
                         f"found {value!r:.60}")


_hints = functools.cache(typing.get_type_hints)


def fits(value: Any, hint: Any) -> bool:
  """Returns whether a value is of the type of a field. Whole numbers are floats too."""
  if hint in _PLAIN:
    # In Python a bool is an int; here it is not. NumPy's float64 is a float. A weight may be an
    # argument of a function that JAX (not imported here) traces: its values have an `aval`.
    return type(value) is hint or (hint is float and not isinstance(value, bool) and (
        isinstance(value, (int, float)) or hasattr(value, "aval")))
  if dataclasses.is_dataclass(hint):
    return isinstance(value, typing.cast(type, hint))
  arguments = typing.get_args(hint)
  if typing.get_origin(hint) in _UNIONS:
    return any(fits(value, choice) for choice in arguments)
  if typing.get_origin(hint) is typing.Literal:
    return any(type(value) is type(choice) and value == choice for choice in arguments)
  if not isinstance(value, tuple):
    return False
  items = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
  return len(value) == len(items) and all(map(fits, value, items))


def describe_type(hint: Any) -> str:
  """Returns the type of a field in words."""
  if typing.get_origin(hint) is typing.Literal:
    return " or ".join(map(repr, typing.get_args(hint)))
  if typing.get_origin(hint) in _UNIONS:
    return " or ".join(map(describe_type, typing.get_args(hint)))
  return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
