"""Numbers in a struct of MATLAB's .mat files (version 5), which may be damaged or hostile.

SciPy trusts such a file: an unknown type of numbers, or cells nested deeper than its stack, can
end the process, and a few kilobytes may unpack to gigabytes. This reads no more than a data set of
masks needs: one struct with matrices in it. The format is in MathWorks, "MAT-File Format": a
header, then elements of type, length and content, which may consist of elements in turn.
"""

from collections.abc import Iterator
import itertools
import math
import struct
from typing import Any, NamedTuple
import zlib

import numpy as np

_HEADER = 128  # Bytes; the last two give the byte order.
_MATRIX, _COMPRESSED = 14, 15
# How numbers are stored, whatever the class of their matrix.
_DTYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8",
           13: "u8"}
# Classes of matrices; from 6 on they are numbers: double, single, 8 to 64 bits.
_CLASSES = {1: "cells", 2: "a struct", 3: "an object", 4: "text", 5: "a sparse matrix"}
_STRUCT, _NUMBERS = 2, range(6, 16)
_IS_COMPLEX = 0x800
# An element may have no content: a few packed kilobytes can hold millions of them.
_MOST_VARIABLES, _MOST_FIELDS = 2 ** 16, 2 ** 12
# Bytes of the whole file when unpacked: labels in double precision of 16 million pixels. The
# images of SBD have a quarter of a million.
MOST_BYTES = 2 ** 27


class _Element(NamedTuple):
  kind: int
  content: memoryview


class _Matrix(NamedTuple):
  """A matrix whose head is read; `rest` yields the elements after it, not read yet."""
  name: str
  kind: int
  is_complex: bool
  shape: tuple
  rest: Iterator[_Element]


def read_struct(content: bytes, name: str) -> dict[str, Any] | None:
  """Returns the fields of the first struct of this name.

  Args:
    content: of the file.
    name: of a variable, a struct of one item or more; the first item is read.

  Returns:
    {field: array} with the numbers as they are stored, or {field: text} that describes what is not
    real numbers; {} if the variable is not a struct; None if there is no such variable, or it has
    no item.

  Raises:
    ValueError: if it is not a file of version 5, damaged, or larger than `MOST_BYTES` unpacked.
  """
  if len(content) > MOST_BYTES:
    raise ValueError(f"it has {len(content)} bytes, more than {MOST_BYTES}")
  order = {b"IM": "<", b"MI": ">"}.get(content[_HEADER - 2:_HEADER])
  if order is None:
    raise ValueError("it is not a file of MATLAB (version 5)")
  room = MOST_BYTES
  variables = _elements(memoryview(content)[_HEADER:], order)
  for element in itertools.islice(variables, _MOST_VARIABLES):
    if element.kind == _COMPRESSED:
      unpacked = _unpack(element.content, room)
      room -= len(unpacked)
      element = next(_elements(memoryview(unpacked), order), element)
    if element.kind == _MATRIX:
      matrix = _read_matrix(element.content, order)
      if matrix.name == name:
        return _read_fields(matrix, order)
  return None


def _unpack(packed, room):
  unpack = zlib.decompressobj()
  try:
    content = unpack.decompress(packed, room + 1)
  except zlib.error as error:
    raise ValueError("it is damaged: its packed content cannot be unpacked") from error
  if len(content) > room:
    raise ValueError(f"it unpacks to more than {MOST_BYTES} bytes")
  if not unpack.eof:
    raise ValueError("it is truncated: its packed content does not end")
  return content


def _elements(content, order):
  """Yields the elements that follow each other; each begins at a multiple of 8 bytes."""
  position = 0
  while position < len(content):
    if position + 8 > len(content):
      raise ValueError("it is truncated or damaged: an element has no length")
    kind, length = struct.unpack_from(f"{order}II", content, position)
    start = position + 8
    if kind >> 16:  # Up to four bytes of content replace the length.
      kind, length, start = kind & 0xFFFF, kind >> 16, position + 4
    if length > (4 if start == position + 4 else len(content) - start):
      raise ValueError(f"it is truncated or damaged: an element of {length} bytes does not fit")
    yield _Element(kind, content[start:start + length])
    # What is compressed is not padded.
    end = start + length
    position = max(end if kind == _COMPRESSED else end + -end % 8, position + 8)


def _read_matrix(content, order):
  """Reads flags, dimensions and name, which begin each matrix; one of no bytes is empty."""
  rest = _elements(content, order)
  elements = list(itertools.islice(rest, 3))
  if not elements:
    return _Matrix("", _NUMBERS[0], False, (0, 0), iter([_Element(9, content[:0])]))
  if len(elements) < 3 or len(elements[0].content) != 8:
    raise ValueError("it is damaged: a matrix has no flags, dimensions and name")
  flags, = struct.unpack_from(f"{order}I", elements[0].content)
  shape = tuple(_numbers(elements[1], order).tolist())
  if len(shape) < 2 or not all(isinstance(side, int) and side >= 0 for side in shape):
    raise ValueError(f"it is damaged: a matrix has the dimensions {shape}")
  name = bytes(elements[2].content).decode("latin-1")
  return _Matrix(name, flags & 0xFF, bool(flags & _IS_COMPLEX), shape, rest)


def _read_fields(matrix, order):
  if matrix.kind != _STRUCT:
    return {}
  if not math.prod(matrix.shape):
    return None
  head = list(itertools.islice(matrix.rest, 2))
  if len(head) < 2:
    raise ValueError("it is damaged: a struct has no fields")
  width = _numbers(head[0], order)
  if width.size != 1 or not 1 <= width[0] <= 2**16:
    raise ValueError(f"it is damaged: names of fields have {width} bytes")
  packed, width = bytes(head[1].content), int(width[0])
  if len(packed) > _MOST_FIELDS * width:
    raise ValueError(f"it is damaged: a struct has more than {_MOST_FIELDS} fields")
  names = [packed[at:at + width].split(b"\0")[0].decode("latin-1")
           for at in range(0, len(packed), width)]
  values = list(itertools.islice(matrix.rest, len(names)))
  if len(values) < len(names) or any(value.kind != _MATRIX for value in values):
    raise ValueError(f"it is damaged: a struct lacks values of {', '.join(names)}")
  return {name: _read_value(_read_matrix(value.content, order), order)
          for name, value in zip(names, values, strict=True)}


def _read_value(matrix, order):
  if matrix.kind not in _NUMBERS:
    return _CLASSES.get(matrix.kind, f"a matrix of class {matrix.kind}")
  if matrix.is_complex:
    return "complex numbers"
  parts = list(itertools.islice(matrix.rest, 2))
  if len(parts) != 1:
    raise ValueError("it is damaged: a matrix does not have one part of numbers")
  values = _numbers(parts[0], order)
  if len(values) != math.prod(matrix.shape):
    raise ValueError(f"it is damaged: a matrix of {matrix.shape} has {len(values)} numbers")
  return values.reshape(matrix.shape, order="F")


def _numbers(element, order):
  if element.kind not in _DTYPES:
    raise ValueError(f"it is damaged: numbers of type {element.kind}")
  dtype = np.dtype(order + _DTYPES[element.kind])
  if len(element.content) % dtype.itemsize:
    raise ValueError(f"it is damaged: {len(element.content)} bytes of {dtype.itemsize} each")
  return np.frombuffer(element.content, dtype)
