"""Arrays of Caffe's protobuf files (.caffemodel), found by parsing the wire format.

The format is protobuf's (protobuf.dev/programming-guides/encoding), the field numbers are those
of `caffe.proto`, both in its present form (`layer`) and in that of 2014 (`layers`), which the
Oxford group's own VGG-16 has. Only the positions of the arrays are kept.
"""

import math
import pathlib
import struct
from typing import NamedTuple

import numpy as np

from mnc_jax.weights.formats.lazy import Lazy, lazy_array, plain_shape

# Wire types.
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# NetParameter: layers of 2014 (V1LayerParameter) and of today (LayerParameter).
_OLD_LAYER, _LAYER = 2, 100
# Fields that a NetParameter may begin with, and their wire types.
_NET_FIELDS = {1: (_BYTES,), 2: (_BYTES,), 3: (_BYTES,), 4: (_VARINT, _BYTES), 5: (_VARINT,),
               6: (_BYTES,), 7: (_VARINT,), 8: (_BYTES,), 100: (_BYTES,)}
# Name and blobs of a layer, by the field that holds the layer.
_NAME, _BLOBS = {_OLD_LAYER: 4, _LAYER: 1}, {_OLD_LAYER: 6, _LAYER: 7}
_OLDEST_LAYER = 1  # In V1LayerParameter: the older V0LayerParameter.
# BlobProto: num, channels, height and width are fields 1 to 4.
_DATA, _SHAPE, _DOUBLE_DATA = 5, 7, 8
_DTYPES = {_DATA: np.dtype("<f4"), _DOUBLE_DATA: np.dtype("<f8")}
_CHUNK = 1 << 16  # Numbers with a tag each, compared at once.


class _Run(NamedTuple):
  """Numbers that follow each other in the file, each after `gap` bytes of tag."""
  start: int
  length: int
  gap: int
  dtype: np.dtype


def is_caffemodel(path: pathlib.Path) -> bool:
  """Returns whether the file begins like a NetParameter; other protobufs may do so too."""
  size = path.stat().st_size
  with path.open("rb") as file:
    try:
      number, wire, start, value, _ = _field(file, 0, size)
    except ValueError:
      return False
    if wire not in _NET_FIELDS.get(number, ()):
      return False
    if number != 1:
      return True
    # A file that begins with a line feed is mostly text: a name is followed by another field.
    file.seek(start + value)
    tag = _varint(file, size) if start + value < size else 0
    return (tag & 7) in _NET_FIELDS.get(tag >> 3, ())


def read_caffemodel(path: pathlib.Path) -> tuple[dict[str, Lazy], dict[str, str]]:
  """Returns `({"<layer>/<number>": Lazy}, metadata)` of `path`; 0 is a kernel, 1 a bias.

  Shapes are without the leading ones that vectors and matrices had until 2014.

  Raises:
    ValueError: if the file is truncated, damaged, or from before 2014; naming the layer whose
      numbers do not fill its shape.
  """
  arrays, metadata, size = {}, {}, path.stat().st_size
  try:
    with path.open("rb") as file:
      for number, wire, start, value, _ in _fields(file, 0, size):
        if wire == _BYTES and number == 1:
          metadata["name"] = _text(file, start, value)
        elif wire == _BYTES and number in _NAME:
          _add_layer(arrays, path, file, number, start, start + value)
  except ValueError as error:
    raise ValueError(f"{path} cannot be read as .caffemodel: {error}") from error
  return arrays, metadata


def _add_layer(arrays, path, file, kind, start, end):
  name, blobs = None, []
  for number, wire, at, value, _ in _fields(file, start, end):
    if wire == _BYTES and number == _NAME[kind]:
      name = _text(file, at, value)
    elif wire == _BYTES and number == _BLOBS[kind]:
      blobs.append((at, at + value))
    elif wire == _BYTES and kind == _OLD_LAYER and number == _OLDEST_LAYER:
      raise ValueError("its layers are in the format of before 2014: convert it with Caffe's "
                       "upgrade_net_proto_binary")
  for index, (at, stop) in enumerate(blobs):
    array = f"{name}/{index}"
    if array in arrays:
      raise ValueError(f"it has two layers called {name}")
    arrays[array] = _blob(path, file, array, at, stop)


def _blob(path, file, name, start, end):
  """Returns one array as a `Lazy`."""
  old_shape, shape, runs, position = [1, 1, 1, 1], None, [], start
  while position < end:
    number, wire, at, value, after = _field(file, position, end)
    if number in _DTYPES and wire == _BYTES:
      runs.append(_Run(at, value // _DTYPES[number].itemsize, 0, _DTYPES[number]))
    elif number in _DTYPES:
      runs.append(_unpacked_run(file, position, at, end, _DTYPES[number]))
      after = position + runs[-1].length * (runs[-1].gap + runs[-1].dtype.itemsize)
    elif number == _SHAPE:
      shape = _dimensions(file, at, at + value)
    elif 1 <= number <= 4:
      old_shape[number - 1] = value
    position = after
  shape = plain_shape(old_shape if shape is None else shape)
  count = sum(run.length for run in runs)
  if count != math.prod(shape):
    raise ValueError(f"{name} has shape {shape} but {count} numbers")
  return lazy_array(path, name, shape, lambda: _read(path, runs).reshape(shape))


def _read(path, runs):
  with path.open("rb") as file:
    parts = [_read_run(file, run) for run in runs]
  if not parts:
    return np.zeros(0, np.float32)
  return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _read_run(file, run):
  file.seek(run.start)
  record = np.dtype([("tag", f"V{run.gap}"), ("value", run.dtype)]) if run.gap else run.dtype
  found = np.fromfile(file, record, run.length)
  if len(found) != run.length:
    raise ValueError("the file has become shorter")
  return found["value"] if run.gap else found


def _unpacked_run(file, tag_start, value_start, end, dtype):
  """Returns numbers from `tag_start` on that each have their own tag, as before packing.

  At most a chunk of them; the caller continues with the next run.
  """
  gap = value_start - tag_start
  file.seek(tag_start)
  tag = file.read(gap)
  record = np.dtype([("tag", f"S{gap}"), ("value", dtype)])
  file.seek(tag_start)
  found = np.fromfile(file, record, min((end - tag_start) // record.itemsize, _CHUNK))
  same = found["tag"] == tag
  return _Run(tag_start, len(found) if same.all() else int(same.argmin()), gap, dtype)


def _dimensions(file, start, end):
  """Returns BlobShape.dim, packed or not."""
  found = []
  for number, wire, at, value, _ in _fields(file, start, end):
    if number == 1 and wire == _VARINT:
      found.append(value)
    elif number == 1 and wire == _BYTES:
      file.seek(at)
      while file.tell() < at + value:
        found.append(_varint(file, at + value))
  return found


def _fields(file, start, end):
  """Yields what `_field` returns for each field between two positions."""
  while start < end:
    field = _field(file, start, end)
    yield field
    start = field[-1]


def _field(file, start, end):
  """Returns (number, wire type, start of the value, value or length of the value, next start)."""
  file.seek(start)
  tag = _varint(file, end)
  number, wire = tag >> 3, tag & 7
  if wire not in (_VARINT, _FIXED64, _BYTES, _FIXED32) or number == 0:
    raise ValueError(f"byte {start} does not begin a field of protobuf")
  at = file.tell()
  if wire in (_VARINT, _BYTES):
    value = _varint(file, end)
    at = at if wire == _VARINT else file.tell()
    after = file.tell() if wire == _VARINT else at + value
  else:
    value = 8 if wire == _FIXED64 else 4
    after = at + value
  if after > end:
    raise ValueError(f"it is truncated or damaged: a field that begins at byte {start} ends at "
                     f"{after}, after its message ({end})")
  return number, wire, at, value, after


def _varint(file, end):
  """Returns the number at the file's position: seven bits per byte, the lowest first."""
  value, shift = 0, 0
  while shift < 64 and file.tell() < end:
    byte = struct.unpack("B", file.read(1))[0]
    value |= (byte & 0x7F) << shift
    shift += 7
    if byte < 0x80:
      return value
  raise ValueError(f"it is truncated or damaged: no number ends at byte {file.tell()}")


def _text(file, start, length):
  file.seek(start)
  return file.read(length).decode(errors="replace")
